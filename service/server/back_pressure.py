"""Back-pressure on a connection: clients that do not read their answers have a time limit and a common memory limit."""

import asyncio
import socket
import struct
from itertools import chain
from time import monotonic
from typing import Any, ClassVar

from sanic.server.protocols.websocket_protocol import WebSocketProtocol

from service.server.places import JUST_CAME_SECONDS, say
from service.server.server_context import ServerContext
from service.server.sockets import held_by_system, socket_of

MAX_UNSENT_BYTES = 64 * 1024 * 1024  # that wait in this process for clients to read, of all connections together


class BackPressureProtocol(WebSocketProtocol):
    """Sanic's protocol, and the write timeout: a client that reads nothing for that long is cut off."""

    __slots__ = ("_unread_before", "_watch")

    paused: ClassVar[dict["BackPressureProtocol", float]] = {}  # connections with back-pressure, and since when

    def connection_made(self, transport: Any) -> None:
        self._watch: asyncio.TimerHandle | None = None
        self._unread_before = 0
        super().connection_made(transport)  # type: ignore[no-untyped-call]  # Sanic does not annotate it

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[no-untyped-call]  # as above
        self.paused.pop(self, None)
        if self._watch is not None:
            self._watch.cancel()

    def pause_writing(self) -> None:
        """Back-pressure: the transport calls it when a client does not keep up. All such clients together may leave
        MAX_UNSENT_BYTES here; beyond that, many of them would take all the memory before any reaches its write timeout.
        Connections that have read nothing for a while are cut off first."""
        super().pause_writing()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        now = monotonic()
        self.paused[self] = now
        self._begin_to_watch()
        unsent = sum(each._to_be_sent() for each in self.paused)
        if unsent <= MAX_UNSENT_BYTES:
            return
        say(
            "clients leave more than %d bytes of answers lying here; some are cut off, first those that read nothing",
            MAX_UNSENT_BYTES,
        )

        def reads(each: BackPressureProtocol) -> bool:
            return now - self.paused[each] < JUST_CAME_SECONDS or each._unread() != each._unread_before

        # Generators, because it takes time to look at all of them, and one or two are enough.
        silent = (each for each in [*self.paused] if not reads(each))
        others = (each for each in [*self.paused] if each.transport and not each.transport.is_closing())
        for each in chain(silent, others):
            if unsent <= MAX_UNSENT_BYTES:
                return
            unsent -= each._to_be_sent()
            each._reset()

    def resume_writing(self) -> None:
        """The transport calls it when the client has caught up, or is gone."""
        super().resume_writing()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        self.paused.pop(self, None)

    def _begin_to_watch(self) -> None:
        if self._watch is None and self._to_be_sent():
            self._look_again()

    def _look_again(self, before: int | None = None) -> None:
        """The write timeout: cuts off a client that has read nothing since the look before."""
        unread, self._watch = self._unread(), None
        if unread == before:
            self._reset()
        elif self._to_be_sent():
            self._unread_before = unread
            self._watch = self.loop.call_later(self._context.write_timeout, self._look_again, unread)

    def _reset(self) -> None:
        """Closes with a reset. Otherwise the system would go on offering what it holds for minutes."""
        if self.transport and (self._to_be_sent() or self._held()):
            with socket_of(self.transport) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    # Unread bytes lie in two places: in this process, to be sent, and in the socket's send buffer, held by the system.
    # The write timeout counts both as long as this process has some; the system alone delivers the rest.

    def _to_be_sent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport else 0

    def _held(self) -> int:
        is_open = self.transport is not None and (self._to_be_sent() or not self.transport.is_closing())
        return held_by_system(self.transport) if is_open else 0

    def _unread(self) -> int:
        to_be_sent = self._to_be_sent()
        return to_be_sent + held_by_system(self.transport) if self.transport and to_be_sent else to_be_sent

    @property
    def _context(self) -> ServerContext:
        context: ServerContext = self.app.ctx
        return context
