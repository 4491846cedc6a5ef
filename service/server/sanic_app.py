"""Sanic as this service uses it: its configuration, its connections, and the way of a request through it."""

import gc
import logging
import os
from typing import Any, TypeAlias

from sanic import Sanic
from sanic.config import Config
from sanic.server import AsyncioServer

from service import NAME
from service.http.json_body import MAX_BODY
from service.server.fast_path import FastPath, why_not
from service.server.http_protocol import ClientConnection
from service.server.request import ServerRequest
from service.server.server_context import ServerContext
from service.settings.all_settings import Settings

A_DAY = 24 * 3600
MAX_STATEMENTS = 20  # of one request; a login has seven, and a read may be sent twice
OBJECTS_BETWEEN_COLLECTIONS = 20_000
START_POLL_SECONDS = 0.01  # whether the start is complete, when a stop is asked for before
CLOSING_SECONDS = 2.5  # at a stop, after the last request: pools, threads, the interpreter

_log = logging.getLogger("service.server.sanic_app")

ServerApp: TypeAlias = Sanic[Config, ServerContext]


def new_app(settings: Settings) -> ServerApp:
    # On a terminal Sanic advises --debug, with which its own error pages show values of the request.
    os.environ["SANIC_IGNORE_PRODUCTION_WARNING"] = "yes"
    request_class: Any = ServerRequest  # Sanic's type has no room for our context
    context = ServerContext(is_draining=False, fast_path_wanted=settings.fast_path)
    return Application(NAME, _config(settings), context, request_class=request_class, configure_logging=False)


def _config(settings: Settings) -> Config:
    config = Config(env_prefix=None)  # only our settings count, no SANIC_* of the environment
    config.MOTD = False
    config.REQUEST_MAX_SIZE = MAX_BODY
    config.REQUEST_MAX_HEADER_SIZE = settings.max_header_size
    # Never the first to give up: a body, a connection, a statement and an answer each have a limit of their own.
    statements = MAX_STATEMENTS * (settings.pool_timeout + settings.statement_timeout)
    waits = settings.body_timeout + statements + settings.write_timeout
    config.update(
        REQUEST_TIMEOUT=settings.header_timeout,
        KEEP_ALIVE_TIMEOUT=settings.idle_timeout,
        RESPONSE_TIMEOUT=10 + waits,
        GRACEFUL_TCP_CLOSE_TIMEOUT=A_DAY,  # our connections end by themselves if the client does not read
    )
    config.GRACEFUL_SHUTDOWN_TIMEOUT = _grace(settings)
    return config


def _grace(settings: Settings) -> float:
    """Seconds after the drain, for what is under way."""
    return settings.statement_timeout + 0.5


def longest_stop(settings: Settings) -> float:
    """Seconds from the signal to the end of the process."""
    return settings.drain + _grace(settings) + CLOSING_SECONDS


async def collect_garbage_rarely(_: ServerApp) -> None:
    """A full collection of all that a process has loaded takes 35 ms, in which no request is answered, and frees
    nothing. A list of tasks is so many objects that a collection for each 700 of them, Python's default, is much of
    its cost."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, 20, 50)


class Application(Sanic[Config, ServerContext]):
    """With our connections for every way of starting: Sanic's own command line has no option for that."""

    def prepare(self, *arguments: Any, **options: Any) -> None:
        super().prepare(*arguments, **({"protocol": ClientConnection} | options))

    async def create_server(self, *arguments: Any, **options: Any) -> AsyncioServer | None:
        return await super().create_server(*arguments, **({"protocol": ClientConnection} | options))

    def stop(self, terminate: bool = True, unregister: bool = False) -> None:  # noqa: FBT001, FBT002 - Sanic's signature
        """Sanic's handler of SIGTERM calls it, already while the last step of the start runs in the event loop. To stop
        the loop then would end that step alone, and the service would serve on."""
        if self.state.is_running:
            super().stop(terminate, unregister)
        else:
            self.loop.call_later(START_POLL_SECONDS, self.stop, terminate, unregister)

    def finalize(self) -> None:
        """Sanic calls it once all routes and signals are registered."""
        super().finalize()
        reason = "FAST_PATH=off" if self.ctx.fast_path_wanted == "off" else why_not(self)
        fast_path = self.ctx.fast_path = None if reason else FastPath(self)
        self.ctx.handle_request = fast_path.handle_request if fast_path else None
        if reason:
            _log.info("requests take Sanic's own way through the application: %s", reason)
