"""HTTP/1 on one connection: requests and their responses, one after the other."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

from sanic.compat import Header
from sanic.exceptions import ExpectationFailed, SanicException
from sanic.http import Http, Stage
from sanic.http.http1 import HTTP_CONTINUE

from service.http.responses import JsonResponse, StreamedResponse
from service.server import http_head
from service.server.chunked_body import ChunkedBody
from service.server.http_head import CHUNKED
from service.server.response_bytes import bytes_of

MAX_PIECE_SECONDS = 0.001  # of reading a chunked body, before other connections get a turn


class StrictHttp(Http):
    """Sanic's HTTP/1 state machine with a strict parser and a deadline for the head. Sanic's own accepts heads and
    chunks that other servers read differently (request smuggling), and measures its timeout from the newest byte, so
    that a head of one byte a second would go on for hours."""

    __slots__ = ("_chunks", "head_since")
    __touchup__: tuple[str, ...] = ("_announce", "_announce_chunk")  # type: ignore[assignment]  # Sanic's has three others
    protocol: Any  # our ClientConnection; Sanic annotates its own

    async def http1_request_header(self) -> None:
        try:
            if self.protocol.writer.is_waiting:  # a response of this iteration is unsent: the request is pipelined
                await self._turn()
            if not self.protocol._can_write.is_set():
                await self._until_response_is_read()
            if self.recv_buffer.startswith(b"\r\n"):
                await self._skip_empty_line()
            self.head_since = monotonic()
            end = self.recv_buffer.find(b"\r\n\r\n")
            if end < 0:
                end = await self._receive_head()
            if end >= self.HEADER_MAX_SIZE:
                raise self._too_large()
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
                self.create_empty_request()  # Sanic logs it
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Sanic's own, but a body in very many small chunks does not hold up other connections."""
        since = monotonic()
        while self.request_body:
            data = await self.read()
            if data:
                yield data
            if self.request_body and monotonic() - since > MAX_PIECE_SECONDS:
                await self.protocol.app.ctx.round_robin.wait_for_turn()
                since = monotonic()

    async def _skip_empty_line(self) -> None:
        """A CRLF before the request line, which old clients send after a body (RFC 9112, 2.2), is no request."""
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

    def _too_large(self) -> SanicException:
        is_target = b"\r\n" not in self.recv_buffer[: self.HEADER_MAX_SIZE]
        return http_head.TargetTooLong("the target is too long") if is_target else http_head.HeadTooLarge("too large")

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
            self.request_body = True  # type: ignore[assignment]  # as Sanic marks a body of a known length
            self.request_bytes_left = self.request_bytes = body

    async def _announce(self, request: Any) -> None:
        """Sends the signals of Sanic's own parser. At the start Sanic removes the lines whose signal has no handler."""
        await self.dispatch("http.lifecycle.read_head", inline=True, context={"head": request.head})
        await self.dispatch("http.lifecycle.request", inline=True, context={"request": request})

    async def _announce_chunk(self, data: bytes) -> None:
        """Like _announce."""
        await self.dispatch("http.lifecycle.read_body", inline=True, context={"body": data})

    def create_empty_request(self) -> None:
        """A stand-in for a refused request, with the headers that its response depends on."""
        super().create_empty_request()
        self.request.headers = Header(http_head.fields_for_the_answer(self.recv_buffer[: self.HEADER_MAX_SIZE]))

    async def read(self) -> bytes | None:
        """The next part of the body, None at its end. Chunks are decoded here; Sanic reads a body of known length."""
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
                if data:
                    await self._announce_chunk(data)
                return data or None
            if data:
                await self._announce_chunk(data)
                if self.recv_buffer:
                    await asyncio.sleep(0)  # there may be many small chunks: other connections get a turn
                return data
            await self._receive_more()

    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001 - Sanic calls it so
        """Writes the head, and the body of a whole response with it. While the service drains, a response says
        `Connection: close`, so that the next request goes to another copy; requests that have arrived already are
        answered first. Nothing follows a half-close."""
        is_last = (self.protocol.app.ctx.is_draining or self.protocol.has_ended) and not self.recv_buffer
        if is_last or self.protocol.is_ending:
            self.keep_alive = False
        if isinstance(self.response, StreamedResponse) and self.request.version == "1.0":
            self.response.is_chunked = self.keep_alive = False
        written = self._written()
        if written is None:
            await super().http1_response_header(data, end_stream)
            return
        self.response_func = None  # type: ignore[assignment]  # as Sanic marks a whole response
        await self._send(written)
        self.stage = Stage.IDLE

    async def http1_response_chunked(self, data: bytes, end_stream: bool) -> None:  # noqa: FBT001 - as above
        """Sanic's own, but HTTP/1.0 has no chunks: a response of unknown length ends with its connection."""
        if self.request.version != "1.0":
            await super().http1_response_chunked(data, end_stream)
            return
        if data:
            await self._send(data)
        if end_stream:
            self.response_func = None  # type: ignore[assignment]  # as above
            self.stage = Stage.IDLE

    def _written(self) -> bytes | None:
        """A whole response as bytes. None for HEAD, for "Expect: 100-continue", and for a streamed response."""
        if self.head_only or self.expecting_continue or not isinstance(self.response, JsonResponse):
            return None
        return bytes_of(self.response, "keep-alive" if self.keep_alive else "close")

    async def _turn(self) -> None:
        self.stage = Stage.IDLE
        await self.protocol.app.ctx.round_robin.wait_for_turn()
        self.stage = Stage.REQUEST

    async def _until_response_is_read(self) -> None:
        """Back-pressure on pipelining: a client that reads nothing has one unread response here, not two."""
        self.stage = Stage.IDLE
        await self.protocol._can_write.wait()
        self.stage = Stage.REQUEST
