"""Metrics as an extension. Without METRICS_PORT it is not added, and costs a request nothing."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sanic_ext import Extension

from service.http.request_metrics import RequestMetrics
from service.log.lines import LogOutput
from service.metrics.meters import Meters, Readings
from service.metrics.shared_memory import SharedMemory
from service.server import listen_socket
from service.server.metrics_port import MetricsPort, Text
from service.server.readings import readings_of
from service.server.sanic_app import ServerApp
from service.settings.all_settings import Settings

READ_SECONDS = 1.0  # between two readings, which other workers answer with

_log = logging.getLogger("service.server.metrics_extension")


class WorkerMetrics:
    """The metrics of one process: its values, its socket, and the text of all processes."""

    def __init__(self, meters: Meters, sock: socket.socket, text: Text) -> None:
        self.meters, self.sock, self.text = meters, sock, text


class SharedMetrics:
    """Made by the first process, before it forks: the memory for all values, and the port."""

    def __init__(self, workers: int, sock: socket.socket, *, divided: bool) -> None:
        from service.metrics.exposition import Exposition  # noqa: PLC0415 - imports prometheus_client

        self._memory = SharedMemory(workers)
        self._text = Exposition(self._memory).text
        self._sock, self._divided = sock, divided

    def of_worker(self, number: int) -> WorkerMetrics:
        """Called in the worker."""
        sock = listen_socket.of_worker(self._sock) if self._divided else self._sock
        return WorkerMetrics(Meters(self._memory.slab(number)), sock, self._text)

    def worker_ended(self, number: int) -> None:
        self._memory.slab(number).is_alive = False


@contextmanager
def shared_metrics(settings: Settings, *, divided: bool) -> Iterator[SharedMetrics | None]:
    address = listen_socket.of_metrics(settings)
    if address is None:
        yield None
        return
    with listen_socket.taken(address, divided=divided) as sock:
        yield SharedMetrics(settings.workers, sock, divided=divided)


def warn_without_metrics(settings: Settings) -> None:
    """Sanic's own manager starts workers that share no memory."""
    if settings.metrics_port is not None:
        _log.warning("METRICS_PORT: there are no metrics with --reload and with Sanic's own command line")


class Metrics(Extension):
    """Counts requests, takes the readings, and answers on the port of the metrics."""

    name = "metrics"

    def __init__(self, metrics: WorkerMetrics, output: LogOutput) -> None:
        self._metrics, self._output = metrics, output
        self._requests = RequestMetrics(metrics.meters)
        self._port: MetricsPort | None = None
        self._timer: asyncio.TimerHandle | None = None

    def startup(self, _: Any) -> None:
        self.app.on_response(self._requests.count)
        self.app.before_server_start(self._open, priority=-1)  # when all that is read has been made
        self.app.after_server_stop(self._close)

    async def _open(self, app: ServerApp) -> None:
        context = app.ctx
        context.count_unread_request = self._requests.count_unread  # type: ignore[method-assign]  # does nothing so far
        readings = readings_of(context, self._output, self._metrics.meters)
        self._read(readings)
        self._port = MetricsPort(self._metrics.sock, readings.take, self._metrics.text)
        await self._port.open()

    def _read(self, readings: Readings) -> None:
        readings.take()
        self._timer = asyncio.get_running_loop().call_later(READ_SECONDS, self._read, readings)

    async def _close(self, _: ServerApp) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._port is not None:
            self._port.close()
