"""The request as the service wants it: with an id, a body that arrives in time, an answer for a broken address."""

import asyncio
import random
import re
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import sanic
from sanic.compat import Header
from sanic.exceptions import BadRequest, BadURL, PayloadTooLarge, RequestTimeout, SanicException
from sanic.http import Http

from service.context import App

MAX_BODY = 1024 * 1024

# How much, and how long, a refused client may go on sending before it is cut off. A connection that is closed with
# unread bytes is reset, and the client never sees why it was refused.
LINGER_BYTES = 32 * MAX_BODY
LINGER_TIMEOUT = 3.0
LINGER_SILENCE = 0.2

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    return f"{random.getrandbits(128):032x}"


class RequestContext(SimpleNamespace):
    """What the way of a request adds to it."""

    user_id: UUID  # by the auth middleware
    reason: str  # by the error handler, for the access log


class Request(sanic.Request[App, RequestContext]):
    __slots__ = ("is_arriving", "is_malformed", "was_unreadable")

    def __init__(self, url_bytes: bytes, headers: Header, *args: Any, **kwargs: Any) -> None:
        self.was_unreadable = "head" not in kwargs  # then it is the stand-in for a request that was refused
        super().__init__(url_bytes, headers, *args, **kwargs)
        self.is_arriving = False  # while its body is
        self.is_malformed = False  # where its body breaks a rule of HTTP
        if self._parsed_url.path is None:
            raise BadURL("an address without a path")

    @staticmethod
    def make_context() -> RequestContext:
        return RequestContext()

    @property
    def id(self) -> str:
        if self._id is None:
            given = self.headers.getall("x-request-id", [])
            fits = len(given) == 1 and _REQUEST_ID.fullmatch(given[0])
            self._id = given[0] if fits else new_request_id()
        return str(self._id)

    # The connection, under a name that says what it is here: Sanic types it as any stream.
    http: Http = sanic.Request.stream  # type: ignore[assignment,misc]  # the descriptor of its slot

    async def receive_body(self) -> None:
        http = self.http
        if http.expecting_continue and (http.request_bytes or 0) > MAX_BODY:
            http.expecting_continue = False  # the client waits to be told to go on; it is told why not
            http.keep_alive = False
            http.request_body = None
            raise PayloadTooLarge
        kind: object = http.request_body  # True for a body of a known length, whatever Sanic's annotation says
        if kind is True and len(http.recv_buffer) >= (http.request_bytes or 0) <= MAX_BODY:
            self.body = await http.read() or b""  # all of it is here: nobody is waited for
            http.request_body = None
            return
        self.is_arriving = True
        try:
            async with asyncio.timeout(self.app.ctx.patience.body):
                await super().receive_body()  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        except TimeoutError:
            http.keep_alive = False
            http.request_body = None  # nobody waits for the rest of it
            raise RequestTimeout from None
        except (BadRequest, PayloadTooLarge) as error:
            self.is_malformed = isinstance(error, BadRequest)
            await self.linger()
            raise
        finally:
            self.is_arriving = False

    async def finish_reading(self) -> bool:
        """Before a refusal: take in what the client is still sending, or it may never read the answer. False where the
        body breaks a rule of HTTP, which is then the answer."""
        if self.was_unreadable:
            await self.linger()
        elif self.http.request_body:
            with suppress(SanicException):
                await self.receive_body()
        return not self.is_malformed

    async def linger(self) -> None:
        """Read on and throw away, for a bounded time, until the client has fallen silent. The connection ends then."""
        http = self.http
        http.keep_alive = False
        http.request_body = None
        thrown_away = 0
        deadline = time.monotonic() + LINGER_TIMEOUT
        # wait_for and not timeout(): Sanic may have cancelled this task to end the wait for a head, and the timeout()
        # of early 3.11 then takes its own cancellation for somebody else's.
        with suppress(TimeoutError, BadRequest):  # the second where the client has ended
            while thrown_away < LINGER_BYTES and time.monotonic() < deadline:
                thrown_away += len(http.recv_buffer)
                http.recv_buffer.clear()
                await asyncio.wait_for(http.protocol.receive_more(), LINGER_SILENCE)
