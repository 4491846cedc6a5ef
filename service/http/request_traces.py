"""The server span of each request, with the attributes of OpenTelemetry's semantic conventions.

No attribute holds what a client has written: `url.path` is the route's pattern, and a method that HTTP does not know
is `_OTHER`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from sanic import HTTPResponse

from service.http.request import Request
from service.http.request_metrics import METHODS, OTHER_METHOD
from service.traces.tracer import Attributes, Span, Tracer

NAME_WITHOUT_METHOD = "HTTP"
CANCELLED = "cancelled"  # the client has gone, or the request took longer than all limits together

HandleRequest: TypeAlias = Callable[[Any], Awaitable[None]]


class RequestTraces:
    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._known: dict[tuple[str, str | None, int | None], tuple[str, Attributes]] = {}

    def around(self, handle_request: HandleRequest) -> HandleRequest:
        async def handle(request: Request) -> None:
            span = request.ctx.span = self._begin(request)
            try:
                with self._tracer.use(span):
                    await handle_request(request)  # returns when a streamed answer is sent, too
            except asyncio.CancelledError:
                self._set(span, request, None)
                span.set_attributes({"error.type": CANCELLED})
                raise
            finally:
                span.end()

        return handle

    def describe(self, request: Request, response: HTTPResponse) -> None:
        """A response middleware: route and status are known. A request whose head was refused has no span yet."""
        span = request.ctx.__dict__.get("span")
        if span is not None:
            self._set(span, request, response.status)
            return
        span = self._begin(request)
        self._tracer.use_from_now_on(span)  # for its line in the log; its connection ends
        self._set(span, request, response.status)
        span.end()

    def _begin(self, request: Request) -> Span:
        given = request.headers.getall("traceparent", [])
        began_at = request.began_at
        elapsed = 0.0 if began_at is None else time.perf_counter() - began_at
        began_ns = time.time_ns() - int(elapsed * 1e9)
        return self._tracer.begin_request(given[0] if len(given) == 1 else None, began_ns)

    def _set(self, span: Span, request: Request, status: int | None) -> None:
        if not span.is_recording():
            return
        method = request.method if request.method in METHODS else OTHER_METHOD
        key = (method, request.pattern, status)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _described(*key)
        name, attributes = known
        span.update_name(name)
        span.set_attributes(attributes)
        if status is not None and status >= 500:
            self._tracer.fail(span, request.ctx.__dict__.get("code", str(status)))


def _described(method: str, route: str | None, status: int | None) -> tuple[str, Attributes]:
    attributes: dict[str, str | int] = {"http.request.method": method, "url.scheme": "http"}
    if status is not None:
        attributes |= {"http.response.status_code": status}
    if route is not None:
        attributes |= {"http.route": route, "url.path": route}
    name = NAME_WITHOUT_METHOD if method == OTHER_METHOD else method
    return f"{name} {route}" if route else name, attributes
