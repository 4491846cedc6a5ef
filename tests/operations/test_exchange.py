"""Who waits for the bytes of a request, and what waits to be sent."""

import asyncio
import re
from types import SimpleNamespace
from typing import Any

from sanic.http import Stage

from service.exchange import Arrival, Departure, Departures, TimedHttp
from tests.support import Service


def test_bytes_that_come_in_two_pieces_wake_who_waits_once() -> None:
    async def arrive() -> None:
        arrival = Arrival()
        waiting = arrival.wait(asyncio.get_running_loop())
        arrival.set()
        arrival.set()
        await waiting

    asyncio.run(arrive())


def test_bytes_that_come_when_nobody_waits_any_more_wake_nobody() -> None:
    async def arrive() -> asyncio.Future[None]:
        arrival = Arrival()
        arrival.set()
        waiting = arrival.wait(asyncio.get_running_loop())
        waiting.cancel()
        arrival.set()
        return waiting

    assert asyncio.run(arrive()).cancelled()


class Sent(asyncio.Transport):
    """What a connection has sent, among others in a list that they share."""

    def __init__(self, together: list[bytes]) -> None:
        super().__init__()
        self.together = together
        self.has_gone = False

    def write(self, data: Any) -> None:
        self.together.append(data)

    def is_closing(self) -> bool:
        return self.has_gone


def test_what_is_ready_in_one_round_of_the_loop_goes_at_its_end_in_order() -> None:
    async def story() -> None:
        sent: list[bytes] = []
        together = Departures(asyncio.get_running_loop())
        ann, bob = (Departure(Sent(sent), together) for _ in range(2))

        for answers in ((b"bob's", b"ann's"), (b"his next", b"her next")):
            for departure, answer in zip((bob, ann), answers, strict=True):
                departure.wait_with(answer)
            assert sent == []
            await asyncio.sleep(0)
            assert sent == [*answers]
            sent.clear()

    asyncio.run(story())


def test_what_has_gone_at_once_does_not_go_again_and_who_is_gone_gets_nothing() -> None:
    async def story() -> None:
        sent: list[bytes] = []
        together = Departures(asyncio.get_running_loop())
        gone = Sent(sent)
        ann, bob, eve = (Departure(transport, together) for transport in (Sent(sent), gone, Sent(sent)))

        ann.wait_with(b"ann's first")
        bob.wait_with(b"bob's")
        eve.wait_with(b"eve's")
        ann.go()
        ann.wait_with(b"ann's second")
        gone.has_gone = True
        await asyncio.sleep(0)

        assert sent == [b"ann's first", b"ann's second", b"eve's"]

    asyncio.run(story())


def test_requests_that_come_at_once_are_answered_one_after_the_other_to_the_last(service: Service) -> None:
    live, gone = (f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in ("/health/live", "/gone"))
    last = b"HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    answers = service.raw(live + gone + live + last)

    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"404", b"200", b"200"]
    assert answers.count(b'{"status":"alive"}') == 2


def test_the_next_request_of_a_client_that_reads_nothing_is_not_looked_at() -> None:
    async def story() -> None:
        sent: list[bytes] = []
        reads = asyncio.Event()
        reads.set()

        class Full(Sent):
            def write(self, data: Any) -> None:
                super().write(data)
                reads.clear()

        departure = Departure(Full(sent), Departures(asyncio.get_running_loop()))
        connection: Any = SimpleNamespace(
            app=SimpleNamespace(dispatch=None), departure=departure, _can_write=reads,
            recv_buffer=bytearray(b"GET /next"), send=None, receive_more=asyncio.Event().wait,
        )  # fmt: skip
        http = TimedHttp(connection)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        http.stage = Stage.REQUEST  # as Sanic does

        departure.wait_with(b"an answer")
        reading = http.http1_request_header()
        reading.send(None)  # to where it waits
        reading.close()

        assert (sent, http.stage) == ([b"an answer"], Stage.IDLE)

    asyncio.run(story())
