"""Errors of HTTP itself, sent as raw bytes: the usual error JSON with the fitting status."""

import json
import re
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import Service

GOOD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


def status_and_body(raw: bytes) -> tuple[int, object]:
    head, _, body = raw.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    assert status is not None, raw[:200]
    assert b"content-type: application/json" in head
    assert b"vary: origin" in head.lower()
    assert b"x-request-id: " in head.lower()
    assert b"access-control-allow-origin" not in head.lower()
    return int(status[1]), json.loads(body)


def refused(status: int, text: str) -> tuple[int, object]:
    return status, {"error": text, "code": "INVALID_REQUEST"}


@pytest.mark.parametrize(
    "sent",
    [
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"GET http://x HTTP/1.1\r\n\r\n",
        b"POST http://x?a=b HTTP/1.1\r\n\r\n",
        b"GET /%s HTTP/1.1\r\n\r\n" % "é".encode(),
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        GOOD + b"no colon\r\n\r\n",
        GOOD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        GOOD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        GOOD + b"Content-Length: -1\r\n\r\n",
        GOOD + b"Content-Length: ten\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_malformed_request_returns_400_invalid_request(service: Service, sent: bytes) -> None:
    assert status_and_body(service.raw(sent)) == refused(400, "The request could not be understood")


def test_headers_over_the_limit_return_431(service: Service) -> None:
    sent = GOOD + b"X-Padding: %s\r\n\r\n" % (b"a" * 100_000)

    assert status_and_body(service.raw(sent)) == refused(431, "The request headers are too large")


def test_request_target_over_the_limit_returns_414(service: Service) -> None:
    for length in (10_000, 300_000):
        sent = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * length)
        assert status_and_body(service.raw(sent)) == refused(414, "The address is too long")


def test_unknown_expectation_returns_417(service: Service) -> None:
    sent = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nExpect: 200-ok\r\nContent-Length: 2\r\n\r\n{}"

    assert status_and_body(service.raw(sent)) == refused(417, "The expectation cannot be met")


def test_refusal_after_readable_headers_has_cors_headers_and_the_request_id(service: Service) -> None:
    for wrong in (b"Expect: 200-ok\r\nContent-Length: 2", b"Content-Length: ten"):
        sent = b"POST /api/tasks HTTP/1.1\r\nOrigin: http://localhost:3000\r\nX-Request-ID: mine\r\n" + wrong
        answer = service.raw(sent + b"\r\n\r\n{}")
        assert b"Access-Control-Allow-Origin: http://localhost:3000\r\n" in answer
        assert b"X-Request-ID: mine\r\n" in answer


def test_refusal_carries_no_headers_of_the_request_before_it(service: Service) -> None:
    first = GOOD + b"Origin: http://localhost:3000\r\nX-Request-ID: first\r\n\r\n"

    answer = service.raw(first + b"nonsense\r\n\r\n")

    assert answer.count(b"Access-Control-Allow-Origin") == answer.count(b"X-Request-ID: first") == 1


def test_malformed_chunk_returns_400(service: Service) -> None:
    sent = (
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"
    )

    assert status_and_body(service.raw(sent)) == refused(400, "The request could not be understood")


def test_head_or_body_that_stops_arriving_returns_408(start_service: Callable[..., Service]) -> None:
    service = start_service(HEADER_TIMEOUT=1, BODY_TIMEOUT=1)
    half_a_head = b"GET / HTTP/1.1\r\nHost: x\r\n"
    half_a_body = (
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
        b'{"email": '
    )

    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(service.raw, [half_a_head, half_a_body]))

    expected = refused(408, "The request did not arrive in time")
    assert [status_and_body(answer) for answer in answers] == [expected, expected]


def test_expect_100_continue_gets_100_or_413_before_the_body_is_sent(service: Service) -> None:
    head = (
        b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head % 2)
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert b"HTTP/1.1 400 " in connection.recv(65536)

    assert service.raw(head % 2_000_000).startswith(b"HTTP/1.1 413 ")


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    sent = GOOD + b"\r\n" + b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + GOOD + b"Connection: close\r\n\r\n"

    assert re.findall(rb"HTTP/1.1 (\d{3}) ", service.raw(sent)) == [b"200", b"404", b"200"]


def test_clients_that_disconnect_cause_no_error_and_others_are_served(service: Service) -> None:
    lines_before = len(service.lines())
    for sent in (b"", b"GET", GOOD, b"POST /api/auth/login HTTP/1.1\r\nContent-Length: 9\r\n\r\n{", GOOD + b"\r\n"):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
                connection.sendall(sent)
    time.sleep(0.5)

    assert service.http.get("/health").json() == {"status": "healthy"}
    assert {line["level"] for line in service.lines()[lines_before:]} == {"info"}
