"""Half-close: a client ends its side, requests that have arrived are answered, and the connection ends."""

import re
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from tests import databases
from tests.databases import Urls
from tests.outages import is_waiting_for_a_lock, wait_for
from tests.support import FEBRUARY, Service, User

LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"title": "Water the plants"}'
FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat('x', 2000) FROM generate_series(1, 2000) AS n
"""


@contextmanager
def half_closed(service: Service, sent: bytes) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        yield connection


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while more := connection.recv(65536):
        received += more
    return received


def answers_to(service: Service, sent: bytes) -> list[tuple[bytes, bytes]]:
    """Status and `Connection` header of each answer, until the service closes its side too."""
    with half_closed(service, sent) as connection:
        return re.findall(rb"HTTP/1.1 (\d{3}) (?:.|\r\n)*?connection: ([a-z-]+)\r\n", read_to_end(connection))


def head_of(user: User, method: str, path: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
    return f"{head}Content-Type: application/json\r\n".encode()


BODIES = [
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY),
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
]


@pytest.mark.parametrize("body", BODIES, ids=["whole", "chunked"])
def test_half_close_while_a_post_is_answered_ends_the_connection_with_the_answer(
    service: Service, ann: User, database: psycopg.Connection, body: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        with database.transaction():
            database.execute("LOCK TABLE tasks IN EXCLUSIVE MODE")
            connection.sendall(head_of(ann, "POST", "/api/tasks") + body)
            connection.shutdown(socket.SHUT_WR)
            time.sleep(0.3)  # the service sees the end of the client's side while the task waits for the lock
        answer = read_to_end(connection)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert len(ann.get("/api/tasks").json()["tasks"]) == 1


@pytest.mark.parametrize("body", BODIES, ids=["whole", "chunked"])
def test_half_close_after_the_answer_of_a_post_ends_the_connection(service: Service, ann: User, body: bytes) -> None:
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(head_of(ann, "POST", "/api/tasks") + body)
        time.sleep(0.1)
        connection.shutdown(socket.SHUT_WR)
        answer = read_to_end(connection)

    assert answer.startswith(b"HTTP/1.1 201 ")
    assert len(ann.get("/api/tasks").json()["tasks"]) == 1


def test_requests_before_a_half_close_are_answered_and_the_last_says_connection_close(
    service: Service, ann: User, database: psycopg.Connection
) -> None:
    tasks = head_of(ann, "GET", "/api/tasks") + b"\r\n"

    with ThreadPoolExecutor(1) as thread:
        with database.transaction():
            database.execute("LOCK TABLE tasks")
            asking = thread.submit(answers_to, service, LIVE + tasks + LIVE + tasks)
            time.sleep(0.5)  # the service sees the end of the client's side while the first list waits for the lock
        answers = asking.result()

    assert answers == [(b"200", b"keep-alive")] * 3 + [(b"200", b"close")]


@pytest.mark.parametrize(
    "sent",
    [
        b"GET",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n",
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{",
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n",
    ],
)
def test_request_cut_by_a_half_close_returns_400(service: Service, sent: bytes) -> None:
    assert answers_to(service, sent) == [(b"400", b"close")]
    assert answers_to(service, LIVE + sent) == [(b"200", b"keep-alive"), (b"400", b"close")]


@pytest.mark.parametrize("sent", [b"", b"\r\n"])
def test_half_close_without_a_request_ends_the_connection_without_an_answer(service: Service, sent: bytes) -> None:
    assert answers_to(service, sent) == []
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(LIVE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == b""


@pytest.fixture
def patient(start_service: Callable[..., Service], urls: Urls) -> Service:
    return start_service(DATABASE_URL=databases.patient(urls.runtime), STATEMENT_TIMEOUT=60)


def test_running_request_is_answered_after_a_half_close(
    patient: Service, ann: User, urls: Urls, database: psycopg.Connection
) -> None:
    sent = head_of(ann, "POST", "/api/tasks") + b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
    with psycopg.connect(urls.admin) as blocker:
        blocker.execute("LOCK TABLE tasks")
        with half_closed(patient, sent) as connection:
            wait_for(lambda: is_waiting_for_a_lock(database))
            blocker.rollback()
            assert read_to_end(connection).startswith(b"HTTP/1.1 201 ")


def test_running_request_is_cancelled_by_a_reset(
    patient: Service, ann: User, urls: Urls, database: psycopg.Connection
) -> None:
    with psycopg.connect(urls.admin) as blocker:
        blocker.execute("LOCK TABLE tasks")
        with socket.create_connection(("127.0.0.1", patient.port), timeout=30) as connection:
            connection.sendall(head_of(ann, "GET", "/api/tasks") + b"X-Request-ID: reset\r\n\r\n")
            wait_for(lambda: is_waiting_for_a_lock(database))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wait_for(lambda: patient.lines_of("reset"))

    assert [line["status"] for line in patient.lines_of("reset")] == [499]


def test_export_is_sent_to_its_end_after_a_half_close(
    service: Service, ann: User, database: psycopg.Connection
) -> None:
    database.execute(FILL, [ann.id])

    with half_closed(service, head_of(ann, "GET", "/api/auth/me/export") + b"\r\n") as connection:
        answer = read_to_end(connection)

    assert answer.count(b'"title":"Task ') == 2000
    assert answer.endswith(b"]}\r\n0\r\n\r\n")


def test_client_that_reads_nothing_after_a_half_close_is_disconnected(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(WRITE_TIMEOUT=1)
    for _ in range(3):
        database.execute(FILL, [ann.id])
    sent = head_of(ann, "GET", "/api/tasks") + b"\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(3 * sent)
        connection.shutdown(socket.SHUT_WR)
        waiting = select.poll()
        waiting.register(connection, select.POLLHUP)
        assert waiting.poll(60_000)

    assert User(service.http, ann.id, ann.email, ann.token).creates(FEBRUARY)
