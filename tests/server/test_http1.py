"""Requests on one connection are read and answered in order, and Sanic's methods are replaced in full."""

import ast
import asyncio
import inspect
import re
from collections.abc import Callable
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
from tests.server.transports import RecordingTransport
from tests.support import Service


def test_pipelined_requests_are_all_answered_in_order(service: Service) -> None:
    live, gone = (f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for path in ("/health/live", "/gone"))
    last = b"HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    answers = service.raw(live + gone + live + last)

    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"404", b"200", b"200"]
    assert answers.count(b'{"status":"alive"}') == 2


def test_the_next_request_of_a_client_that_reads_nothing_is_not_parsed() -> None:
    async def scenario() -> None:
        sent: list[bytes] = []
        reads = asyncio.Event()
        reads.set()

        class Full(RecordingTransport):
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
        http.stage = Stage.REQUEST  # as Sanic sets it

        writer.wait_with(b"an answer")
        reading = asyncio.create_task(http.http1_request_header())
        for _ in range(10):
            await asyncio.sleep(0)  # until it waits for the client
        reading.cancel()

        assert (sent, http.stage) == ([b"an answer"], Stage.IDLE)

    asyncio.run(scenario())


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
def test_a_replaced_method_of_sanic_sets_no_other_attributes(method: str, expected: set[str]) -> None:
    """`url` and `upgrade_websocket` stay as Sanic sets them: its log and its websockets use them."""
    [source] = [
        node
        for node in ast.walk(ast.parse(inspect.getsource(http1)))
        if isinstance(node, ast.AsyncFunctionDef) and node.name == method
    ]
    attributes = [node for node in ast.walk(source) if isinstance(node, ast.Attribute)]

    assert {
        each.attr for each in attributes if isinstance(each.ctx, ast.Store) and ast.unparse(each.value) == "self"
    } == expected


def test_signals_of_a_request_are_sent_as_sanic_sends_them(make_app: Callable[[], ServerApp]) -> None:
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
