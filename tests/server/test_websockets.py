"""WebSocket routes. The service has none; an application with one serves it as Sanic does, beside the API."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests import support
from tests.server.plain_clients import read_to_end
from tests.support import FEBRUARY, SECRET, Service, running

ROUTE = """
    async def echo(_: Any, websocket: Any) -> None:
        async for message in websocket:
            await websocket.send(message)

    async def wait(request: Any) -> None:
        if request.path == "/slow":
            await asyncio.sleep(0.2)

    app.on_request(wait)
    app.add_websocket_route(echo, "/echo")
    app.add_websocket_route(echo, "/slow", name="slow")
    return app
"""

UPGRADE = (
    b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@contextmanager
def started(database_url: str, directory: Path, **settings: object) -> Iterator[Service]:
    """A copy of the service with a WebSocket route at /echo."""
    copy = support.copy_of_service(directory / "copy")
    app = copy / "service" / "app.py"
    text = app.read_text()
    assert text.count("\n    return app\n") == 1
    app.write_text(text.replace("\n    return app\n", ROUTE))
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PYTHONPATH": copy}
    with running(directory, **given | settings) as service:
        yield service


def connected(service: Service) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{service.port}/echo")


def echoes(websocket: ClientConnection, message: str) -> bool:
    websocket.send(message)
    return websocket.recv() == message


@pytest.fixture(scope="module")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = {"IDLE_TIMEOUT": 1, "HEADER_TIMEOUT": 1, "MAX_CONNECTIONS": 50, "METRICS_PORT": support.free_port()}
    with started(database_url, tmp_path_factory.mktemp("websockets"), **settings) as service:
        yield service


def test_messages_go_both_ways_beside_the_api(service: Service) -> None:
    with connected(service) as one, connected(service) as other:
        user = support.sign_up(service.http)
        task = user.creates(FEBRUARY)
        assert [echoes(one, "a" * 100_000), echoes(other, "b"), echoes(one, "")] == [True] * 3
        assert user.get(f"/api/tasks/{task['id']}").json() == task
        one.close()
        assert one.close_code == 1000
        assert echoes(other, "c")
    [reason] = [line["message"] for line in service.lines() if "own way" in line["message"]]
    assert reason == "requests take Sanic's own way through the application: the route echo is a WebSocket"


def test_a_websocket_has_none_of_the_deadlines_of_requests(service: Service) -> None:
    with connected(service) as websocket:
        time.sleep(3)  # more than IDLE_TIMEOUT and HEADER_TIMEOUT
        assert echoes(websocket, "still there")


def test_a_request_that_is_no_handshake_is_refused(service: Service) -> None:
    answers = [
        service.http.get("/echo"),
        service.http.get("/echo", headers={"Upgrade": "websocket", "Connection": "Upgrade"}),
    ]
    assert [(each.status_code, each.json()) for each in answers] == [
        (426, {"error": "The request could not be understood", "code": "INVALID_REQUEST"}),
        (400, {"error": "The request could not be understood", "code": "INVALID_REQUEST"}),
    ]


def test_an_upgrade_where_there_is_no_websocket_is_ignored(service: Service) -> None:
    answer = service.http.get("/health/live", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("is_reset", [False, True], ids=["half_close", "reset"])
def test_a_client_that_leaves_without_a_word_gives_its_place_back(service: Service, *, is_reset: bool) -> None:
    for _ in range(60):  # more than MAX_CONNECTIONS
        with socket.create_connection(("127.0.0.1", service.port), timeout=60) as client:
            client.sendall(UPGRADE)
            assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
            if is_reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                client.shutdown(socket.SHUT_WR)
                read_to_end(client)
    assert service.http.get("/health/live").status_code == 200


def test_a_client_that_has_left_before_the_handshake_gives_its_place_back(service: Service) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=15) as client:  # a ping comes after 20 s
        client.sendall(UPGRADE.replace(b"/echo", b"/slow"))
        client.shutdown(socket.SHUT_WR)
        read_to_end(client)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_closes_websockets(database_url: str, tmp_path: Path, workers: int) -> None:
    with started(database_url, tmp_path, WORKERS=workers) as service, connected(service) as websocket:
        assert echoes(websocket, "before")
        service.process.terminate()
        with pytest.raises(ConnectionClosed):
            websocket.recv(timeout=60)
        assert service.wait() == 0
        assert (websocket.close_code, [line for line in service.lines() if line["level"] == "error"]) == (1000, [])
