"""Clients that are slow, never read or use up all connections: timeouts and eviction end them, others are served."""

import json
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import httpx
import psycopg
import pytest

from service.http.json_stream import ROWS_AT_ONCE
from service.server.places import JUST_CAME_SECONDS
from service.server.sockets import OTHER_FILES, allow_files
from tests import databases, support
from tests.databases import Urls
from tests.support import FEBRUARY, SECRET, TRUST, Service, User, peak_of_memory

OVERLOADED = {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}
ONE_ADDRESS = {"CONNECTIONS_PER_ADDRESS": 0}  # no limit, as all connections of the tests come from one address
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HEAD = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
LONG_HEAD = b"GET /api/tasks HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: yes\r\n" * 100
FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat('x', 2000) FROM generate_series(1, 1000) AS n
"""

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


@contextmanager
def connected(service: Service, count: int = 1) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 30)) for _ in range(count)]


def as_user_of(service: Service, user: User) -> User:
    return User(service.http, user.id, user.email, user.token)


def read_to_end(connection: socket.socket) -> bytes:
    """All bytes until the service closes the connection, by a reset if it had not read everything."""
    received = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(65536):
            received += more
    return received


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
            while not received.endswith(b"]}\r\n0\r\n\r\n") and (more := connection.recv(100_000)):
                received += more
                time.sleep(0.07)
            if CLOSE not in wanted:  # the connection was not idle, and takes another request
                connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert read_to_end(connection).endswith(b'{"status":"alive"}')
        return received

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(read_slowly, LARGE_ANSWERS))

    assert [answer.endswith(b"]}\r\n0\r\n\r\n") for answer in answers] == [True] * 4


def test_500_idle_connections_do_not_keep_other_clients_out(start_service: Callable[..., Service], ann: User) -> None:
    service = start_service()
    with connected(service, 500) as greedy:
        for connection in greedy[:250]:
            connection.sendall(b"GET /api/tasks HTTP/1.1\r\n")

        task = as_user_of(service, ann).creates(FEBRUARY)

        with httpx.Client(base_url=service.url, timeout=60) as newcomer:
            assert User(newcomer, ann.id, ann.email, ann.token).get("/api/tasks").json() == {"tasks": [task]}


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
        "method": None, "route": None, "status": 503, "duration_ms": None,
        "reason": "all places for connections are taken",
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
