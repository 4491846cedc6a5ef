"""Traces as an extension. Without OTEL_EXPORTER_OTLP_ENDPOINT nothing of it is made, and no request meets it."""

from typing import Any

from sanic_ext import Extension

from service.http.request_traces import RequestTraces
from service.log.lines import LogOutput
from service.server.sanic_app import ServerApp
from service.traces.tracer import Tracer


class Traces(Extension):
    """Makes a span of each request, and names it in the lines of the log."""

    name = "traces"

    def __init__(self, tracer: Tracer, output: LogOutput) -> None:
        self._tracer, self._output = tracer, output
        self._requests = RequestTraces(tracer)

    def startup(self, _: Any) -> None:
        self.app.on_response(self._requests.describe)
        self.app.before_server_start(self._start, priority=-1)
        self.app.after_server_stop(self._stop)

    async def _start(self, app: ServerApp) -> None:
        self._tracer.start()
        self._output.ids_of_trace = self._tracer.ids
        app.ctx.handle_request = self._requests.around(app.ctx.handle_request or app.handle_request)

    async def _stop(self, _: ServerApp) -> None:
        await self._tracer.stop()
