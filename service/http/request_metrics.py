"""The duration of each request, by method, route and status. It counts what the access log has a line for."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TypeAlias

from sanic import HTTPResponse

from service.http.request import Request
from service.http.responses import StreamedResponse
from service.metrics.definitions import REQUEST_DURATION
from service.metrics.meters import Histogram, Meters

# The methods that OpenTelemetry knows. Any other is `_OTHER`: a client may invent as many as it likes.
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
OTHER_METHOD = "_OTHER"
NO_ROUTE = ""

CountRequest: TypeAlias = Callable[[Request, HTTPResponse], None]


class RequestMetrics:
    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._histograms: dict[tuple[str, str | None, int], Histogram] = {}

    def count(self, request: Request, response: HTTPResponse) -> None:
        """A response middleware: the answer is decided, and about to be sent. A streamed one is counted at its end."""
        route = request.route
        path = route.path if route else None
        histogram = self._histograms.get((request.method, path, response.status))
        if histogram is None:
            method = request.method if request.method in METHODS else OTHER_METHOD
            histogram = self._histogram(method, path, request.pattern or NO_ROUTE, response.status)
        began_at = request.began_at or perf_counter()
        if isinstance(response, StreamedResponse):
            response.at_end = partial(_observe, histogram, began_at)
        else:
            histogram.observe(perf_counter() - began_at)

    def count_unread(self, status: int) -> None:
        """For a request that was answered before anything of it was read."""
        self._histogram(OTHER_METHOD, None, NO_ROUTE, status).observe(0)

    def _histogram(self, method: str, path: str | None, route: str, status: int) -> Histogram:
        """Looked up once for each combination: the key of a series takes longer than the rest of the work."""
        key = (method, path, status)
        histogram = self._histograms.get(key)
        if histogram is None:
            histogram = self._histograms[key] = self._meters.histogram(REQUEST_DURATION, method, route, str(status))
        return histogram


def _observe(histogram: Histogram, began_at: float) -> None:
    histogram.observe(perf_counter() - began_at)
