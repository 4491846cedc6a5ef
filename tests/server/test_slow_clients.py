"""Clients that are slow or never read: timeouts end them, and others are served."""

import json
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import psycopg
import pytest

from service.http.json_stream import ROWS_AT_ONCE
from service.server.sockets import OTHER_FILES, allow_files
from tests import support
from tests.server.plain_clients import FILL, HEAD, as_user_of, connected, read_to_end
from tests.support import SECRET, Service, User, peak_of_memory

LONG_HEAD = b"GET /api/tasks HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: yes\r\n" * 100

# A control character is one byte in the database and six in the answer.
LARGEST = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat(chr(1), 1999) || '.' FROM generate_series(1, %s) AS n
"""


@pytest.fixture(scope="module")
def impatient_service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with short timeouts and the default limit of connections."""
    settings = {
        "HEADER_TIMEOUT": 1, "BODY_TIMEOUT": 1, "IDLE_TIMEOUT": 4, "WRITE_TIMEOUT": 3, "MAX_HEADER_SIZE": 2048,
    }  # fmt: skip
    directory = tmp_path_factory.mktemp("impatient_service")
    with support.running(directory, DATABASE_URL=database_url, BETTER_AUTH_SECRET=SECRET, **settings) as service:
        yield service


def send_slowly(connection: socket.socket, sent: bytes, stop: threading.Event) -> None:
    """Send one byte at a time, each long before the timeout."""
    for place in range(len(sent)):
        if stop.wait(0.1):
            return
        try:
            connection.sendall(sent[place : place + 1])
        except OSError:
            return


@pytest.mark.parametrize(
    ("at_once", "slowly"),
    [
        (b"", LONG_HEAD),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", LONG_HEAD),
        (HEAD + b"Content-Length: 1000\r\n\r\n", b" " * 1000),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 300),
    ],
    ids=["head", "second head", "body", "chunks"],
)
def test_a_request_sent_byte_by_byte_returns_408_after_the_timeout(
    impatient_service: Service, ann: User, at_once: bytes, slowly: bytes
) -> None:
    stop = threading.Event()
    with connected(impatient_service) as [connection]:
        connection.sendall(at_once)
        sending = threading.Thread(target=send_slowly, args=[connection, slowly, stop])
        sending.start()
        assert as_user_of(impatient_service, ann).get("/api/tasks").status_code == 200
        answers = read_to_end(connection)
        stop.set()
        sending.join()

    head, _, body = answers[answers.rindex(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body) == {"error": "The request did not arrive in time", "code": "INVALID_REQUEST"}


def test_an_idle_connection_is_closed_after_the_timeout(impatient_service: Service) -> None:
    with connected(impatient_service, 2) as [silent, served]:
        served.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")

        assert read_to_end(silent) == b""
        assert read_to_end(served).endswith(b'{"status":"alive"}')


KEEP, CLOSE = "keep-alive", "close"

LARGE_ANSWERS = [
    ("/api/tasks", KEEP),
    ("/api/tasks", CLOSE),
    ("/api/auth/me/export", KEEP),
    ("/api/auth/me/export", CLOSE),
]


def send_request(connection: socket.socket, service: Service, user: User, path: str, then: str) -> None:
    """Send a request from a connection with a small receive buffer."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 100_000)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", service.port))
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\nConnection: {then}\r\n\r\n"
    connection.sendall(request.encode())


def test_a_client_that_never_reads_is_disconnected(
    impatient_service: Service, ann: User, database: psycopg.Connection
) -> None:
    for _ in range(3):
        database.execute(FILL, [ann.id])
    with ExitStack() as stack:
        waiting = select.poll()
        for path, then in LARGE_ANSWERS:
            connection = stack.enter_context(socket.socket())
            send_request(connection, impatient_service, ann, path, then)
            waiting.register(connection, select.POLLHUP)  # and POLLERR: both are reported without reading

        assert as_user_of(impatient_service, ann).get("/api/auth/me").status_code == 200
        cut_off: set[int] = set()
        deadline = time.monotonic() + 60
        while len(cut_off) < len(LARGE_ANSWERS):
            assert time.monotonic() < deadline, "a connection was still open"
            cut_off |= {file for file, _ in waiting.poll(1000)}

    answer = as_user_of(impatient_service, ann).get("/api/auth/me/export")
    assert len(answer.json()["tasks"]) == 3000


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_many_clients_that_never_read_use_bounded_memory(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    """Each leaves answers unread that are just too short to be sent in pieces."""
    service = start_service(WRITE_TIMEOUT=600, STATEMENT_TIMEOUT=60)
    database.execute(LARGEST, [ann.id, ROWS_AT_ONCE])
    user = as_user_of(service, ann)
    assert len(user.get("/api/tasks").content) > 300_000
    before = peak_of_memory(service)
    request = f"GET /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n\r\n".encode()
    with connected(service, 600) as greedy:
        for connection in greedy:
            connection.sendall(10 * request)
        for connection in greedy:
            assert select.select([connection], [], [], 60)[0]

        assert len(user.get("/api/tasks").json()["tasks"]) == ROWS_AT_ONCE
        waiting = select.poll()
        for connection in greedy:
            waiting.register(connection, select.POLLHUP)
        cut_off = len(waiting.poll(30_000))

    assert 0 < cut_off < 600
    assert peak_of_memory(service) - before < 300_000_000


def test_a_slow_reader_gets_the_whole_answer(
    impatient_service: Service, ann: User, database: psycopg.Connection
) -> None:
    """Reading takes longer than IDLE_TIMEOUT, and than Sanic waits before it closes a connection."""
    database.execute(FILL.replace("'x'", "'🙂'"), [ann.id])

    def read_slowly(wanted: tuple[str, str]) -> bytes:
        received = b""
        with socket.socket() as connection:
            send_request(connection, impatient_service, ann, *wanted)
            while not received.endswith(b"}\r\n0\r\n\r\n") and (more := connection.recv(100_000)):
                received += more
                time.sleep(0.07)
            if CLOSE not in wanted:  # the connection was not idle, and takes another request
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert read_to_end(connection).endswith(b'{"status":"alive"}')
        return received

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(read_slowly, LARGE_ANSWERS))

    assert [answer.endswith(b"}\r\n0\r\n\r\n") for answer in answers] == [True] * 4


def test_a_head_above_max_header_size_returns_431(impatient_service: Service) -> None:

    assert (
        httpx.get(f"{impatient_service.url}/health/live", headers={"X-Long": "x" * 1000}, timeout=60).status_code == 200
    )
    assert (
        httpx.get(f"{impatient_service.url}/health/live", headers={"X-Long": "x" * 2048}, timeout=60).status_code == 431
    )


def test_a_process_raises_its_limit_of_open_files_for_its_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
        limits = []
        for connections in (10, 500, 20):
            assert allow_files(connections, 100) == connections
            limits.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        assert limits == [(512, hard), (700, hard), (700, hard)]
        assert allow_files(hard, 100) == hard - 100 - OTHER_FILES
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
