"""Sanic as this service uses it: its configuration, its connections, and the way of a request through it."""

import logging
from collections import deque
from typing import Any

from sanic import Sanic
from sanic.config import Config

from service.connections import Connection
from service.context import Context

_log = logging.getLogger("service.application")


class Configuration(Config):
    """Sanic keeps its configuration in a dictionary and searches for an attribute in vain first. Of these it asks for
    every request: found at once, they make one cheaper by a fortieth."""

    KEEP_ALIVE = True
    REQUEST_BUFFER_SIZE = 64 * 1024


class Application(Sanic[Config, Context]):
    def prepare(self, *arguments: Any, **options: Any) -> None:
        """For connections of our own, whoever starts it: Sanic's command line knows no option for that."""
        super().prepare(*arguments, **({"protocol": Connection} | options))

    def finalize_middleware(self) -> None:
        """The steps of a route are called as they are, not through the wrapper that Sanic sorts them by."""
        super().finalize_middleware()
        for route in self.router.routes:
            extra = route.extra
            extra.request_middleware = deque(each.func for each in extra.request_middleware)
            extra.response_middleware = deque(each.func for each in extra.response_middleware)

    async def handle_request(self, request: Any) -> None:
        """As Sanic's own, for handlers that are coroutines and return an answer, or have sent one by a stream. Sanic
        looks at each step for what else it might have got, and hands an answer on through calls that wait for nothing:
        a twelfth of what a read costs. No signals are sent here, and no route is told by its host."""
        ask_before = True
        try:
            route, handler, found = self.router.get(request.path, request.method, None)
            request.route, request._match_info = route, found
            http = request.http
            if http.request_body:
                await request.receive_body()
            ask_before = False
            answer = None
            for step in route.extra.request_middleware:
                waits = step(request)
                answer = None if waits is None else await waits
                if answer is not None:
                    break
            else:
                answer = await handler(request, **found)
            if not request.responded:
                _decide(request, answer)
            if http.response_func is not None:  # something is left to be sent
                await http.response_func(b"", end_stream=True)
        except Exception as error:  # noqa: BLE001 - whatever it is, the error handlers answer
            await self.handle_exception(request, error, run_middleware=ask_before)


def _decide(request: Any, answer: Any) -> None:
    """From here on it is this answer. What happened is not undone where, say, its line in the log cannot be made."""
    request.http.respond(answer)
    request._response_middleware_started = True
    try:
        for step in request.route.extra.response_middleware:
            step(request, answer)
    except Exception:  # noqa: BLE001 - whatever it is, the client gets its answer
        _log.exception("an answer was sent before all was done with it")
    request.responded = True
