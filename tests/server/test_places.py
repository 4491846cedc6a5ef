"""Eviction at the limit of connections: its order, and newcomers that are served beside connections of every kind."""

import json
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from sanic.http import Stage

from service.server import places as places_module
from service.server.http_protocol import ClientConnection
from service.server.places import FLOOD, FLOOD_SECONDS, Places, Standing
from tests.support import TRUST, Service, User, copy_of_service

WAITING, STALLED, READING, JUST_CAME, ANSWERED = Standing
LARGE = ("/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/openapi.json", "/docs/favicon-32x32.png")


class RecordedConnection:
    """A simulated connection that records its fate."""

    def __init__(self, places: Places, standing: Standing, rank: float = 0.0, address: str | None = "10.0.0.1") -> None:
        self.places, self.address, self.is_ending, self.is_answering = places, address, False, False
        self.standing_now = standing, rank
        self.fate = ""
        places.enter(self)

    def standing(self, _: float) -> tuple[Standing, float]:
        return self.standing_now

    def give_way(self) -> None:
        self.fate = "closed"
        self.places.leave(self)

    def end_with_answer(self) -> None:
        self.is_ending = True
        self.fate = "ends"

    def answer_health_only(self) -> None:
        self.fate = "health only"

    def refuse(self) -> None:
        self.fate = "refused"
        self.places.leave(self)


def fates(connections: Sequence[RecordedConnection]) -> list[str]:
    return [each.fate for each in connections]


def test_beyond_the_limit_the_connection_with_the_least_progress_is_evicted_first() -> None:
    places = Places(10, 0)
    stays = [
        RecordedConnection(places, standing) for standing in (ANSWERED, ANSWERED, JUST_CAME, READING, READING, READING)
    ]
    less, more = RecordedConnection(places, STALLED, 20), RecordedConnection(places, STALLED, 500)
    lately, long = RecordedConnection(places, WAITING, 300), RecordedConnection(places, WAITING, 200)

    seen = []
    for _ in range(4):
        newcomer = RecordedConnection(places, JUST_CAME, 500)
        seen.append(fates([long, lately, less, more, newcomer]))
        newcomer.standing_now = ANSWERED, 0.0

    assert seen == [
        ["closed", "", "", "", ""],
        ["closed", "closed", "", "", ""],
        ["closed", "closed", "closed", "", ""],
        ["closed", "closed", "closed", "closed", ""],
    ]
    assert fates(stays) == [""] * 6


def test_without_idle_connections_the_slowest_reader_is_evicted_then_the_oldest_newcomer() -> None:
    places = Places(10, 0)
    busy = [RecordedConnection(places, ANSWERED, number) for number in range(6)]
    came = [RecordedConnection(places, JUST_CAME, number) for number in (100, 200)]
    fast, slow = RecordedConnection(places, READING, 9000), RecordedConnection(places, READING, 2000)

    newcomers = [RecordedConnection(places, JUST_CAME, 300 + number) for number in range(5)]

    assert fates(busy) == [""] * 5 + ["ends"], "the one that was active last"
    assert fates([slow, fast]) == ["closed", "closed"]
    assert fates([*came, *newcomers]) == ["refused", "refused", "", "", "", "", ""]


def test_while_all_are_being_answered_one_newcomer_gets_health_and_the_next_is_refused() -> None:
    places = Places(10, 0)
    busy = [RecordedConnection(places, ANSWERED) for _ in range(10)]
    newcomers = []
    for _ in range(4):
        newcomers.append(RecordedConnection(places, JUST_CAME))
        newcomers[-1].standing_now = ANSWERED, 0.0

    assert fates(newcomers) == ["", "health only", "refused", "refused"]
    assert fates(busy).count("ends") == 1
    busy[0].give_way()
    assert RecordedConnection(places, ANSWERED).fate == "health only"


def test_an_address_beyond_its_share_has_its_own_connection_evicted() -> None:
    places = Places(10, 3)
    others = [RecordedConnection(places, WAITING, 1, "10.0.0.2") for _ in range(3)]
    own = [RecordedConnection(places, STALLED, 100 - number) for number in range(3)]
    of_no_address = [RecordedConnection(places, WAITING, 1, None) for _ in range(4)]

    newcomer = RecordedConnection(places, READING, 1000)

    assert fates(own) == ["", "", "closed"]
    assert fates([*others, *of_no_address, newcomer]) == [""] * 8
    for each in (*own, newcomer):
        places.leave(each)
        places.leave(each)
    assert fates([RecordedConnection(places, WAITING, 1) for _ in range(3)]) == [""] * 3
    for address in range(100):
        places.leave(RecordedConnection(places, WAITING, 1, f"10.0.1.{address}"))
    assert vars(places)["_addresses"].keys() == {"10.0.0.1", "10.0.0.2"}, "nothing is kept of an address that is gone"


def test_an_address_that_has_all_its_places_floods_with_many_newcomers_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(places_module, "monotonic", lambda: now)
    places = Places(500, 100)

    def came(count: int, address: str | None = "10.0.0.1") -> int:
        """How many of the newcomers were let in."""
        let_in = 0
        for _ in range(count):
            if not places.is_flooded_by(address):
                RecordedConnection(places, WAITING, now, address)
                let_in += 1
        return let_in

    assert came(100) == 100, "those within the limit are no flood"
    assert [came(FLOOD + 30), came(5)] == [FLOOD, 0]
    assert [came(80, "10.0.0.2"), came(150, None)] == [80, 150], "others are let in meanwhile"
    now += FLOOD_SECONDS
    assert came(FLOOD + 30) == FLOOD
    now += FLOOD_SECONDS
    assert came(20) == 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_newcomers_of_a_flood_get_503_unread_and_those_of_another_address_are_served(
    start_service: Callable[..., Service], tmp_path: Path
) -> None:
    """In a copy of the service for which an hour is a moment."""
    copy = copy_of_service(tmp_path / "copy")
    module = copy / "service" / "server" / "places.py"
    module.write_text(module.read_text().replace("FLOOD_SECONDS = 0.1\n", "FLOOD_SECONDS = 3600.0\n"))
    service = start_service(MAX_CONNECTIONS=40, CONNECTIONS_PER_ADDRESS=20, PYTHONPATH=copy)
    service.http.close()
    with ExitStack() as stack:
        let_in = [connect(stack, service, b"") for _ in range(20 + FLOOD)]
        flood = [connect(stack, service, b"") for _ in range(30)]
        answers = [each.recv(10_000) for each in flood]
        bodies = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in answers]
        other = connect(stack, service, get("/health/live"), "127.0.0.2")

        assert {each.partition(b"\r\n")[0] for each in answers} == {b"HTTP/1.1 503 Service Unavailable"}
        assert bodies == [{"error": "The service is busy, try again shortly", "code": "OVERLOADED"}] * 30
        assert other.recv(10_000).startswith(b"HTTP/1.1 200 ")
        assert let_in[-1].send(get("/health/live"))
        assert let_in[-1].recv(10_000).startswith(b"HTTP/1.1 200 ")
    assert status_of(service, "/") == 200
    said = {line["message"] for line in service.lines() if line["level"] == "warning"}
    assert "CONNECTIONS_PER_ADDRESS (20) is reached, and many more come at once: some get 503 unread" in said


def test_each_newcomer_makes_one_more_connection_close_after_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("service.server.places.monotonic", lambda: now)
    places = Places(30, 0)
    busy = [RecordedConnection(places, ANSWERED, number) for number in range(30)]
    for count in range(1, 4):
        now += 10
        RecordedConnection(places, ANSWERED)

        assert fates(busy) == [""] * (30 - count) + ["ends"] * count


NOW = 1000.0
RECENT, LONG_AGO = NOW - 0.5, NOW - 60


@pytest.mark.parametrize(
    ("unsent", "held", "delivered", "stage", "times", "expected"),
    [
        (0, 0, 0, Stage.IDLE, (RECENT, LONG_AGO), (JUST_CAME, RECENT)),
        (0, 0, 0, Stage.IDLE, (LONG_AGO, LONG_AGO), (WAITING, LONG_AGO)),
        (0, 0, 0, Stage.REQUEST, (NOW, LONG_AGO), (WAITING, LONG_AGO)),
        (0, 0, 0, Stage.REQUEST, (NOW, RECENT), (JUST_CAME, RECENT)),
        (0, 0, 0, Stage.HANDLER, (RECENT, LONG_AGO), (ANSWERED, RECENT)),
        (0, 9000, 100, Stage.IDLE, (LONG_AGO, LONG_AGO), (STALLED, 10)),
        (0, 9000, 20_000, Stage.IDLE, (LONG_AGO, LONG_AGO), (READING, 2000)),
        (70_000, 9000, 100, Stage.IDLE, (NOW, LONG_AGO), (STALLED, 10)),
        (70_000, 9000, 100, Stage.RESPONSE, (NOW, LONG_AGO), (STALLED, 10)),
        (70_000, 9000, 20_000, Stage.RESPONSE, (NOW, LONG_AGO), (READING, 2000)),
        (70_000, 9000, 0, Stage.RESPONSE, (NOW, RECENT), (READING, 0)),
        (70_000, 9000, 20_000, Stage.RESPONSE, (NOW, RECENT), (READING, 40_000)),
    ],
    ids=[
        "idle for less than a second", "idle", "part of a head, and each byte counts for nothing", "part of a head",
        "being answered", "idle, most is with the system", "idle, the system still sends", "reads next to nothing",
        "reads hardly any of a stream", "reads", "asked a moment ago", "asked a moment ago and reads",
    ],
)  # fmt: skip
def test_progress_counts_only_bytes_that_the_client_has_acknowledged(
    monkeypatch: pytest.MonkeyPatch, unsent: int, held: int, delivered: int, stage: Stage,
    times: tuple[float, float], expected: tuple[Standing, float],
) -> None:  # fmt: skip
    monkeypatch.setattr("service.server.back_pressure.held_by_system", lambda _: held)
    connection: Any = ClientConnection.__new__(ClientConnection)
    earlier = 5000  # bytes of earlier answers
    connection.transport = SimpleNamespace(get_write_buffer_size=lambda: unsent, is_closing=lambda: False)
    connection.writer = SimpleNamespace(written=earlier + delivered + held + unsent)
    connection._delivered_before = (NOW - 10, earlier)
    connection.websocket = None
    connection._time, asked = times
    connection._http = SimpleNamespace(stage=stage, head_since=asked, request=SimpleNamespace(is_arriving=False))

    standing, rank = connection.standing(NOW)

    assert (standing, rank) == (expected[0], pytest.approx(expected[1]))


def test_an_open_websocket_counts_as_a_connection_that_is_answered() -> None:
    """However little of its messages the client has taken in."""
    connection: Any = ClientConnection.__new__(ClientConnection)
    connection.websocket, connection._time = object(), 900.0
    connection.transport = SimpleNamespace(get_write_buffer_size=lambda: 3_000_000, is_closing=lambda: False)

    assert connection.standing(NOW) == (ANSWERED, 900.0)


def test_a_flood_of_newcomers_does_not_search_all_connections_each_time() -> None:
    looked = 0

    class Counting(RecordedConnection):
        def standing(self, now: float) -> tuple[Standing, float]:
            nonlocal looked
            looked += 1
            return super().standing(now)

    places = Places(1000, 0)
    slow = [Counting(places, STALLED, number) for number in range(1000)]
    for _ in range(200):
        Counting(places, JUST_CAME)

    assert fates(slow).count("closed") == 200
    assert looked < 20 * 1000


def connect(stack: ExitStack, service: Service, sent: bytes, address: str = "127.0.0.1") -> socket.socket:
    """A connection with a small receive buffer."""
    connection = stack.enter_context(socket.socket())
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    connection.settimeout(60)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(sent)
    return connection


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def status_of(service: Service, path: str, address: str = "127.0.0.1") -> int:
    with httpx.Client(transport=httpx.HTTPTransport(local_address=address, verify=TRUST), timeout=60) as client:
        return client.get(f"{service.url}{path}").status_code


def is_open(connection: socket.socket) -> bool:
    """Whether a request on it is answered. The connection has read all answers so far."""
    with suppress(OSError):
        connection.sendall(get("/health/live"))
        return b'{"status":"alive"}' in connection.recv(65536)
    return False


@pytest.mark.parametrize("per_address", [None, 0], ids=["a share for the address", "no share"])
def test_pipelining_connections_that_read_nothing_do_not_keep_newcomers_out(
    start_service: Callable[..., Service], per_address: int | None
) -> None:
    service = start_service(MAX_CONNECTIONS=20, CONNECTIONS_PER_ADDRESS=per_address, WRITE_TIMEOUT=600)
    service.http.close()
    with ExitStack() as stack:
        pipelined = b"".join(map(get, LARGE))
        for _ in range(30):
            connect(stack, service, pipelined)
        paths = ("/", "/health", "/health/live", "/nothing")
        statuses = [status_of(service, path) for path in 10 * paths]

    assert statuses == 10 * [200, 200, 200, 404]


def test_connections_with_unread_task_lists_do_not_keep_newcomers_out(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(MAX_CONNECTIONS=20, CONNECTIONS_PER_ADDRESS=0, WRITE_TIMEOUT=600)
    service.http.close()
    database.execute(
        "INSERT INTO tasks (user_id, title, description) SELECT %s, 'Task ' || n, repeat('x', 2000) "
        "FROM generate_series(1, 420) AS n", [ann.id],
    )  # fmt: skip
    request = f"GET /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n\r\n".encode()
    with ExitStack() as stack:
        greedy = [connect(stack, service, 3 * request) for _ in range(20)]
        for connection in greedy:
            assert connection.recv(100)
        statuses = [status_of(service, path) for path in 10 * ("/", "/health")]

    assert statuses == 20 * [200]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")
def test_idle_connections_are_kept_while_another_address_exceeds_its_share(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(MAX_CONNECTIONS=20)
    service.http.close()
    with ExitStack() as stack:
        others = [connect(stack, service, b"", "127.0.0.2") for _ in range(8)]
        assert [is_open(each) for each in others] == [True] * 8
        for _ in range(30):
            connect(stack, service, b"".join(map(get, LARGE)))
        assert [
            status_of(service, "/"),
            status_of(service, "/", "127.0.0.2"),
            status_of(service, "/", "127.0.0.3"),
        ] == [200] * 3
        assert [is_open(each) for each in others] == [True] * 8

    said = {line["message"] for line in service.lines() if line["level"] == "warning"}
    assert said == {"CONNECTIONS_PER_ADDRESS (10) is reached: connections that make the least progress are closed"}


def test_the_address_of_a_trusted_proxy_has_no_limit_of_its_own(start_service: Callable[..., Service]) -> None:
    service = start_service(MAX_CONNECTIONS=20, TRUSTED_PROXIES=1, CONNECTIONS_PER_ADDRESS=5)
    service.http.close()
    with ExitStack() as stack:
        proxy = [connect(stack, service, b"") for _ in range(20)]
        assert [is_open(each) for each in proxy] == [True] * 20


@contextmanager
def flooding(service: Service, count: int) -> Iterator[None]:
    """Connections that send requests and read answers without a pause, until they are closed."""

    def send(connection: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection.sendall(10 * get("/nothing"))

    def read(connection: socket.socket) -> None:
        with suppress(OSError):
            while connection.recv(65536):
                pass

    with ExitStack() as stack:
        connections = [connect(stack, service, b"") for _ in range(count)]
        threads = [Thread(target=work, args=[each]) for each in connections for work in (send, read)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def test_connections_with_endless_requests_do_not_keep_newcomers_out(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(MAX_CONNECTIONS=10, CONNECTIONS_PER_ADDRESS=0)
    service.http.close()
    with flooding(service, 10):
        assert [status_of(service, path) for path in 3 * ("/", "/health", "/nothing")] == 3 * [200, 200, 404]


def test_a_steady_reader_is_kept_while_connections_that_read_nothing_are_evicted(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(MAX_CONNECTIONS=10, CONNECTIONS_PER_ADDRESS=0, WRITE_TIMEOUT=600)
    service.http.close()
    with ExitStack() as stack:
        for _ in range(9):
            connect(stack, service, 3 * get(LARGE[0]))
        steady = connect(stack, service, get(LARGE[0]))
        received = steady.recv(65536)
        length = int(received.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        head_length = received.index(b"\r\n\r\n") + 4
        while len(received) < head_length + length:
            received += steady.recv(65536)
            if len(received) % 7 == 0:
                assert status_of(service, "/") == 200

    assert len(received) == head_length + length
