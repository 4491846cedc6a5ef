"""Pipelining: requests on one connection are answered in order, and other connections are served in between."""

import json
import socket
from collections.abc import Callable
from contextlib import ExitStack
from threading import Thread
from uuid import uuid4

import pytest

from tests.server.plain_clients import paused_process
from tests.support import FEBRUARY, Service, User

REQUESTS = 2000
MAX_ANSWERS_BETWEEN = (
    20  # one or two of the pipelined answers are expected before another client's; this is a wide margin
)


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


def answers_before_and_after(service: Service, request_id: str) -> tuple[int, int]:
    """The number of requests answered before this one and after it; the log has them in order."""
    answered = [line["request_id"] for line in service.lines() if line["message"] == "request"]
    place = answered.index(request_id)
    return place, len(answered) - place - 1


@pytest.fixture
def own_service(start_service: Callable[..., Service]) -> Service:
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
def test_another_client_is_answered_before_the_next_pipelined_request(
    own_service: Service, request_bytes: bytes
) -> None:
    request_id = uuid4().hex
    with ExitStack() as stack:
        pipelining, other = connect(stack, own_service), connect(stack, own_service)
        for connection in (pipelining, other):
            connection.sendall(get("/health/live"))
            assert connection.recv(65536).endswith(b'{"status":"alive"}')
        before = sum(line["message"] == "request" for line in own_service.lines())
        with paused_process(own_service):
            pipelining.sendall(REQUESTS * request_bytes)
            other.sendall(get("/health/live", X_Request_ID=request_id))
        assert other.recv(65536).endswith(b'{"status":"alive"}')
        count_answers(pipelining, REQUESTS)

    answers_before, _ = answers_before_and_after(own_service, request_id)
    assert answers_before - before < MAX_ANSWERS_BETWEEN


def count_answers(connection: socket.socket, wanted: int) -> None:
    """Read until this many answers have come. The bodies in these tests never contain `HTTP/1.1`."""
    received = b""
    found = 0
    while found < wanted:
        more = connection.recv(1024 * 1024)
        assert more, f"closed after {found} answers"
        received += more
        found += received.count(b"HTTP/1.1 ")
        received = received[-8:]


def test_another_client_is_answered_before_the_end_of_a_body_in_tiny_chunks(own_service: Service) -> None:
    request_id = uuid4().hex
    chunked = (
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    )
    body = 8_000 * b"1\r\n \r\n" + b"0\r\n\r\n"
    with ExitStack() as stack:
        slow, other = connect(stack, own_service), connect(stack, own_service)
        for connection in (slow, other):
            connection.sendall(get("/health/live"))
            assert connection.recv(65536).endswith(b'{"status":"alive"}')
        with paused_process(own_service):
            slow.sendall(chunked + b"\r\n\r\n" + body)
            other.sendall(get("/health/live", X_Request_ID=request_id))
        assert other.recv(65536).endswith(b'{"status":"alive"}')
        answer = slow.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answers_before_and_after(own_service, request_id)[1] == 1


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


def test_pipelined_requests_wait_while_their_client_reads_no_answers(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(WRITE_TIMEOUT=600)
    wanted = 20_000  # answers of 300 bytes: 6 MB

    def answered() -> int:
        return service.log.read_bytes().count(b'"route":"/health/live"')

    def answered_after_others() -> int:
        """After 100 requests of another client: the one that does not read has had at least 100 turns."""
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
