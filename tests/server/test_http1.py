"""Who waits for the bytes of a request, and what waits to be sent."""

import ast
import asyncio
import inspect
import re
from collections.abc import Callable
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from sanic.http import Stage, http1
from sanic_testing.reusable import ReusableClient

from service.server.http1 import StrictHttp
from service.server.round_robin import RoundRobin
from service.server.sanic_app import ServerApp
from service.server.writes import ConnectionWriter, WriteQueue
from tests import support
from tests.support import Service


def test_round_robin_lets_one_of_many_go_on_in_each_iteration_of_the_loop_in_turn() -> None:
    async def story() -> list[str]:
        went_on: list[str] = []
        round_robin = RoundRobin(asyncio.get_running_loop())

        async def greedy(name: str) -> None:
            while True:
                await round_robin.turn()
                went_on.append(name)

        many = [asyncio.create_task(greedy(name)) for name in "abcd"]
        counts = [0]
        for iteration in range(30):
            await asyncio.sleep(0)
            counts.append(len(went_on))
            if iteration == 10:
                many[1].cancel()
        for each in many:
            each.cancel()
        assert {after - before for before, after in pairwise(counts)} <= {0, 1}
        return went_on

    went_on = "".join(asyncio.run(story()))

    assert len(went_on) > 20
    assert went_on.startswith("abcdabcd")
    assert went_on[-6:] in {"acdacd", "cdacda", "dacdac"}


def test_round_robin_goes_on_after_it_had_nothing_to_do() -> None:
    async def story() -> None:
        round_robin = RoundRobin(asyncio.get_running_loop())
        for _ in range(3):
            await asyncio.wait_for(round_robin.turn(), 60)
            await asyncio.sleep(0.01)
        gone = round_robin.turn()
        gone.cancel()
        await asyncio.wait_for(round_robin.turn(), 60)

    asyncio.run(story())


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
        together = WriteQueue(asyncio.get_running_loop())
        ann, bob = (ConnectionWriter(Sent(sent), together) for _ in range(2))

        for answers in ((b"bob's", b"ann's"), (b"his next", b"her next")):
            for writer, answer in zip((bob, ann), answers, strict=True):
                writer.wait_with(answer)
            assert sent == []
            await asyncio.sleep(0)
            assert sent == [*answers]
            sent.clear()

    asyncio.run(story())


def test_what_has_gone_at_once_does_not_go_again_and_who_is_gone_gets_nothing() -> None:
    async def story() -> None:
        sent: list[bytes] = []
        together = WriteQueue(asyncio.get_running_loop())
        gone = Sent(sent)
        ann, bob, eve = (ConnectionWriter(transport, together) for transport in (Sent(sent), gone, Sent(sent)))

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

        round_robin = RoundRobin(asyncio.get_running_loop())
        writer = ConnectionWriter(Full(sent), WriteQueue(asyncio.get_running_loop()))
        connection: Any = SimpleNamespace(
            app=SimpleNamespace(dispatch=None, ctx=SimpleNamespace(round_robin=round_robin)),
            writer=writer, _can_write=reads,
            recv_buffer=bytearray(b"GET /next"), send=None, receive_more=asyncio.Event().wait,
        )  # fmt: skip
        http = StrictHttp(connection)  # type: ignore[no-untyped-call]  # Sanic does not annotate it
        http.stage = Stage.REQUEST  # as Sanic does

        writer.wait_with(b"an answer")
        reading = asyncio.create_task(http.http1_request_header())
        for _ in range(10):
            await asyncio.sleep(0)  # to where it waits
        reading.cancel()

        assert (sent, http.stage) == ([b"an answer"], Stage.IDLE)

    asyncio.run(story())


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            "http1_request_header",
            {
                "url", "keep_alive", "head_only", "upgrade_websocket", "request", "request_body", "request_bytes",
                "request_bytes_left", "expecting_continue",
            },
        ),
        ("read", {"keep_alive", "request_body", "request_bytes", "request_bytes_left", "expecting_continue"}),
    ],
)  # fmt: skip
def test_reading_of_sanic_that_is_replaced_sets_nothing_else(method: str, expected: set[str]) -> None:
    """`url` and `upgrade_websocket` stay as Sanic makes them: they are for its log, and for websockets."""
    [source] = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(http1)))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == method
    ]
    attributes = [node for node in ast.walk(source) if isinstance(node, ast.Attribute)]

    assert {
        each.attr for each in attributes if isinstance(each.ctx, ast.Store) and ast.unparse(each.value) == "self"
    } == expected


def test_signals_of_a_request_are_sent_as_by_sanic(make_app: Callable[[], ServerApp]) -> None:
    app = make_app()
    heard: list[Any] = []

    @app.signal("http.lifecycle.read_head")
    async def head(head: bytes) -> None:
        heard.append(head.partition(b"\r\n")[0])

    @app.signal("http.lifecycle.request")
    async def request(request: Any) -> None:
        heard.append(request.path)

    with ReusableClient(app, port=support.free_port()) as client:
        _, answer = client.get("/health/live")

    assert answer is not None
    assert (answer.status, heard) == (200, [b"GET /health/live HTTP/1.1", "/health/live"])
