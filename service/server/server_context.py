"""The context of the application, and what the connections to its clients share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeAlias

from service.http.context import Context
from service.server.fast_path import FastPath
from service.server.places import Places, spare_of
from service.server.round_robin import RoundRobin
from service.server.sockets import allow_files
from service.server.writes import WriteQueue
from service.settings.all_settings import Settings

HandleRequest: TypeAlias = Callable[[Any], Awaitable[None]]


class ServerContext(Context):
    places: Places
    write_queue: WriteQueue
    round_robin: RoundRobin
    body_timeout: float  # seconds
    write_timeout: float  # seconds
    fast_path_wanted: Literal["auto", "off"]
    fast_path: FastPath | None  # None: requests take Sanic's own way
    handle_request: HandleRequest | None  # None: Sanic's own, which it still changes after `finalize`

    def count_unread_request(self, status: int) -> None:
        """For the metrics: a request was answered before anything of it was read. Replaced when there are metrics."""


def open_server(context: ServerContext, settings: Settings) -> None:
    loop = asyncio.get_running_loop()
    files_beside = settings.pool_max + 2 * spare_of(settings.max_connections)
    connections = allow_files(settings.max_connections, files_beside)
    context.places = Places(connections, settings.places_per_address(connections))
    context.write_queue = WriteQueue(loop)
    context.round_robin = RoundRobin(loop)
    context.body_timeout = settings.body_timeout
    context.write_timeout = settings.write_timeout
