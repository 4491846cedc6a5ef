"""What goes over a connection: one request after the other, each with its answer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from sanic.compat import Header
from sanic.exceptions import ExpectationFailed, PayloadTooLarge
from sanic.http import Http, Stage
from sanic.http.http1 import HTTP_CONTINUE

from service import http_head
from service.answers import Answer
from service.chunked_body import ChunkedBody
from service.http_head import CHUNKED

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
    """Reads requests strictly, in the place of Sanic's own reading: that takes heads and chunks which others read
    differently, and it looks at the newest byte, so that a head of a byte a second would go on for hours."""

    __slots__ = ("_chunks", "head_since")
    __touchup__: tuple[str, ...] = ("_announce",)  # type: ignore[assignment]  # Sanic's has three, of methods of its own
    protocol: Any  # ours, of which Sanic's annotation knows nothing

    async def http1_request_header(self) -> None:
        try:
            if self.protocol.departure.is_waiting:  # an answer of this very iteration: the next request is pipelined
                await self._turn()
            if not self.protocol._can_write.is_set():
                await self._until_the_last_answer_is_read()
            if self.recv_buffer.startswith(b"\r\n"):
                await self._skip_empty_line()
            self.head_since = monotonic()
            end = self.recv_buffer.find(b"\r\n\r\n")
            if end < 0:
                end = await self._receive_head()
            if end >= self.HEADER_MAX_SIZE:
                raise PayloadTooLarge("the head is too large")
            request = self._request_of(bytes(self.recv_buffer[:end]))
            await self._announce(request)
            self._expect_body(request)
            del self.recv_buffer[: end + 4]
            request.stream = self
            self.request = request
            self.protocol.state["requests_count"] += 1
        except asyncio.CancelledError:
            begun: Any = self.request
            if begun is None:
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

    async def _skip_empty_line(self) -> None:
        """RFC 9112 section 2.2: old clients send one after a body. Alone it is no request."""
        del self.recv_buffer[:2]
        if not self.recv_buffer:
            self.stage = Stage.IDLE
            await self._receive_more()
            self.stage = Stage.REQUEST

    async def _receive_head(self) -> int:
        buffer: bytearray = self.recv_buffer
        seen = 0
        while (end := buffer.find(b"\r\n\r\n", seen)) < 0:
            http_head.refuse_control_characters(buffer, seen)
            seen = max(0, len(buffer) - 3)
            if seen >= self.HEADER_MAX_SIZE:
                return seen
            await self._receive_more()
        return end

    def _request_of(self, head: bytes) -> Any:
        method, target, version, fields = http_head.parse_head(head)
        make: Any = self.protocol.request_class
        request = make(target, fields, version, method, self.protocol.transport, self.protocol.app, head=head)
        http_head.check_host(version, request.headers)
        self.keep_alive = http_head.keeps_alive(version, request.headers)
        self.head_only = method == "HEAD"
        make._current.set(request)
        return request

    def _expect_body(self, request: Any) -> None:
        self.request_bytes_left = self.request_bytes = 0
        body: Any = http_head.body_of(request.version, request.headers)
        if body is None:
            return
        expectation = request.headers.getone("expect", None)
        if expectation is not None and request.version == "1.1":
            if expectation.lower() != "100-continue":
                raise ExpectationFailed("unknown expectation")
            self.expecting_continue = True
        if body == CHUNKED:
            self._chunks = ChunkedBody()
            self.request_body = body
        else:
            self.request_body = True  # type: ignore[assignment]  # Sanic's own word for a body of a known length
            self.request_bytes_left = self.request_bytes = body

    async def _announce(self, request: Any) -> None:
        """The signals of Sanic's own reading. Sanic rewrites this at the start."""
        await self.dispatch("http.lifecycle.read_head", inline=True, context={"head": request.head})
        await self.dispatch("http.lifecycle.request", inline=True, context={"request": request})

    def create_empty_request(self) -> None:
        """Stand-in for a request that was refused, with those of its headers that its answer depends on."""
        super().create_empty_request()
        self.request.headers = Header(http_head.fields_for_the_answer(self.recv_buffer[: self.HEADER_MAX_SIZE]))

    async def read(self) -> bytes | None:
        """More of the body, None at its end. Chunks are read here, a body of a known length by Sanic."""
        kind: object = self.request_body
        if kind != CHUNKED:
            return await super().read()
        if self.expecting_continue:
            self.expecting_continue = False
            await self._send(HTTP_CONTINUE)
        while True:
            data = self._chunks.take(self.recv_buffer, self.request_max_size)
            self.request_bytes = self._chunks.size
            if self._chunks.is_complete:
                self.request_body = None
                return data or None
            if data:
                if self.recv_buffer:
                    await asyncio.sleep(0)  # many small chunks: other connections get a turn
                return data
            await self._receive_more()

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001 - Sanic calls it so
        """Of a service that stops each answer is the last of its connection, and says so: the next request goes to
        another copy. Requests that are here already are answered first. Nothing comes after a half-close."""
        is_last = (self.protocol.app.ctx.draining or self.protocol.has_ended) and not self.recv_buffer
        if is_last or self.protocol.is_ending:
            self.keep_alive = False
        written = self._written()
        if written is None:
            await super().http1_response_header(data, end_stream)
            return
        self.response_func = None  # type: ignore[assignment]  # Sanic's own word for a whole answer
        await self._send(written)
        self.stage = Stage.IDLE

    async def http1_response_chunked(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001 - as above
        """HTTP/1.0 has no chunks: an answer whose length is not known ends with the connection."""
        if self.request.version != "1.0":
            await super().http1_response_chunked(data, end_stream)
            return
        if data:
            await self._send(data)
        if end_stream:
            self.response_func = None  # type: ignore[assignment]  # as above
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
