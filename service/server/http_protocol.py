"""A connection as Sanic makes it, with an end to the patience: with clients that are slow, greedy, or never read."""

import asyncio
import socket
import struct
from time import monotonic
from typing import Any, ClassVar

import orjson
from sanic.exceptions import BadRequest, RequestCancelled
from sanic.http import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from service.errors import Code, Problem
from service.http.access_log import log_unread
from service.http.client_address import network_of
from service.http.error_handler import error_body
from service.http.headers import EVERYBODY, Common
from service.http.health import PATHS as HEALTH_PATHS
from service.http.request import new_request_id
from service.http.responses import JsonResponse
from service.server.http1 import TimedHttp
from service.server.places import JUST_CAME_SECONDS, Standing, say
from service.server.request import ServerRequest
from service.server.response_bytes import bytes_of
from service.server.server_context import ServerContext
from service.server.sockets import held_by_system, socket_of
from service.server.writes import ConnectionWriter

SYSTEM_HOLDS = 256 * 1024  # bytes of answers that the system may hold for a client, where it would take megabytes
MOST_UNSENT = 64 * 1024 * 1024  # bytes of answers that clients leave lying here, of all connections of a process

ALL_TAKEN = "all places for connections are taken"

STALLED_BYTES_A_SECOND = 1000  # that a client takes in of its answer; the slowest mobile network has several times that


class ClientConnection(HttpProtocol):
    __slots__ = (
        "_came",
        "_delivered_before",
        "_delivered_lately",
        "_unread_before",
        "_watch",
        "address",
        "has_ended",
        "is_ending",
        "writer",
    )  # fmt: skip

    HTTP_CLASS = TimedHttp
    stalled: ClassVar[dict["ClientConnection", float]] = {}  # since when, in the order in which they fell behind

    def connection_made(self, transport: Any) -> None:
        self._watch: asyncio.TimerHandle | None = None
        self._unread_before = 0
        self._came = self._time = monotonic()
        self._delivered_before = self._delivered_lately = (self._came, 0)
        self.is_ending = False  # closed behind its next answer
        self.has_ended = False  # the client sends nothing more
        self.writer = ConnectionWriter(transport, self._context.write_queue)
        super().connection_made(transport)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        with socket_of(transport) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SYSTEM_HOLDS)
        peer = transport.get_extra_info("peername")
        self.address = network_of(peer[0]) if peer else None
        self._context.places.enter(self)

    async def receive_more(self) -> None:
        """As Sanic's own, but with an end where the client has ended."""
        if not self.has_ended:
            self.transport.resume_reading()  # type: ignore[union-attr]  # whoever reads has a transport
        elif self._is_idle():
            self.close()  # which ends the task that waits here
        else:
            raise BadRequest("the client ended in the middle of a request")
        self._data_received.clear()
        await self._data_received.wait()

    def eof_received(self) -> bool:
        """A half-close: the client sends nothing more and may still read. Requests that have arrived are answered, one
        that is not complete is refused, and the connection ends. A client that left altogether looks the same until
        something is sent to it, so its request goes on."""
        self.has_ended = True
        if self._is_idle():
            self.close()
        else:
            self._data_received.set()
        return True  # the connection stays open for what is to be sent

    def _is_idle(self) -> bool:
        return self.http is not None and self.http.stage is Stage.IDLE and not self.recv_buffer

    async def send(self, data: bytes) -> None:
        """As Sanic's own, but with what other connections have to send. One thing waits for that, and not two."""
        self.writer.go()
        await self._can_write.wait()
        if self.transport.is_closing():  # type: ignore[union-attr]  # whoever sends has a transport
            raise RequestCancelled
        self.writer.wait_with(data)
        self._time = monotonic()

    async def drained(self) -> None:
        """Back-pressure: until the client has taken in most of what was sent."""
        self.writer.go()
        await self._can_write.wait()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        self._context.places.leave(self)
        self.stalled.pop(self, None)
        if self._watch is not None:
            self._watch.cancel()

    def check_timeouts(self) -> None:
        """Sanic calls it every few seconds."""
        self._delivered_before, self._delivered_lately = self._delivered_lately, (monotonic(), self._delivered())
        if self._task and self.http is not None and self.http.stage is Stage.REQUEST:
            self._time = self.http.head_since
        elif self._to_be_sent():
            self._time = monotonic()  # neither idle nor late: whether anybody reads it is watched
            self._begin_to_watch()
        super().check_timeouts()  # type: ignore[no-untyped-call]  # Sanic does not annotate it

    def close(self, timeout: float | None = None) -> None:
        """What is still to be sent is sent; Sanic itself would cut it off after some seconds, read or not."""
        self.writer.go()
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
        if age < JUST_CAME_SECONDS:
            self.loop.call_later(JUST_CAME_SECONDS - age, super().close_if_idle)
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
        say("clients leave more than %d bytes of answers lying here; those that read nothing are cut off", MOST_UNSENT)

        def reads(each: ClientConnection) -> bool:
            return now - self.stalled[each] < JUST_CAME_SECONDS or each._unread() != each._unread_before

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
            self._watch = self.loop.call_later(self._context.write_timeout, self._look_again, unread)

    def _reset(self) -> None:
        """With what the system still has to send, which it would go on offering for minutes."""
        if self.transport and (self._to_be_sent() or self._held()):
            with socket_of(self.transport) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()

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

    def standing(self, now: float) -> tuple[Standing, float]:
        since = self._waiting_since()
        if not self._to_be_sent():
            if since is None:
                return Standing.ANSWERED, self._time
            if now - since < JUST_CAME_SECONDS:
                return Standing.JUST_CAME, since
            if not self._held():
                return Standing.WAITING, since
        rate, seconds = self._pace(now)
        is_slow = rate < STALLED_BYTES_A_SECOND and seconds >= JUST_CAME_SECONDS
        return Standing.STALLED if is_slow else Standing.READING, rate

    def _waiting_since(self) -> float | None:
        """None while a request is being answered."""
        if self.transport is None or self.transport.is_closing():
            return None
        if self.http is None or self.http.stage is Stage.IDLE:
            return self._time
        request: ServerRequest | None = self.http.request
        if self.http.stage is Stage.REQUEST or (request is not None and request.is_arriving):
            return float(self.http.head_since)
        return None

    def _delivered(self) -> int:
        """Bytes that the client has confirmed."""
        return self.writer.written - self._to_be_sent() - self._held()

    def _pace(self, now: float) -> tuple[float, float]:
        """Bytes a second that the client confirms, and for how many seconds: five to ten, or fewer since it asked."""
        since, before = self._delivered_before
        asked = self.http.head_since if self.http is not None and self.http.request is not None else since
        seconds = max(0.001, now - max(since, asked))
        return (self._delivered() - before) / seconds, seconds

    def give_way(self) -> None:
        """Without the rest of its answer, which the system would keep while the client acknowledges anything."""
        self._context.places.leave(self)
        self._reset()
        if self.transport:
            self.close()

    def end_with_answer(self) -> None:
        self.is_ending = True
        if self.http is not None:
            self.http.keep_alive = False

    def answer_health_only(self) -> None:
        self.request_handler = self._answer_health

    async def _answer_health(self, request: Any) -> None:
        self.http.keep_alive = False
        if request.path.removesuffix("/") not in HEALTH_PATHS:
            raise Problem(Code.OVERLOADED, reason=ALL_TAKEN)
        await self.app.handle_request(request)

    def refuse(self) -> None:
        """Answers 503 before anything of a request is read, and closes."""
        self._context.places.leave(self)
        if self.transport:
            self.writer.go()
            request_id = new_request_id()
            self.transport.write(refusal(request_id))
            log_unread(request_id, Code.OVERLOADED.status, ALL_TAKEN)
            if self.http is None and self._task:
                self._task.cancel()  # before it has begun
            self.close()


def refusal(request_id: str) -> bytes:
    """OVERLOADED as every other error of no contract's path reads, though there is no request that it would answer."""
    problem = Problem(Code.OVERLOADED)
    body = error_body(lambda _, problem: problem.text, None, problem)
    refused = JsonResponse(
        orjson.dumps(body), problem.status, {"Retry-After": str(problem.retry_after)}, "application/json"
    )
    refused.common = Common.of({"X-Request-ID": request_id} | EVERYBODY).lines
    return bytes_of(refused, "close") or b""
