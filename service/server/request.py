"""The request of our server: a deadline for its body, and a refusal that the client can read."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import sanic
from sanic.compat import Header
from sanic.exceptions import BadRequest, BadURL, PayloadTooLarge, RequestTimeout, SanicException
from sanic.http import Http, Stage

from service.http import request
from service.http.json_body import MAX_BODY
from service.server.server_context import ServerContext

# Limits of the lingering close after a refusal. A connection that is closed with unread bytes is reset, and the client
# never sees why it was refused.
LINGER_BYTES = 32 * MAX_BODY
LINGER_SECONDS = 3.0
LINGER_SILENT_SECONDS = 0.2


class ServerRequest(request.Request):
    __slots__ = ("_is_stand_in", "is_arriving", "is_malformed")

    def __init__(self, url_bytes: bytes, headers: Header, *args: Any, **kwargs: Any) -> None:
        self._is_stand_in = "head" not in kwargs
        super().__init__(url_bytes, headers, *args, **kwargs)
        self.is_arriving = False  # while its body is
        self.is_malformed = False  # whether its body breaks a rule of HTTP
        if self._parsed_url.path is None:
            raise BadURL("an address without a path")

    # Sanic's HTTP state machine, under a name that says so: Sanic types this attribute as any stream.
    http: Http = sanic.Request.stream  # type: ignore[assignment,misc]  # the descriptor of its slot

    @property
    def was_unreadable(self) -> bool:
        return self._is_stand_in

    @property
    def began_at(self) -> float | None:
        return self.http.perft0

    @property
    def _context(self) -> ServerContext:
        context: Any = self.app.ctx
        found: ServerContext = context
        return found

    async def receive_body(self) -> None:
        http = self.http
        if http.expecting_continue and (http.request_bytes or 0) > MAX_BODY:
            http.expecting_continue = False  # the client waits for "100 Continue", and is told why it gets none
            http.keep_alive = False
            http.request_body = None
            raise PayloadTooLarge
        kind: object = http.request_body  # True for a body of a known length, which Sanic's annotation does not say
        if kind is True and len(http.recv_buffer) >= (http.request_bytes or 0) <= MAX_BODY:
            self.body = await http.read() or b""  # all of it has arrived: no deadline is needed
            http.request_body = None
            return
        self.is_arriving = True
        try:
            async with asyncio.timeout(self._context.body_timeout):
                await super().receive_body()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        except TimeoutError:
            http.keep_alive = False
            http.request_body = None  # the rest of it is not read
            raise RequestTimeout from None
        except (BadRequest, PayloadTooLarge) as error:
            self.is_malformed = isinstance(error, BadRequest)
            await self.linger()
            raise
        finally:
            self.is_arriving = False

    async def finish_reading(self) -> bool:
        if self.was_unreadable:
            await self.linger()
        elif self.http.request_body:
            with suppress(SanicException):
                await self.receive_body()
        return not self.is_malformed

    async def linger(self) -> None:
        """Lingering close: reads and drops what arrives, for a bounded time, until the client has fallen silent."""
        http = self.http
        http.keep_alive = False
        http.request_body = None
        dropped = 0
        deadline = time.monotonic() + LINGER_SECONDS
        # wait_for() and not timeout(): Sanic may have cancelled this task to end the wait for a head, and the timeout()
        # of early 3.11 then takes Sanic's cancellation for its own.
        with suppress(TimeoutError, BadRequest):  # the second at a half-close
            while dropped < LINGER_BYTES and time.monotonic() < deadline:
                dropped += len(http.recv_buffer)
                http.recv_buffer.clear()
                await asyncio.wait_for(http.protocol.receive_more(), LINGER_SILENT_SECONDS)

    async def until_read(self) -> None:
        protocol: Any = self.http.protocol
        await protocol.drained()

    def end_without_body(self) -> None:
        """What Sanic would call for the rest of an answer to HEAD is no coroutine, and cannot be awaited."""
        http: Any = self.http
        http.stage, http.response_func = Stage.IDLE, None

    def cut_off(self) -> None:
        protocol: Any = self.http.protocol
        protocol.abort()
        self.http.keep_alive = False
        self.end_without_body()
