"""A connection as Sanic makes it, with an end to the patience: with clients that are slow, greedy, or never read."""

import asyncio
import fcntl
import logging
import resource
import socket
import struct
import sys
import termios
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, ClassVar
from uuid import uuid4

import orjson
from sanic.exceptions import RequestCancelled
from sanic.http import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from service.context import Context, Patience
from service.errors import Code
from service.exchange import Arrival, Departure, TimedHttp
from service.request import Request

OWN_FILES = 100  # the log, the event loop, the files of the documentation: beside the connections and the pool
SYSTEM_HOLDS = 256 * 1024  # bytes of answers that the system may hold for a client, where it would take megabytes
MOST_UNSENT = 64 * 1024 * 1024  # bytes of answers that clients leave lying here, of all connections of a process
JUST_CAME = 1.0  # seconds; a request may be on its way
SAY_AGAIN = 10.0  # seconds

_log = logging.getLogger("service.connections")
_said: dict[str, float] = {}


class Connection(HttpProtocol):
    __slots__ = ("_arrival", "_came", "_unread_before", "_watch", "departure")

    HTTP_CLASS = TimedHttp
    stalled: ClassVar[dict["Connection", float]] = {}  # since when, in the order in which they fell behind

    def connection_made(self, transport: Any) -> None:
        self._watch: asyncio.TimerHandle | None = None
        self._unread_before = 0
        self._came = monotonic()
        self._arrival = Arrival()
        self._data_received: Any = self._arrival
        self.departure = Departure(transport, self.app.ctx.departures)
        super().connection_made(transport)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        with _socket_of(transport) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_HOLDS)
        most = self._patience.connections
        if len(self.connections) > most:
            self._make_room(most)

    async def receive_more(self) -> None:
        """As Sanic's own."""
        self.transport.resume_reading()  # type: ignore[union-attr]  # whoever reads has a transport
        await self._arrival.wait(self.loop)

    async def send(self, data: bytes) -> None:
        """As Sanic's own, but with what other connections have to send. One thing waits for that, and not two."""
        self.departure.go()
        await self._can_write.wait()
        if self.transport.is_closing():  # type: ignore[union-attr]  # whoever sends has a transport
            raise RequestCancelled
        self.departure.wait_with(data)
        self._time = monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        self.stalled.pop(self, None)
        if self._watch is not None:
            self._watch.cancel()

    def check_timeouts(self) -> None:
        """Sanic calls it every few seconds."""
        if self._task and self.http is not None and self.http.stage is Stage.REQUEST:
            self._time = self.http.head_since
        elif self._to_be_sent():
            self._time = monotonic()  # neither idle nor late: whether anybody reads it is watched
            self._begin_to_watch()
        super().check_timeouts()  # type: ignore[no-untyped-call]  # Sanic does not annotate it

    def close(self, timeout: float | None = None) -> None:
        """What is still to be sent is sent; Sanic itself would cut it off after some seconds, read or not."""
        self.departure.go()
        super().close(timeout)
        self._begin_to_watch()

    def close_if_idle(self) -> bool:
        """Sanic calls it once nobody new is let in. What is under way ends with its answer; who has just come may have
        a request on its way; what has arrived is no longer idle, though Sanic has not looked at it yet. All have the
        same time for it. Sanic counts its own in steps that take longer than it thinks."""
        self.loop.call_later(self.app.config.GRACEFUL_SHUTDOWN_TIMEOUT, self.abort)
        if self.http is not None:
            self.http.keep_alive = False
        age = monotonic() - self._came
        if self.recv_buffer:
            return False
        if age < JUST_CAME:
            self.loop.call_later(JUST_CAME - age, super().close_if_idle)
            return False
        return super().close_if_idle()

    def pause_writing(self) -> None:
        """The transport calls it where a client does not keep up. Together they may leave so much lying here, or many
        of them would take all the memory before any has run out of time. Those go first who have read nothing for a
        while."""
        super().pause_writing()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        now = monotonic()
        self.stalled[self] = now
        self._begin_to_watch()
        unsent = sum(each._to_be_sent() for each in self.stalled)
        if unsent <= MOST_UNSENT:
            return
        _say("clients leave more than %d bytes of answers lying here; those that read nothing are cut off", MOST_UNSENT)

        def reads(each: Connection) -> bool:
            return now - self.stalled[each] < JUST_CAME or each._unread() != each._unread_before

        for each in sorted(self.stalled, key=reads):
            if unsent <= MOST_UNSENT:
                return
            unsent -= each._to_be_sent()
            each._reset()

    def resume_writing(self) -> None:
        """And this, where it does again, or is gone."""
        super().resume_writing()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        self.stalled.pop(self, None)

    def _begin_to_watch(self) -> None:
        if self._watch is None and self._to_be_sent():
            self._look_again()

    def _look_again(self, before: int | None = None) -> None:
        """Until all is sent, or for so long nothing of it was read."""
        unread, self._watch = self._unread(), None
        if unread == before:
            self._reset()
        elif self._to_be_sent():
            self._unread_before = unread
            self._watch = self.loop.call_later(self._patience.write, self._look_again, unread)

    def _reset(self) -> None:
        """With what the system still has to send, which it would go on offering for minutes."""
        if self.transport and self._to_be_sent():
            with _socket_of(self.transport) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def _to_be_sent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport else 0

    def _unread(self) -> int:
        to_be_sent = self._to_be_sent()
        return to_be_sent + held_by_system(self.transport) if self.transport and to_be_sent else to_be_sent

    @property
    def _patience(self) -> Patience:
        context: Context = self.app.ctx
        return context.patience

    def _make_room(self, most: int) -> None:
        """Those that have waited longest without a request go, so that one client cannot take every place. Where nobody
        waits, the newcomer is told to come back."""
        came = monotonic() - JUST_CAME
        waiting = sorted(
            (since, id(each), each) for each in self.connections if 0 < (since := each.waiting_since()) < came
        )
        for _, _, each in waiting[: most // 20 + 1]:  # a few at a time, so that a flood is not a search for each
            each.close()
        if not waiting:
            self._refuse()
        _say("MAX_CONNECTIONS (%d) is reached: who waits is closed, and if nobody does, refused", most)

    def waiting_since(self) -> float:
        """0 while a request is being answered."""
        if self.http is None or self.http.stage is Stage.IDLE:
            return 0 if self._to_be_sent() else self._time
        request: Request | None = self.http.request
        if self.http.stage is Stage.REQUEST or (request is not None and request.is_arriving):
            return float(self.http.head_since)
        return 0

    def _refuse(self) -> None:
        if self.transport and self._task:
            self.transport.write(refusal())
            self._task.cancel()
            self.close()


@contextmanager
def _socket_of(transport: asyncio.BaseTransport) -> Iterator[socket.socket]:
    """To be set, and left open. Some systems refuse to set anything where the client is gone, and nothing is lost."""
    own = socket.socket(fileno=transport.get_extra_info("socket").fileno())
    try:
        with suppress(OSError):
            yield own
    finally:
        own.detach()


def _say(message: str, number: int) -> None:
    """Rarely: what causes it may go on for as long as somebody likes."""
    now = monotonic()
    if now >= _said.get(message, 0.0) + SAY_AGAIN:
        _said[message] = now
        _log.warning(message, number)


def held_by_system(transport: asyncio.BaseTransport) -> int:
    """Bytes that the client has not confirmed. The system asks for more only when a third of what it holds is gone:
    without these, somebody who reads slowly looks like somebody who reads nothing."""
    if sys.platform != "linux":
        return 0
    held = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, held)
    return held[0]


def refusal() -> bytes:
    """Before anything of the request is read: the one answer that no handler makes."""
    body = orjson.dumps({"error": Code.OVERLOADED.text, "code": Code.OVERLOADED.name})
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Retry-After: 1",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Vary: Origin",
        f"X-Request-ID: {uuid4()}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def allow_files(connections: int, others: int) -> int:
    """How many connections there may be. Each is an open file, and a shell allows 1024 where the system allows more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + others + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    possible = max(1, connections - (wanted - soft))
    _log.warning("the system allows %d open files: %d connections, not MAX_CONNECTIONS", soft, possible)
    return possible
