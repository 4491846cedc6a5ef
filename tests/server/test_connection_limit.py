"""Clients that use up all connections: some are evicted, and others are still served."""

import json
import select
import time
from collections.abc import Callable

import httpx
import psycopg
import pytest

from service.server.places import JUST_CAME_SECONDS
from tests import databases
from tests.databases import Urls
from tests.server.plain_clients import FILL, HEAD, as_user_of, connected, read_to_end
from tests.support import FEBRUARY, TRUST, Service, User

OVERLOADED = {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}

ONE_ADDRESS = {"CONNECTIONS_PER_ADDRESS": 0}  # no limit, as all connections of the tests come from one address

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_500_idle_connections_do_not_keep_other_clients_out(start_service: Callable[..., Service], ann: User) -> None:
    service = start_service()
    with connected(service, 500) as greedy:
        for connection in greedy[:250]:
            connection.sendall(b"GET /api/tasks HTTP/1.1\r\n")

        task = as_user_of(service, ann).creates(FEBRUARY)

        with httpx.Client(base_url=service.url, timeout=60) as newcomer:
            assert User(newcomer, ann.id, ann.email, ann.token).get("/api/tasks").json() == FEBRUARY.list_of(task)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /api/tasks HTTP/1.1\r\n", HEAD + b"Content-Length: 10\r\n\r\n{"],
    ids=["silent", "half a head", "half a body"],
)
def test_beyond_max_connections_the_longest_waiting_connections_are_evicted(
    start_service: Callable[..., Service], sent: bytes
) -> None:
    service = start_service(MAX_CONNECTIONS=20, **ONE_ADDRESS, HEADER_TIMEOUT=60, BODY_TIMEOUT=60)
    service.http.close()
    time.sleep(0.1)
    with connected(service) as [first], connected(service, 19) as others:
        for connection in (first, *others):
            connection.sendall(sent)
            time.sleep(0.01)
        time.sleep(JUST_CAME_SECONDS)
        for _ in range(5):
            assert wait_for_room(service).json() == {"status": "alive"}
        assert read_to_end(first) == b""
        others[-1].settimeout(0.2)
        with pytest.raises(TimeoutError):
            others[-1].recv(1)

    said = {line["message"] for line in service.lines() if line["level"] in {"warning", "error"}}
    assert said == {"MAX_CONNECTIONS (20) is reached: connections that make the least progress are closed"}


def test_beyond_max_connections_a_new_connection_is_answered_or_refused_and_never_dropped(
    start_service: Callable[..., Service],
) -> None:
    """Its request may be on its way, so the limit may be exceeded by one. Beyond that the oldest is refused."""
    service = start_service(MAX_CONNECTIONS=10, **ONE_ADDRESS)
    service.http.close()
    came = 0.0
    while time.monotonic() - came > JUST_CAME_SECONDS:  # repeated only where the machine was too slow
        time.sleep(0.3)
        came = time.monotonic()
        with connected(service, 10) as fresh, connected(service) as [newcomer]:
            newcomer.sendall(LIVE)
            served = read_to_end(newcomer)
            with connected(service, 2) as more:
                refused = read_to_end(fresh[0])
                for connection in (*fresh[1:], *more):
                    connection.sendall(LIVE)
                answers = [read_to_end(connection) for connection in (*fresh[1:], *more)]

    assert served.startswith(b"HTTP/1.1 200 ")
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 11
    is_refused_like_any_request(service, refused)


def is_refused_like_any_request(service: Service, refused: bytes) -> None:
    """The form of every other error, and a line in the log with the request id of the answer."""
    head, body = parts_of(refused)
    other, _ = parts_of(service.raw(b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    [line] = service.lines_of(head["X-Request-ID"])
    assert (head.pop("HTTP/1.1 503 Service Unavailable"), head.pop("Retry-After"), json.loads(body)) == (
        "", "1", OVERLOADED,
    )  # fmt: skip
    assert other.pop("HTTP/1.1 404 Not Found") == ""
    changing = {"X-Request-ID": head["X-Request-ID"], "content-length": str(len(body))}
    assert head == other | changing
    assert len(head["X-Request-ID"]) == len(other["X-Request-ID"])
    assert line == {
        "time": line["time"], "level": "error", "message": "request", "request_id": head["X-Request-ID"],
        "method": None, "route": None, "status": 503, "duration_ms": None, "client": "127.0.0.1",
        "code": "OVERLOADED", "reason": "all places for connections are taken",
    }  # fmt: skip


def parts_of(answer: bytes) -> tuple[dict[str, str], str]:
    """The lines of the head, by what is before the colon, and the body."""
    head, _, body = answer.decode().partition("\r\n\r\n")
    return {name: value for name, _, value in (line.partition(": ") for line in head.splitlines())}, body


def test_beyond_max_connections_idle_connections_are_evicted_before_a_reading_one(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(MAX_CONNECTIONS=10, **ONE_ADDRESS)
    service.http.close()
    for _ in range(4):
        database.execute(FILL.replace("'x'", "'🙂'"), [ann.id])
    request = f"GET /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
    with connected(service) as [reader]:
        reader.sendall(f"{request}\r\n".encode())
        assert select.select([reader], [], [], 30)[0]
        with connected(service, 9):
            time.sleep(JUST_CAME_SECONDS)
            assert wait_for_room(service).json() == {"status": "alive"}
            reader.sendall(f"{request}Connection: close\r\n\r\n".encode())
            assert read_to_end(reader).count(b"HTTP/1.1 200 OK\r\n") == 2


def test_while_all_connections_are_being_answered_a_newcomer_gets_only_health(
    start_service: Callable[..., Service], new_user: Callable[[], User], urls: Urls, database: psycopg.Connection
) -> None:
    service = start_service(
        DATABASE_URL=databases.patient(urls.runtime), MAX_CONNECTIONS=10, **ONE_ADDRESS, POOL_MAX=14,
        STATEMENT_TIMEOUT=60, TOKEN_RECHECK=300,
    )  # fmt: skip
    users = [new_user() for _ in range(11)]  # 11 users, as one has only a share of the pool
    assert {as_user_of(service, user).get("/api/auth/me").status_code for user in users} == {200}
    service.http.close()
    head = "GET /api/auth/me HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer"
    with connected(service, 11) as busy, psycopg.connect(urls.admin) as blocker:  # one more than the limit
        blocker.execute("LOCK TABLE users")
        for connection, user in zip(busy, users, strict=True):
            connection.sendall(f"{head} {user.token}\r\n\r\n".encode())
        wait_for_all_to_be_answered(database, 11)
        for path in ("/health", "/health/live", "/health/live/"):
            healthy = get_once(service, path)
            assert (healthy.status_code, healthy.headers["Connection"]) == (200, "close")
        for path in ("/", "/api/tasks", "/health/other"):
            refused = get_once(service, path)
            assert (refused.status_code, refused.json()) == (503, OVERLOADED)
            assert (refused.headers["Retry-After"], refused.headers["Connection"]) == ("1", "close")
        with connected(service) as [half_a_head]:
            half_a_head.sendall(b"GET /health/live HTTP/1.1\r\n")
            assert get_once(service).status_code == 200, "in the place of the one that says nothing"
            assert read_to_end(half_a_head).startswith(b"HTTP/1.1 503 ")
        for connection in busy:
            connection.settimeout(0.1)
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(30)
        blocker.rollback()
        answers = [connection.recv(65536) for connection in busy]

    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 200"] * 11
    assert sum(b"\r\nconnection: close\r\n" in answer for answer in answers) == 1, "the one that makes room"
    assert get_once(service).json() == {"status": "alive"}


def wait_for_all_to_be_answered(database: psycopg.Connection, count: int) -> None:
    """Returns when this number of statements wait for a lock."""
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 60
    while database.execute(waiting).rowcount < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def get_once(service: Service, path: str = "/health/live") -> httpx.Response:
    return httpx.get(f"{service.url}{path}", timeout=60, verify=TRUST)


def wait_for_room(service: Service) -> httpx.Response:
    """Retries until the service has noticed closed connections, and waiting ones count as idle."""
    deadline = time.monotonic() + 60
    while (answer := get_once(service)).status_code == 503:
        assert time.monotonic() < deadline
    return answer
