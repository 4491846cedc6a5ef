"""A connection as Sanic makes it, with an end to the patience: with clients that are slow, greedy, or never read."""

import asyncio
import fcntl
import logging
import os
import resource
import socket
import struct
import sys
import termios
from array import array
from time import monotonic
from typing import Any, ClassVar
from uuid import uuid4

import orjson
from sanic.http import Http, Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from service.context import Context, Patience
from service.errors import Code

OWN_FILES = 200  # the pool, the log, the event loop: beside the connections
MOST_UNSENT = 64 * 1024 * 1024  # bytes of answers that nobody reads, of all connections of a process
SAY_AGAIN = 10.0  # seconds

_log = logging.getLogger("service.connections")


class TimedHttp(Http):
    """Knows when the first byte of a head came. Sanic looks at the newest: a byte a second would go on for hours."""

    __slots__ = ("head_since",)

    async def http1_request_header(self) -> None:
        await self._until_the_last_answer_is_read()
        self.head_since = monotonic()
        await super().http1_request_header()  # type: ignore[no-untyped-call]  # Sanic does not annotate it

    async def _until_the_last_answer_is_read(self) -> None:
        """Who sends many requests at once and reads nothing has one answer lying here, not two."""
        can_write: asyncio.Event = self.protocol._can_write
        if not can_write.is_set():
            self.stage = Stage.IDLE
            await can_write.wait()
            self.stage = Stage.REQUEST


class Connection(HttpProtocol):
    __slots__ = ("_watch",)

    HTTP_CLASS = TimedHttp
    said_at = 0.0
    stalled: ClassVar[dict["Connection", None]] = {}  # in the order in which they stopped reading

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        most = self._patience.connections
        if len(self.connections) > most:
            self._make_room(most)

    def check_timeouts(self) -> None:
        """Sanic calls it every few seconds."""
        if self._task and self.http is not None and self.http.stage is Stage.REQUEST:
            self._time = self.http.head_since
        super().check_timeouts()  # type: ignore[no-untyped-call]  # Sanic does not annotate it

    def pause_writing(self) -> None:
        """The transport calls it where a client does not keep up. Together they may keep us from sending so much, or
        many of them would take all the memory before any has run out of time."""
        super().pause_writing()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        self.stalled[self] = None
        self._watch_progress()
        unsent = sum(each._to_be_sent() for each in self.stalled)
        for each in list(self.stalled):
            if unsent <= MOST_UNSENT:
                break
            unsent -= each._to_be_sent()
            each._reset()

    def resume_writing(self) -> None:
        """And this, where it does again, or is gone."""
        super().resume_writing()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        if self in self.stalled:
            del self.stalled[self]
            self._watch.cancel()

    def _watch_progress(self, before: int | None = None) -> None:
        if not self.transport:
            return
        unread = self.transport.get_write_buffer_size() + held_by_system(_file_number(self.transport))
        if unread == before:
            self._reset()
        else:
            self._watch: asyncio.TimerHandle = self.loop.call_later(self._patience.write, self._watch_progress, unread)

    def _reset(self) -> None:
        """With what the system still has to send, which it would go on offering for minutes."""
        if self.transport and not self.transport.is_closing():
            with socket.socket(fileno=os.dup(_file_number(self.transport))) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

    def _to_be_sent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport else 0

    @property
    def _patience(self) -> Patience:
        context: Context = self.app.ctx
        return context.patience

    def _make_room(self, most: int) -> None:
        """Those that have waited longest without a request go, so that one client cannot take every place. Where all
        are at work, the newcomer is told to come back."""
        waiting = sorted((since, id(each), each) for each in self.connections if (since := each.waiting_since()))
        others = [each for _, _, each in waiting if each is not self]
        for each in others[: most // 20 + 1]:  # a few at a time, so that a flood is not a search for each of its own
            each.close()
        if not others:
            self._refuse()
        if monotonic() >= Connection.said_at + SAY_AGAIN:
            Connection.said_at = monotonic()
            _log.warning("MAX_CONNECTIONS (%d) is reached: who waits is closed, and if nobody does, refused", most)

    def waiting_since(self) -> float | None:
        """None while a request is being answered."""
        if self.http is None or self.http.stage is Stage.IDLE:
            return None if self._to_be_sent() else self._time
        return self.http.head_since if self.http.stage is Stage.REQUEST else None

    def _refuse(self) -> None:
        if self.transport and self._task:
            self.transport.write(refusal())
            self._task.cancel()
            self.close()


def _file_number(transport: asyncio.BaseTransport) -> int:
    number: int = transport.get_extra_info("socket").fileno()
    return number


def held_by_system(file_number: int) -> int:
    """Bytes that the client has not confirmed. The system takes megabytes off our hands and asks for more only when a
    third of them is gone: without these, somebody who reads slowly looks like somebody who reads nothing."""
    if sys.platform != "linux":
        return 0
    held = array("i", [0])
    fcntl.ioctl(file_number, termios.TIOCOUTQ, held)
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


def allow_files(connections: int) -> None:
    """Every connection is an open file, and a shell allows 1024 where the system would allow more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        if allowed < wanted:
            _log.warning("the system allows %d open files: too few for MAX_CONNECTIONS (%d)", allowed, connections)
