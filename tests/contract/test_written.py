"""An response as it goes over the line: all of it in one piece, and no header that begins another."""

import pytest

from service.http.responses import JsonResponse, json_response
from service.server.response_bytes import bytes_of


def written(headers: dict[str, str], connection: str = "keep-alive") -> bytes | None:
    made = json_response({"a": 1}, 201, headers)
    assert isinstance(made, JsonResponse)
    return bytes_of(made, connection)


def test_an_answer_is_its_status_its_headers_and_its_body() -> None:
    assert written({"Location": "/tasks/ä", "Allow": "GET"}, "close") == (
        b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nLocation: /tasks/\xc3\xa4\r\nAllow: GET\r\n"
        b"content-length: 7\r\nconnection: close\r\n\r\n"
        b'{"a":1}'
    )


def test_what_it_has_in_common_with_others_is_sent_with_its_own_and_told_to_sanic() -> None:
    made = JsonResponse(b"{}", 200, {"Allow": "GET"}, "application/json")
    made.common = "Vary: Origin\r\nX-Request-ID: a: b\r\n"

    assert bytes_of(made, "keep-alive") == (
        b"HTTP/1.1 200 OK\r\nVary: Origin\r\nX-Request-ID: a: b\r\ncontent-type: application/json\r\nAllow: GET\r\n"
        b"content-length: 2\r\nconnection: keep-alive\r\n\r\n"
        b"{}"
    )
    assert list(made.processed_headers) == [
        (b"Allow", b"GET"),
        (b"Vary", b"Origin"),
        (b"X-Request-ID", b"a: b"),
        (b"content-type", b"application/json"),
    ]


@pytest.mark.parametrize("sign", ["\r\n", "\n", "\r", "\0", "\x85", "\u2028", "\ud800"])
def test_a_header_with_a_sign_that_is_none_is_left_to_sanic_which_takes_it_out(sign: str) -> None:
    assert written({"Location": f"/tasks{sign}Set-Cookie: a=b"}) is None
    assert written({f"Location{sign}": "/tasks"}) is None
