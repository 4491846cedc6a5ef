"""The way of a request through the application, in fewer steps than Sanic's own `handle_request`.

Sanic dispatches signals at each step, calls middleware through a wrapper, and hands a response on through coroutines
that wait for nothing. Without signals, WebSockets and routes that are chosen by host, the outcome is the same.
`why_not` names what would be skipped; then Sanic's own way is taken. README.md has the gain.
"""

from collections.abc import Awaitable, Callable, Iterator
from inspect import isawaitable
from types import CoroutineType
from typing import Any

from sanic import Sanic
from sanic.exceptions import ServerError
from sanic.log import error_logger
from sanic.response import BaseHTTPResponse, ResponseStream

MIDDLEWARE_FAILED = "Exception occurred in one of response middleware handlers"  # Sanic's own words

SKIPPED_SIGNALS = (
    "http.lifecycle.handle", "http.lifecycle.response", "http.routing.", "http.handler.", "http.middleware.",
)  # fmt: skip


def why_not(app: Sanic[Any, Any]) -> str | None:
    """The reason against the fast path: what it would skip. Asked when all routes and signals are registered."""
    for signal in app.signal_router.routes:
        if signal.path.startswith(SKIPPED_SIGNALS):
            return f"the signal {signal.path} has a handler"
    for route in app.router.routes:
        if route.extra.hosts != [None]:
            return f"the route {route.path} is chosen by host"
        if route.extra.websocket:
            return f"the route {route.path} is a WebSocket"
    return None


class FastPath:
    def __init__(self, app: Sanic[Any, Any]) -> None:
        self._app = app
        self._find = app.router.get
        for route in app.router.routes:  # ctx is for what an application keeps about a route
            route.ctx.request_steps = [each.func for each in route.extra.request_middleware]
            route.ctx.response_steps = [each.func for each in route.extra.response_middleware]

    async def handle_request(self, request: Any) -> None:
        run_middleware = True  # for an error before this is False, Sanic still has to run the request middleware
        try:
            route, handler, found = self._find(request.path, request.method, None)
            request.route, request._match_info = route, found
            http = request.http
            if http.request_body:
                await _receive_body(request, handler)
            run_middleware = False
            response: Any = None
            for step in route.ctx.request_steps:
                response = step(request)
                if response is not None:
                    response = await response if isawaitable(response) else response
                    if response:
                        break
            else:
                response = handler(request, **found)
                if type(response) is CoroutineType or isawaitable(response):  # the first is the quicker question
                    response = await response
            rest = _respond(request, response)
            if rest is not None:
                await rest
            if http.response_func is not None:  # something is left to be sent
                await http.response_func(b"", end_stream=True)
        except Exception as error:  # noqa: BLE001 - the error handlers answer it, as on Sanic's own way
            await self._app.handle_exception(request, error, run_middleware=run_middleware)


async def _receive_body(request: Any, handler: Any) -> None:
    if hasattr(handler, "is_stream"):
        request.http.request_max_size = float("inf")
    elif not request.route.extra.ignore_body:
        await request.receive_body()


def _respond(request: Any, response: Any) -> Awaitable[None] | None:
    """Passes the response through the response middleware. The awaitable is the rest, if one of them is async or the
    response is a stream.

    From here on the response is decided: an exception of a response middleware is logged and changes nothing."""
    if request.responded:
        if response is not None:
            error_logger.error("a handler that has responded returns a response, which is not sent")
        return None
    if isinstance(response, ResponseStream):
        return _stream(request, response)
    http = request.http
    if not isinstance(response, BaseHTTPResponse):
        raise ServerError(f"a handler returned {type(response).__name__}, which is no response")
    http.respond(response)
    request._response_middleware_started = True
    steps = iter(request.route.ctx.response_steps)
    try:
        for step in steps:
            returned = step(request, response)
            if returned is not None:
                return _respond_with(request, response, returned, steps)
    except Exception:  # noqa: BLE001 - as Sanic does
        error_logger.exception(MIDDLEWARE_FAILED)
    request.responded = True
    return None


async def _stream(request: Any, stream: ResponseStream) -> None:
    """A response of `file_stream` or of a static route, which sends itself."""
    await stream(request)
    await stream.eof()


async def _respond_with(request: Any, response: Any, returned: Any, steps: Iterator[Callable[..., Any]]) -> None:
    """Goes on after a response middleware that is a coroutine, or returns a response in place of the handler's."""
    try:
        while True:
            if isawaitable(returned):
                returned = await returned
            if returned:
                request.http.respond(returned)
                break
            step = next(steps, None)
            if step is None:
                break
            returned = step(request, response)
    except Exception:  # noqa: BLE001 - as Sanic does
        error_logger.exception(MIDDLEWARE_FAILED)
    request.responded = True
