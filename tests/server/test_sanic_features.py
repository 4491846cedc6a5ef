"""Sanic's features work in this application: signals, every kind of middleware, routes of every kind."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sanic import HTTPResponse, text
from sanic.log import error_logger
from sanic.response import ResponseStream, file_stream
from sanic_testing.reusable import ReusableClient
from websockets.asyncio.client import connect

from service.server.fast_path import FastPath
from service.server.sanic_app import ServerApp
from tests import support

MakeApp = Callable[[], ServerApp]

SIGNALS = [
    "http.lifecycle.begin", "http.lifecycle.read_head", "http.lifecycle.request", "http.lifecycle.handle",
    "http.routing.before", "http.routing.after", "http.lifecycle.read_body", "http.middleware.before",
    "http.middleware.after", "http.handler.before", "http.handler.after", "http.lifecycle.response",
    "http.lifecycle.send", "http.lifecycle.complete",
]  # fmt: skip


@pytest.fixture(params=["auto", "off"], ids=["fast_path", "sanics_own_path"])
def make(request: pytest.FixtureRequest, make_app: Callable[..., ServerApp]) -> MakeApp:
    return lambda: make_app(fast_path=request.param)


def answers(app: ServerApp, *requests: tuple[str, str, dict[str, Any]]) -> list[tuple[int, str]]:
    with ReusableClient(app, port=support.free_port()) as client:
        found = [getattr(client, method)(path, **options)[1] for method, path, options in requests]
    return [(answer.status, answer.text) for answer in found]


def add_signal(app: ServerApp) -> None:
    app.signal("http.routing.after")(never)


def add_host(app: ServerApp) -> None:
    app.add_route(never, "/a", host="a.example")


async def never(**_: object) -> None: ...


@pytest.mark.parametrize(
    ("fast_path", "add", "is_fast"),
    [("auto", None, True), ("off", None, False), ("auto", add_signal, False), ("auto", add_host, False)],
    ids=["plain", "switched_off", "with_a_signal", "with_a_host"],
)
def test_the_fast_path_is_taken_unless_it_is_off_or_would_skip_a_feature(
    make_app: Callable[..., ServerApp], fast_path: str, add: Callable[[ServerApp], None] | None, *, is_fast: bool
) -> None:
    app = make_app(fast_path=fast_path)
    if add:
        add(app)

    with ReusableClient(app, port=support.free_port()) as client:
        client.get("/")

    assert isinstance(app.ctx.fast_path, FastPath) is is_fast


async def in_pieces() -> AsyncIterator[bytes]:
    yield b"a"
    yield b"bc"


@pytest.mark.parametrize("content", [lambda: b"abc", in_pieces], ids=["whole", "chunked"])
def test_every_signal_of_a_request_is_sent_in_order(make: MakeApp, content: Callable[[], Any]) -> None:
    app = make()
    heard: list[str] = []

    def listen(name: str) -> None:
        @app.signal(name, condition={"attach_to": "request"} if name.startswith("http.middleware") else None)
        async def hear(**_: object) -> None:
            if name not in heard:
                heard.append(name)

    for name in SIGNALS:
        listen(name)

    @app.post("/heard")
    async def handler(_: Any) -> HTTPResponse:
        return text("heard")

    assert answers(app, ("post", "/heard", {"content": content()})) == [(200, "heard")]
    assert heard == SIGNALS


def test_handlers_may_be_sync_and_middleware_may_be_async_or_answer_or_replace(make: MakeApp) -> None:
    app = make()
    seen: list[str] = []

    @app.on_request
    async def look(request: Any) -> None:
        await asyncio.sleep(0)
        seen.append(request.path)

    @app.on_request
    def answer_itself(request: Any) -> HTTPResponse | None:
        return text("from a middleware") if request.path == "/short" else None

    @app.on_response  # type: ignore[untyped-decorator]  # Sanic does not annotate it
    async def replace(request: Any, _: HTTPResponse) -> HTTPResponse | None:
        await asyncio.sleep(0)
        return text("replaced", 202) if request.path == "/replaced" else None

    @app.on_response  # type: ignore[untyped-decorator]  # as above
    def touch(_: Any, response: HTTPResponse) -> None:
        response.headers["touched"] = "yes"

    @app.get("/sync")
    def sync(_: Any) -> HTTPResponse:
        return text("sync")

    @app.get("/replaced")
    async def original(_: Any) -> HTTPResponse:
        return text("original")

    assert answers(app, ("get", "/sync", {}), ("get", "/short", {}), ("get", "/replaced", {})) == [
        (200, "sync"),
        (200, "from a middleware"),  # it runs for paths without a route too
        (202, "replaced"),
    ]
    assert seen == ["/sync", "/short", "/replaced"]


def test_response_middleware_after_an_async_one_may_replace_the_response(make: MakeApp) -> None:
    app = make()

    @app.on_response  # type: ignore[untyped-decorator]  # as above
    def last(_: Any, __: HTTPResponse) -> HTTPResponse:  # the first one that is registered runs last
        return text("from the last one", 202)

    @app.on_response  # type: ignore[untyped-decorator]  # as above
    async def first(_: Any, __: HTTPResponse) -> None:
        await asyncio.sleep(0)

    assert answers(app, ("get", "/health/live", {})) == [(202, "from the last one")]


def test_a_response_that_a_handler_returns_after_it_has_responded_is_logged_and_not_sent(
    make: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make()
    monkeypatch.setattr(error_logger, "handlers", [caplog.handler])

    @app.get("/twice")
    async def twice(request: Any) -> HTTPResponse:
        response = await request.respond(content_type="text/plain")
        await response.send("first")
        await response.eof()
        return text("second")

    assert answers(app, ("get", "/twice", {}), ("get", "/health/live", {})) == [
        (200, "first"),
        (200, '{"status":"alive"}'),
    ]
    [logged] = caplog.messages
    assert "respon" in logged


def test_a_stream_route_reads_a_body_beyond_the_size_limit(make: MakeApp) -> None:
    app = make()

    @app.post("/count", stream=True)
    async def count(request: Any) -> HTTPResponse:
        size = 0
        async for piece in request.stream:
            size += len(piece)
        return text(str(size))

    assert answers(app, ("post", "/count", {"content": b"a" * 3_000_000})) == [(200, "3000000")]


def test_responses_that_send_themselves_are_sent(make: MakeApp, tmp_path: Path) -> None:
    app = make()
    (tmp_path / "page.html").write_text("a page")

    async def write(response: Any) -> None:
        await response.write("in ")
        await response.write("pieces")

    @app.get("/file")
    async def file(_: Any) -> ResponseStream:
        return await file_stream(tmp_path / "page.html")

    @app.get("/made")
    async def made(_: Any) -> ResponseStream:
        return ResponseStream(write, 202, {"X-Made": "yes"}, "text/plain")

    @app.get("/short")
    async def never_called(_: Any) -> None: ...

    @app.on_request
    async def answer_itself(request: Any) -> ResponseStream | None:
        return ResponseStream(write) if request.path == "/short" else None

    @app.on_response  # type: ignore[untyped-decorator]  # Sanic does not annotate it
    def touch(_: Any, response: HTTPResponse) -> None:
        response.headers["touched"] = "yes"

    app.static("/static", tmp_path / "page.html", stream_large_files=3, name="large")

    with ReusableClient(app, port=support.free_port()) as client:
        found = [client.get(path)[1] for path in ("/file", "/made", "/short", "/static")]
    assert [(answer.status, answer.text, answer.headers["touched"]) for answer in found if answer] == [
        (200, "a page", "yes"), (202, "in pieces", "yes"), (200, "in pieces", "yes"), (200, "a page", "yes"),
    ]  # fmt: skip
    assert [answer.headers.get("X-Made") for answer in found if answer] == [None, "yes", None, None]


def test_a_route_for_one_host_answers_only_that_host(make: MakeApp) -> None:
    app = make()

    @app.get("/where", host="a.example")
    async def a(_: Any) -> HTTPResponse:
        return text("a")

    @app.get("/where", host="b.example")
    async def b(_: Any) -> HTTPResponse:
        return text("b")

    hosts: list[tuple[str, str, dict[str, Any]]]
    hosts = [("get", "/where", {"headers": {"Host": f"{name}.example"}}) for name in "abc"]

    not_found = '{"error":"Not found","code":"NOT_FOUND"}'
    assert answers(app, *hosts) == [(200, "a"), (200, "b"), (404, not_found)]


def test_a_response_middleware_that_fails_changes_no_answer(make: MakeApp) -> None:
    app = make()

    @app.on_response  # type: ignore[untyped-decorator]  # as above
    def fail(_: Any, __: HTTPResponse) -> None:
        raise RuntimeError

    assert answers(app, ("get", "/health/live", {})) == [(200, '{"status":"alive"}')]


def test_a_handler_that_returns_none_or_raises_is_answered_with_500(make: MakeApp) -> None:
    app = make()

    @app.get("/nothing")
    async def nothing(_: Any) -> None: ...

    @app.get("/broken")
    async def broken(_: Any) -> None:
        raise RuntimeError

    error = '{"error":"An internal server error occurred","code":"INTERNAL_ERROR"}'
    assert answers(app, ("get", "/nothing", {}), ("get", "/broken", {})) == [(500, error)] * 2


def run_with_client(app: ServerApp, scenario: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Runs `scenario` beside the application, in one event loop, with the address of its WebSockets."""
    port = support.free_port()
    with ReusableClient(app, port=port) as client:
        client._run(scenario(f"ws://127.0.0.1:{port}"))


def test_a_websocket_route_sends_and_receives(make: MakeApp) -> None:
    app = make()
    ended = asyncio.Event()

    @app.websocket("/echo/<name>")  # type: ignore[untyped-decorator]  # as above
    async def echo(_: Any, websocket: Any, name: str) -> None:
        try:
            async for message in websocket:
                await websocket.send(f"{name}: {message}")
        finally:
            ended.set()

    async def scenario(address: str) -> None:
        async with connect(f"{address}/echo/ann") as websocket:
            for message in ("a", "b" * 100_000):
                await websocket.send(message)
                assert await websocket.recv() == f"ann: {message}"
        await ended.wait()
        assert websocket.close_code == 1000

    run_with_client(app, scenario)
    assert app.ctx.places.taken == 0
