"""A client's HTTP connection: Sanic's protocol with limits on clients that are slow, greedy, or never read."""

import socket
from collections.abc import Sequence
from time import monotonic
from typing import Any

import orjson
from sanic.exceptions import BadRequest, RequestCancelled
from sanic.http import Stage

from service.errors import Code, Problem
from service.http.access_log import log_without_request
from service.http.client_address import network_of
from service.http.error_handler import error_body
from service.http.headers import HEADERS, VARY, HeaderSet
from service.http.request import new_request_id
from service.http.responses import JsonResponse
from service.server.back_pressure import BackPressureProtocol
from service.server.http1 import StrictHttp
from service.server.places import JUST_CAME_SECONDS, Standing
from service.server.request import ServerRequest
from service.server.response_bytes import bytes_of
from service.server.sockets import socket_of
from service.server.writes import ConnectionWriter

SEND_BUFFER_BYTES = 256 * 1024  # of the socket; the system's own default grows to megabytes for each client

ALL_TAKEN = "all places for connections are taken"
ANSWERED_NEVERTHELESS = ("/health", "/health/live")

STALLED_BYTES_A_SECOND = 1000  # a client that confirms fewer is stalled; even a slow mobile network is faster


class ClientConnection(BackPressureProtocol):
    __slots__ = (
        "_came", "_delivered_before", "_delivered_lately", "_handle_request", "_is_turned_away", "address", "has_ended",
        "is_ending", "writer",
    )  # fmt: skip

    __touchup__ = ("send",)  # type: ignore[assignment]  # removes its dispatch of a signal that has no handler

    HTTP_CLASS = StrictHttp

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername")
        self.address = network_of(peer[0]) if peer else None
        self._is_turned_away = self._context.places.is_flooded_by(self.address)
        if self._is_turned_away:
            self._turn_away(transport)
            return
        self._came = self._time = monotonic()
        self._delivered_before = self._delivered_lately = (self._came, 0)
        self.is_ending = False  # whether it is closed after its next answer
        self.has_ended = False  # whether the client has sent its FIN (half-close)
        self.writer = ConnectionWriter(transport, self._context.write_queue)
        self._handle_request = self._context.handle_request or self.app.handle_request
        self.request_handler = self._handle_request
        super().connection_made(transport)
        with socket_of(transport) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._context.places.enter(self)

    def _turn_away(self, transport: Any) -> None:
        """Answers 503 before anything is made for the connection, so that those behind it are soon accepted."""
        self._context.places.refused += 1
        self._context.count_unread_request(Code.OVERLOADED.status)
        transport.write(refusal(new_request_id()))
        transport.close()

    async def receive_more(self) -> None:
        """Sanic's own, and it returns or raises once the client has ended its side."""
        if not self.has_ended:
            self.transport.resume_reading()  # type: ignore[union-attr]  # a reader has a transport
        elif self._is_idle():
            self.close()  # ends the task that waits here
        else:
            raise BadRequest("the client ended in the middle of a request")
        self._data_received.clear()
        await self._data_received.wait()

    def eof_received(self) -> bool | None:
        """Half-close: the client sends nothing more and may still read. Requests that have arrived are answered, an
        incomplete one is refused, and the connection ends. A client that left altogether looks the same until something
        is sent to it, so its request goes on."""
        if self.websocket is not None:
            return super().eof_received()
        self.has_ended = True
        if self._is_idle():
            self.close()
        else:
            self._data_received.set()
        return True  # keeps the connection open for the answers

    def _is_idle(self) -> bool:
        return self.http is not None and self.http.stage is Stage.IDLE and not self.recv_buffer

    async def send(self, data: bytes) -> None:
        """Sanic's own, but writes of all connections are coalesced. At most one of each connection waits."""
        self.writer.go()
        await self._can_write.wait()
        if self.transport.is_closing():  # type: ignore[union-attr]  # a sender has a transport
            raise RequestCancelled
        await self.app.dispatch("http.lifecycle.send", inline=True, context={"data": data})
        self.writer.wait_with(data)
        self._time = monotonic()

    async def drained(self) -> None:
        """Back-pressure: returns once the client has taken in most of what was sent."""
        self.writer.go()
        await self._can_write.wait()

    async def websocket_handshake(self, request: Any, subprotocols: Sequence[str] | None = None) -> Any:
        """Sanic's own. From here on the connection has no more requests, and none of their deadlines."""
        websocket = await super().websocket_handshake(request, subprotocols)
        self.http.upgrade_websocket = True
        if self.has_ended:
            websocket.eof_received()  # the client has left before
        return websocket

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_turned_away:
            return
        super().connection_lost(exc)
        self._context.places.leave(self)

    def check_timeouts(self) -> None:
        """Sanic calls it every few seconds to find idle and late connections."""
        self._delivered_before, self._delivered_lately = self._delivered_lately, (monotonic(), self._delivered())
        if self._task and self.http is not None and self.http.stage is Stage.REQUEST:
            self._time = self.http.head_since
        elif self._to_be_sent():
            self._time = monotonic()  # neither idle nor late: the write timeout watches it
            self._begin_to_watch()
        super().check_timeouts()  # type: ignore[no-untyped-call]  # Sanic does not annotate it

    def close(self, timeout: float | None = None) -> None:
        """Sends what is still unsent first; Sanic would drop it after some seconds, read or not."""
        self.writer.go()
        super().close(timeout)
        self._begin_to_watch()

    def close_if_idle(self) -> bool:
        """Sanic calls it during a stop, when the port is closed. A request under way is answered first; a connection
        that was opened within the last second may have a request on its way; bytes that have arrived are a request,
        though Sanic has not looked at them yet. All have GRACEFUL_SHUTDOWN_TIMEOUT for it, measured here by a timer:
        Sanic's own count runs slow, because its steps take longer than it assumes."""
        self.loop.call_later(self.app.config.GRACEFUL_SHUTDOWN_TIMEOUT, self.abort)
        if self.http is not None:
            self.http.keep_alive = False
        age = monotonic() - self._came
        if self.recv_buffer:
            return False
        if age < JUST_CAME_SECONDS:
            self.loop.call_later(JUST_CAME_SECONDS - age, super().close_if_idle)
            return False
        return bool(super().close_if_idle())  # type: ignore[no-untyped-call]  # as above

    def standing(self, now: float) -> tuple[Standing, float]:
        """The rank is a time, or for STALLED and READING the bytes per second: the lowest is evicted first."""
        if self.websocket is not None:
            return Standing.ANSWERED, self._time
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
        """None while a request is being answered, or the connection is closing."""
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
        """Bytes a second that the client confirms, and for how many seconds: since the request, or since the check of
        timeouts before the last one."""
        since, before = self._delivered_before
        asked = self.http.head_since if self.http is not None and self.http.request is not None else since
        seconds = max(0.001, now - max(since, asked))
        return (self._delivered() - before) / seconds, seconds

    @property
    def is_answering(self) -> bool:
        return bool(self.http)

    def give_way(self) -> None:
        """Eviction, with a reset: the system would keep the answer while the client acknowledges anything."""
        self._context.places.evicted += 1
        self._context.places.leave(self)
        self._reset()
        if self.transport:
            self.close()

    def end_with_answer(self) -> None:
        self._context.places.evicted += 1
        self.is_ending = True
        if self.http is not None:
            self.http.keep_alive = False

    def answer_health_only(self) -> None:
        self.request_handler = self._answer_health

    async def _answer_health(self, request: Any) -> None:
        self.http.keep_alive = False
        if request.path.removesuffix("/") not in ANSWERED_NEVERTHELESS:
            self._context.places.refused += 1
            raise Problem(Code.OVERLOADED, reason=ALL_TAKEN)
        await self._handle_request(request)

    def refuse(self) -> None:
        """Answers 503 without reading its request, and closes."""
        self._context.places.refused += 1
        self._context.places.leave(self)
        if self.transport:
            self.writer.go()
            request_id = new_request_id()
            self.transport.write(refusal(request_id))
            log_without_request(request_id, Problem(Code.OVERLOADED, reason=ALL_TAKEN), self.address)
            self._context.count_unread_request(Code.OVERLOADED.status)
            if self.http is None and self._task:
                self._task.cancel()  # its task has not begun
            self.close()


def refusal(request_id: str) -> bytes:
    """The one answer that is made without a request: OVERLOADED, in the form of every other error."""
    problem = Problem(Code.OVERLOADED)
    body = error_body(lambda _, problem: problem.text, None, problem)
    refused = JsonResponse(
        orjson.dumps(body), problem.status, {"Retry-After": str(problem.retry_after)}, "application/json"
    )
    refused.common = HeaderSet.of({"X-Request-ID": request_id} | HEADERS | VARY).lines
    return bytes_of(refused, "close") or b""
