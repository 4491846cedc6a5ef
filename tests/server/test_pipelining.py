"""A connection with many requests in a row: each is answered, in order, and other connections are served in between."""

import json
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from threading import Thread
from uuid import uuid4

import pytest

from tests.support import FEBRUARY, Service, User

REQUESTS = 2000
FEW = 20  # answers to the flood before another client's: one or two, with a wide margin


def get(path: str, **headers: str) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        "Host: x",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def post(path: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def connect(stack: ExitStack, service: Service) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", service.port), 60))


@contextmanager
def standing_still(service: Service) -> Iterator[None]:
    """So that all bytes which are sent meanwhile are there at once when the process goes on."""
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.send_signal(signal.SIGCONT)


def answers_around(service: Service, request_id: str) -> tuple[int, int]:
    """How many requests were answered before this one and after it. The log has them in order."""
    answered = [line["request_id"] for line in service.lines() if line["message"] == "request"]
    place = answered.index(request_id)
    return place, len(answered) - place - 1


@pytest.fixture
def alone(start_service: Callable[..., Service]) -> Service:
    return start_service()


@pytest.mark.parametrize(
    "request_bytes",
    [
        get("/"),
        get("/health/live"),
        get("/nothing"),
        get("/api/tasks"),
        post("/api/tasks", b"{}"),
        post("/api/auth/login", b"{"),
        post("/nothing", b"x" * 20),
    ],
    ids=["index", "live", "404", "401", "401 with a body", "400", "404 with a body"],
)
def test_another_client_is_answered_before_the_next_pipelined_request(alone: Service, request_bytes: bytes) -> None:
    request_id = uuid4().hex
    with ExitStack() as stack:
        flood, other = connect(stack, alone), connect(stack, alone)
        for connection in (flood, other):
            connection.sendall(get("/health/live"))
            assert connection.recv(65536).endswith(b'{"status":"alive"}')
        before = sum(line["message"] == "request" for line in alone.lines())
        with standing_still(alone):
            flood.sendall(REQUESTS * request_bytes)
            other.sendall(get("/health/live", X_Request_ID=request_id))
        assert other.recv(65536).endswith(b'{"status":"alive"}')
        count_answers(flood, REQUESTS)

    answers_before, _ = answers_around(alone, request_id)
    assert answers_before - before < FEW


def count_answers(connection: socket.socket, wanted: int) -> None:
    """Read until there have been so many answers. A head never looks like this in the bodies of the tests."""
    received = b""
    found = 0
    while found < wanted:
        more = connection.recv(1024 * 1024)
        assert more, f"closed after {found} answers"
        received += more
        found += received.count(b"HTTP/1.1 ")
        received = received[-8:]


def test_another_client_is_answered_before_the_end_of_a_body_in_tiny_chunks(alone: Service) -> None:
    request_id = uuid4().hex
    chunked = (
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    )
    body = 8_000 * b"1\r\n \r\n" + b"0\r\n\r\n"
    with ExitStack() as stack:
        slow, other = connect(stack, alone), connect(stack, alone)
        for connection in (slow, other):
            connection.sendall(get("/health/live"))
            assert connection.recv(65536).endswith(b'{"status":"alive"}')
        with standing_still(alone):
            slow.sendall(chunked + b"\r\n\r\n" + body)
            other.sendall(get("/health/live", X_Request_ID=request_id))
        assert other.recv(65536).endswith(b'{"status":"alive"}')
        answer = slow.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answers_around(alone, request_id)[1] == 1


def test_pipelined_requests_that_wait_for_the_database_are_answered_in_order(service: Service, ann: User) -> None:
    tasks = [ann.creates(FEBRUARY, f"Task {number}") for number in range(5)]
    token = {"Authorization": f"Bearer {ann.token}"}
    body = b'{"is_completed":true}'
    change = f"PUT /api/tasks/{tasks[2]['id']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
    change += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    asked = [get("/nothing"), *(get(f"/api/tasks/{task['id']}", **token) for task in tasks)]

    sent = b"".join([*asked, change.encode(), body, *asked[::-1], get("/health/live", Connection="close")])
    answers = [json.loads(each.partition(b"\r\n\r\n")[2]) for each in service.raw(sent).split(b"HTTP/1.1 ")[1:]]

    changed = answers[6]
    assert (changed["id"], changed["is_completed"]) == (tasks[2]["id"], True)
    nothing = {"error": "Not found", "code": "NOT_FOUND"}
    after = [*tasks[:2], changed, *tasks[3:]]
    assert answers == [nothing, *tasks, changed, *after[::-1], nothing, {"status": "alive"}]


def test_a_client_that_reads_no_answers_has_no_more_requests_answered_until_it_reads(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(WRITE_TIMEOUT=600)
    wanted = 20_000  # answers of 300 bytes: 6 MB

    def answered() -> int:
        return service.log.read_bytes().count(b'"route":"/health/live"')

    def answered_after_others() -> int:
        """A hundred requests of another client: so many turns at least for the one that does not read."""
        for _ in range(100):
            assert service.http.get("/").status_code == 200
        return answered()

    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", service.port))
        sending = Thread(target=connection.sendall, args=[wanted * get("/health/live")])
        sending.start()
        before = answered_after_others()
        while (now := answered_after_others()) != before:
            before = now
        count_answers(connection, wanted)
        sending.join()

    assert 0 < before < wanted // 2
    assert answered() >= wanted
