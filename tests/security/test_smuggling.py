"""Request smuggling: a request that other servers parse differently is refused, and nothing after it is read."""

import json
import re
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support import FRONTEND, Service

HIDDEN = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
REFUSED = {"error": "The request could not be understood", "code": "INVALID_REQUEST"}
START = b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nOrigin: %s\r\n" % FRONTEND.encode()
JSON = b"Content-Type: application/json\r\n"

BAD_LINES = {
    "space before the colon of Content-Length": b"Content-Length : %d" % len(HIDDEN),
    "tab before the colon of Content-Length": b"Content-Length\t: %d" % len(HIDDEN),
    "space before the colon of Transfer-Encoding": b"Transfer-Encoding : chunked",
    "space before the name": b" Content-Length: %d" % len(HIDDEN),
    "vertical tab before a length": b"Content-Length: \x0b%d" % len(HIDDEN),
    "form feed before a length": b"Content-Length: \x0c%d" % len(HIDDEN),
    "control character before a length": b"Content-Length: \x1f%d" % len(HIDDEN),
    "control character after a length": b"Content-Length: %d\x1c" % len(HIDDEN),
    "next line character before a length": b"Content-Length: \xc2\x85%d" % len(HIDDEN),
    "no-break space before a length": b"Content-Length: \xc2\xa0%d" % len(HIDDEN),
    "vertical tab before a coding": b"Transfer-Encoding: \x0bchunked",
    "control character before a coding": b"Transfer-Encoding: \x01chunked",
    "delete character in a value": b"X-Note: a\x7fb",
    "NUL in a value": b"X-Note: a\x00b",
    "NUL in a name": b"X-No\x00te: a",
    "bare LF in a value": b"X-Note: a\nContent-Length: %d" % len(HIDDEN),
    "bare CR in a value": b"X-Note: a\rContent-Length: %d" % len(HIDDEN),
    "LF before CRLF": b"X-Note: a\n\r",
    "CR CR LF": b"X-Note: a\r",
    "folded value": b"X-Note: a\r\n b",
    "folded coding": b"Transfer-Encoding:\r\n chunked",
    "line of white space": b" ",
    "no colon": b"Content-Length",
    "empty name": b": a",
    "name in brackets": b"(X): a",
    "name with a space": b"X Note: a",
    "name with a quote": b'"X": a',
    "name that is not ASCII": b"X-N\xc3\xb6te: a",
    "name with NUL before the colon": b"Content-Length\x00: %d" % len(HIDDEN),
    "empty length": b"Content-Length:",
    "length with a plus": b"Content-Length: +%d" % len(HIDDEN),
    "negative length": b"Content-Length: -%d" % len(HIDDEN),
    "negative zero": b"Content-Length: -0",
    "length with an underscore": b"Content-Length: 3_8",
    "length with a space inside": b"Content-Length: 3 8",
    "length with a fraction": b"Content-Length: 38.0",
    "length in hexadecimal": b"Content-Length: 0x26",
    "length with an exponent": b"Content-Length: 1e1",
    "length of Arabic digits": "Content-Length: ٣٨".encode(),
    "length of full-width digits": b"Content-Length: \xef\xbc\x93\xef\xbc\x98",
    "length of superscript digits": "Content-Length: ³⁸".encode(),
    "list of equal lengths": b"Content-Length: 38, 38",
    "list of lengths": b"Content-Length: 0,38",
    "length with a trailing comma": b"Content-Length: 38,",
    "equal lengths": b"Content-Length: 38\r\nContent-Length: 38",
    "two lengths": b"Content-Length: 0\r\ncontent-length: 38",
    "a length and a coding": b"Content-Length: 38\r\nTransfer-Encoding: chunked",
    "a coding and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 38",
    "an empty coding and a length": b"Transfer-Encoding:\r\nContent-Length: 38",
    "empty coding": b"Transfer-Encoding:",
    "identity coding": b"Transfer-Encoding: identity",
    "gzip before chunked": b"Transfer-Encoding: gzip, chunked",
    "chunked before gzip": b"Transfer-Encoding: chunked, gzip",
    "chunked twice": b"Transfer-Encoding: chunked, chunked",
    "chunked after a comma": b"Transfer-Encoding: ,chunked",
    "chunked before a comma": b"Transfer-Encoding: chunked,",
    "chunked with a parameter": b"Transfer-Encoding: chunked;q=1",
    "chunked in quotes": b'Transfer-Encoding: "chunked"',
    "xchunked": b"Transfer-Encoding: xchunked",
    "chunked and a NUL": b"Transfer-Encoding: chunked\x00",
    "two codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "two equal codings": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "second Host": b"Host: y",
    "second Host that is equal": b"Host: x",
}

WITH_ORIGIN = b"Origin: %s\r\n\r\n" % FRONTEND.encode() + HIDDEN
BAD_STARTS = {
    "no Host": b"GET /health/live HTTP/1.1\r\n",
    "Host with a path": b"GET /health/live HTTP/1.1\r\nHost: x/y\r\n",
    "Host with a user": b"GET /health/live HTTP/1.1\r\nHost: u@x\r\n",
    "Host with a space": b"GET /health/live HTTP/1.1\r\nHost: x y\r\n",
    "Host with a bad port": b"GET /health/live HTTP/1.1\r\nHost: x:http\r\n",
    "Host with a list": b"GET /health/live HTTP/1.1\r\nHost: x, y\r\n",
    "bad Host in HTTP/1.0": b"GET /health/live HTTP/1.0\r\nHost: x y\r\n",
    "two Host in HTTP/1.0": b"GET /health/live HTTP/1.0\r\nHost: x\r\nHost: y\r\n",
    "chunked in HTTP/1.0": b"POST /api/auth/login HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n",
    "two spaces after the method": b"GET  /health/live HTTP/1.1\r\nHost: x\r\n",
    "two spaces before the version": b"GET /health/live  HTTP/1.1\r\nHost: x\r\n",
    "tabs between": b"GET\t/health/live\tHTTP/1.1\r\nHost: x\r\n",
    "space in the target": b"GET /health /live HTTP/1.1\r\nHost: x\r\n",
    "space before the method": b" GET /health/live HTTP/1.1\r\nHost: x\r\n",
    "space after the version": b"GET /health/live HTTP/1.1 \r\nHost: x\r\n",
    "method that is no token": b"GE(T /health/live HTTP/1.1\r\nHost: x\r\n",
    "method with a NUL": b"G\x00ET /health/live HTTP/1.1\r\nHost: x\r\n",
    "no method": b" /health/live HTTP/1.1\r\nHost: x\r\n",
    "no version": b"GET /health/live\r\nHost: x\r\n",
    "HTTP/0.9": b"GET /health/live HTTP/0.9\r\nHost: x\r\n",
    "HTTP/1.2": b"GET /health/live HTTP/1.2\r\nHost: x\r\n",
    "HTTP/2.0": b"GET /health/live HTTP/2.0\r\nHost: x\r\n",
    "HTTP/01.1": b"GET /health/live HTTP/01.1\r\nHost: x\r\n",
    "HTTP/1.10": b"GET /health/live HTTP/1.10\r\nHost: x\r\n",
    "version in lower case": b"GET /health/live http/1.1\r\nHost: x\r\n",
    "fragment in the target": b"GET /health/live#x HTTP/1.1\r\nHost: x\r\n",
    "relative target": b"GET health/live HTTP/1.1\r\nHost: x\r\n",
    "query alone": b"GET ?a HTTP/1.1\r\nHost: x\r\n",
    "NUL in the target": b"GET /health/live\x00 HTTP/1.1\r\nHost: x\r\n",
    "control character in the target": b"GET /health/\x0blive HTTP/1.1\r\nHost: x\r\n",
    "byte above ASCII in the target": b"GET /health/live\xff HTTP/1.1\r\nHost: x\r\n",
    "CR in the target": b"GET /health/live\rx HTTP/1.1\r\nHost: x\r\n",
    "another scheme": b"GET ftp://x/health/live HTTP/1.1\r\nHost: x\r\n",
    "user in the target": b"GET http://u@x/health/live HTTP/1.1\r\nHost: x\r\n",
    "authority as the target": b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n",
    "bad line before the origin": b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Note : a\r\n",
    "two empty lines": b"\r\n\r\nGET /health/live HTTP/1.1\r\nHost: x\r\n",
}

CHUNKED = START + JSON + b"Transfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size zero with 0x": b"0x0\r\n\r\n",
    "size with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "negative zero size": b"-0\r\n\r\n",
    "size with an underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "size with a space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space after the size": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab after the size": b"5\t\r\nhello\r\n0\r\n\r\n",
    "size with a vertical tab": b"\x0b5\r\nhello\r\n0\r\n\r\n",
    "size with a NUL": b"5\x00\r\nhello\r\n0\r\n\r\n",
    "size of full-width digits": b"\xef\xbc\x95\r\nhello\r\n0\r\n\r\n",
    "size that is no number": b"zz\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "empty line before the size": b"\r\n5\r\nhello\r\n0\r\n\r\n",
    "extension without a size": b";a=b\r\nhello\r\n0\r\n\r\n",
    "LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "CR after the size": b"5\rhello\r\n0\r\n\r\n",
    "LF in an extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "LF that ends an extension": b"0;\n\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "LF in a quoted extension": b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    "extension without a name": b"5;\r\nhello\r\n0\r\n\r\n",
    "extension without a semicolon": b"5 a=b\r\nhello\r\n0\r\n\r\n",
    "extension that is too long": b"5;a=%b\r\nhello\r\n0\r\n\r\n" % (b"b" * 2000),
    "zeros that are too many": b"%b5\r\nhello\r\n0\r\n\r\n" % (b"0" * 2000),
    "data longer than its size": b"5\r\nhello!\r\n0\r\n\r\n",
    "data that ends in LF": b"5\r\nhello\n0\r\n\r\n",
    "data that ends in two other bytes": b"5\r\nhelloXX0\r\n\r\n",
    "data that ends in CR and another byte": b"5\r\nhello\rX0\r\n\r\n",
    "last chunk that ends in LF": b"5\r\nhello\r\n0\n\r\n",
    "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    "trailer with LF": b"5\r\nhello\r\n0\r\nX: y\nZ: a\r\n\r\n",
    "trailer that is folded": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "trailers that are too large": b"5\r\nhello\r\n0\r\nX: %b\r\n\r\n" % (b"y" * 10_000),
    "no empty line after the last chunk": b"5\r\nhello\r\n0\r\n",
}
ELSEWHERE = {
    "chunks, where no route is": CHUNKED.replace(b"/api/auth/login", b"/nowhere"),
    "chunks, where the method is wrong": CHUNKED.replace(b"POST", b"PATCH"),
    "chunks, of a preflight": CHUNKED.replace(b"POST", b"OPTIONS"),
    "chunks, where a token is needed": CHUNKED.replace(b"/api/auth/login", b"/v1/api/tasks"),
    "chunks, of a GET": CHUNKED.replace(b"POST /api/auth/login", b"GET /"),
}

REQUESTS = (
    {name: START + line + b"\r\n\r\n" + HIDDEN for name, line in BAD_LINES.items()}
    | {
        f"{name}, before Host": START.replace(b"Host", line + b"\r\nHost") + b"\r\n" + HIDDEN
        for name, line in BAD_LINES.items()
    }
    | {name: start + WITH_ORIGIN for name, start in BAD_STARTS.items()}
    | {name: start + b"0x5\r\nhello\r\n0\r\n\r\n" + HIDDEN for name, start in ELSEWHERE.items()}
    | {f"chunks, {name}": CHUNKED + chunks + HIDDEN for name, chunks in BAD_CHUNKS.items()}
)


@pytest.fixture(scope="module")
def answers(service: Service) -> dict[str, bytes]:
    """Sends all requests in parallel, because each refusal waits until its client stops sending."""

    def answer_to(sent: bytes) -> bytes:
        answer = b""
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            connection.sendall(sent)
            try:
                while received := connection.recv(65536):
                    answer += received
            except TimeoutError:
                answer += b"and the connection stays open"
        return answer

    with ThreadPoolExecutor(len(REQUESTS)) as threads:
        return dict(zip(REQUESTS, threads.map(answer_to, REQUESTS.values()), strict=True))


@pytest.mark.parametrize("name", REQUESTS)
def test_ambiguous_request_returns_one_400_and_closes_the_connection(answers: dict[str, bytes], name: str) -> None:
    check_is_one_refusal(answers[name])


def check_is_one_refusal(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nconnection: close" in head
    assert json.loads(body) == REFUSED


@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "two empty lines"])
def test_refusal_with_a_listed_origin_carries_the_cors_header(answers: dict[str, bytes], name: str) -> None:
    assert b"\r\nAccess-Control-Allow-Origin: %s\r\n" % FRONTEND.encode() in answers[name]


@pytest.mark.parametrize(
    "origin",
    [
        b"Origin : %s",
        b" Origin: %s",
        b"Origin: %s\x01",
        b"Origin: %s\r\nOrigin: https://evil.example",
        b"Origin: https://evil.example",
        b"X: a\nOrigin: %s",
    ],
)
def test_refusal_without_exactly_one_valid_listed_origin_has_no_cors_header(service: Service, origin: bytes) -> None:
    line = origin.replace(b"%s", FRONTEND.encode())

    answer = service.raw(b"GET / HTTP/1.1\r\nBad Line: x\r\n" + line + b"\r\n\r\n")

    check_is_one_refusal(answer)
    assert b"Access-Control" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=["lines that end in LF", "NUL", "TLS"],
)
def test_head_with_an_early_fault_is_refused_before_it_is_complete(service: Service, sent: bytes) -> None:
    check_is_one_refusal(service.raw(sent))


def test_more_than_100_header_fields_return_431(service: Service) -> None:
    few, many = (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"A:\r\n" * n + b"\r\n" for n in (98, 99))

    assert service.raw(few).startswith(b"HTTP/1.1 200 ")
    assert service.raw(many).startswith(b"HTTP/1.1 431 ")


LOGIN = b'{"email": "", "password": ""}'
NO_EMAIL = [b"400", b"200"]  # the 400 shows that the body was read and its fields were checked


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", [b"200", b"200"]),
        (b"GET / HTTP/1.1\r\nHost: [::1]:8000\r\n\r\n", [b"200", b"200"]),
        (b"GET / HTTP/1.1\r\nhOsT:x_y.example.:80 \t\r\n\r\n", [b"200", b"200"]),
        (b"\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", [b"200", b"200"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n", [b"200", b"200"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: \xff\xc3\xa9\ta\r\nX:\r\n!#$%&'*+-.^_`|~1aZ: ,\r\n\r\n", [b"200", b"200"]),
        (b"GET http://y/health/live HTTP/1.1\r\nHost: x\r\n\r\n", [b"200", b"200"]),
        (b"GET HTTPS://y.example:1/nowhere?a=http://z HTTP/1.1\r\nHost: x\r\n\r\n", [b"404", b"200"]),
        (b'GET /docs?a=b|{c}^" HTTP/1.1\r\nHost: x\r\n\r\n', [b"200", b"200"]),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", [b"204", b"200"]),
        (b"CONNECT /x HTTP/1.1\r\nHost: x\r\n\r\n", [b"404", b"200"]),
        (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", [b"405", b"200"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n", [b"200", b"200"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length:\t0000\t \r\n\r\n", [b"200", b"200"]),
        (START + JSON + b"Content-Length: 00029 \r\n\r\n" + LOGIN, NO_EMAIL),
        (START + JSON + b"Transfer-Encoding: \tCHUNKED \r\n\r\n1d\r\n" + LOGIN + b"\r\n0\r\n\r\n", NO_EMAIL),
        (CHUNKED + b"001D;a\r\n" + LOGIN + b'\r\n0 ; b = "c\\"\xff"\r\n\r\n', NO_EMAIL),
        (CHUNKED + b"1d\r\n" + LOGIN + b"\r\n000\r\nX: y\r\nContent-Length: 9\r\n\r\n", NO_EMAIL),
        (CHUNKED + b"".join(b"1;a=%b\r\n%c\r\n" % (b"b" * 900, byte) for byte in LOGIN) + b"0\r\n\r\n", NO_EMAIL),
        (CHUNKED + b"100001\r\n", [b"413"]),
        (CHUNKED + b"f" * 1000 + b"\r\n", [b"413"]),
        (CHUNKED + b"1;a=%b\r\nx\r\n" % (b"b" * 1000) * 1100, [b"413"]),
        (b"GET / HTTP/1.0\r\nConnection: a, Keep-Alive\r\n\r\n", [b"200", b"200"]),
        (b"GET / HTTP/1.0\r\n\r\n", [b"200"]),
        (b"GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n", [b"200"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: x,\tCLOSE\r\n\r\n", [b"200"]),
        (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n", [b"200"]),
        (START + b"Content-Length: 99999999999999999999999999999999\r\n\r\n", [b"413"]),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx", [b"405"]),
    ],
)
def test_unusual_but_valid_request_is_answered_and_the_next_one_is_read(
    service: Service, sent: bytes, statuses: list[bytes]
) -> None:
    answer = service.raw(sent + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert re.findall(rb"HTTP/1.1 (\d{3}) ", answer) == statuses


def test_empty_line_after_a_request_does_not_start_the_header_timeout(start_service: Callable[..., Service]) -> None:
    """Some clients send an empty line after a body. The connection is then idle, not late with a head."""
    service = start_service(HEADER_TIMEOUT=1, IDLE_TIMEOUT=3)

    answer = service.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\r\n")

    assert re.findall(rb"HTTP/1.1 (\d{3}) ", answer) == [b"200"]
