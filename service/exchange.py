"""What goes over a connection: one request after the other, each with its answer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from sanic.http import Http, Stage

from service.answers import Answer

PIECE_SECONDS = 0.001


class Arrival:
    """Of bytes, for the one task that waits for them. Sanic has an Event here, which keeps a queue of them."""

    __slots__ = ("_waits",)

    def __init__(self) -> None:
        self._waits: asyncio.Future[None] | None = None

    def set(self) -> None:
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    def wait(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Future[None]":
        self._waits = loop.create_future()
        return self._waits


class RoundRobin:
    """Work that waits for nothing, of connections that always have more of it: one piece in each iteration of the event
    loop, of all such connections together, in turn. Every other connection is served in between: it waits for one piece
    and not for thousands, however many connections have some."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_running = False

    def turn(self) -> "asyncio.Future[None]":
        turn = self._loop.create_future()
        self._waiting.append(turn)
        if not self._is_running:
            self._is_running = True
            self._loop.call_soon(self._give)
        return turn

    def _give(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its connection is still there
                turn.set_result(None)
                break
        self._is_running = bool(self._waiting)
        if self._is_running:
            self._loop.call_soon(self._give)


class Departures:
    """What goes at the end of a round of the event loop. Sending wakes whoever reads: for all one right after the other
    costs less than for each in the midst of the next one's work."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: list[Departure] = []

    def add(self, departure: "Departure") -> None:
        if not self._ready:
            self._loop.call_soon(self._go)
        self._ready.append(departure)

    def _go(self) -> None:
        ready, self._ready = self._ready, []
        for each in ready:
            each.go()


class Departure:
    """Of what one connection has to send."""

    __slots__ = ("_all", "_data", "_transport", "written")

    def __init__(self, transport: asyncio.Transport, together: Departures) -> None:
        self._transport = transport
        self._all = together
        self._data = b""
        self.written = 0  # bytes, since the connection was made

    def wait_with(self, data: bytes) -> None:
        self._data = data
        self._all.add(self)

    @property
    def is_waiting(self) -> bool:
        return bool(self._data)

    def go(self) -> None:
        """Now, and not again."""
        data, self._data = self._data, b""
        if data and not self._transport.is_closing():
            self.written += len(data)
            self._transport.write(data)


class TimedHttp(Http):
    """Knows when the first byte of a head came. Sanic looks at the newest: a byte a second would go on for hours."""

    __slots__ = ("head_since",)
    protocol: Any  # ours, of which Sanic's annotation knows nothing

    async def http1_request_header(self) -> None:
        try:
            if self.protocol.departure.is_waiting:  # an answer of this very iteration: the next request is pipelined
                await self._turn()
            if not self.protocol._can_write.is_set():
                await self._until_the_last_answer_is_read()
            self.head_since = monotonic()
            await super().http1_request_header()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        except asyncio.CancelledError:
            request: Any = self.request
            if request is None:
                self.create_empty_request()  # Sanic speaks of it in its log
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """As Sanic's own, but a body in very many small chunks does not hold up other connections."""
        since = monotonic()
        while self.request_body:
            data = await self.read()
            if data:
                yield data
            if self.request_body and monotonic() - since > PIECE_SECONDS:
                await self.protocol.app.ctx.round_robin.turn()
                since = monotonic()

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001 - Sanic calls it so
        """Of a service that stops each answer is the last of its connection, and says so: the next request goes to
        another copy. Who has sent it already gets its answer first."""
        if self.protocol.is_ending or (self.protocol.app.ctx.draining and not self.recv_buffer):
            self.keep_alive = False
        written = self._written()
        if written is None:
            await super().http1_response_header(data, end_stream)
            return
        self.response_func = None  # type: ignore[assignment]  # Sanic's own word for a whole answer
        await self._send(written)
        self.stage = Stage.IDLE

    def _written(self) -> bytes | None:
        """Of an answer that is nothing but that: no HEAD, and nobody who waits to be told to go on."""
        if self.head_only or self.expecting_continue or not isinstance(self.response, Answer):
            return None
        return self.response.written("keep-alive" if self.keep_alive else "close")

    async def _turn(self) -> None:
        self.stage = Stage.IDLE
        await self.protocol.app.ctx.round_robin.turn()
        self.stage = Stage.REQUEST

    async def _until_the_last_answer_is_read(self) -> None:
        """Who sends many requests at once and reads nothing has one answer lying here, not two."""
        self.stage = Stage.IDLE
        await self.protocol._can_write.wait()
        self.stage = Stage.REQUEST
