"""Sanic as this service uses it: its configuration, its connections, and the way of a request through it."""

import gc
import logging
import os
from collections import deque
from typing import Any, TypeAlias

from sanic import Sanic
from sanic.config import Config

from service import NAME
from service.http.json_body import MAX_BODY
from service.server.http_protocol import ClientConnection
from service.server.request import ServerRequest
from service.server.server_context import ServerContext
from service.settings.all_settings import Settings

A_DAY = 24 * 3600
MOST_STATEMENTS = 20  # of one request; a login has seven, and a read may be sent twice
OBJECTS_BETWEEN_COLLECTIONS = 20_000
CLOSING_SECONDS = 2.5  # at a stop, after the last request: pools, threads, the interpreter

_log = logging.getLogger("service.server.sanic_app")

ServerApp: TypeAlias = Sanic[Config, ServerContext]


def new_app(settings: Settings) -> ServerApp:
    # On a terminal Sanic advises --debug, with which its own error pages show values of the request.
    os.environ["SANIC_IGNORE_PRODUCTION_WARNING"] = "yes"
    request_class: Any = ServerRequest  # Sanic's type has no room for our context
    context = ServerContext(is_draining=False)
    return Application(NAME, _config(settings), context, request_class=request_class, configure_logging=False)


def _config(settings: Settings) -> Config:
    config = Config(env_prefix=None)  # only our settings count, no SANIC_* of the environment
    config.AUTO_EXTEND = False
    config.MOTD = False
    config.REQUEST_MAX_SIZE = MAX_BODY
    config.REQUEST_MAX_HEADER_SIZE = settings.max_header_size
    # Never the first to give up: a body, a connection, a statement and an answer each have a limit of their own.
    statements = MOST_STATEMENTS * (settings.pool_timeout + settings.statement_timeout)
    waits = settings.body_timeout + statements + settings.write_timeout
    config.update(
        REQUEST_TIMEOUT=settings.header_timeout,
        KEEP_ALIVE_TIMEOUT=settings.idle_timeout,
        RESPONSE_TIMEOUT=10 + waits,
        GRACEFUL_TCP_CLOSE_TIMEOUT=A_DAY,  # our connections end by themselves if the client does not read
    )
    config.GRACEFUL_SHUTDOWN_TIMEOUT = settings.statement_timeout + 0.5  # after the drain, for what is under way
    config.LONGEST_STOP = settings.drain + config.GRACEFUL_SHUTDOWN_TIMEOUT + CLOSING_SECONDS
    return config


async def collect_garbage_rarely(_: ServerApp) -> None:
    """A full collection of all that a process has loaded takes 35 ms, in which no request is answered, and frees
    nothing. A list of tasks is so many objects that a collection for each 700 of them, Python's default, is much of
    its cost."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 50)


class Application(Sanic[Config, ServerContext]):
    def prepare(self, *arguments: Any, **options: Any) -> None:
        """For connections of our own, whoever starts it: Sanic's command line knows no option for that."""
        super().prepare(*arguments, **({"protocol": ClientConnection} | options))

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
