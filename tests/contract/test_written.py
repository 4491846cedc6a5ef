"""The bytes of a response: written in one piece, without header injection."""

import pytest

from service.http.responses import JsonResponse, json_response
from service.server.response_bytes import bytes_of


def written(headers: dict[str, str], connection: str = "keep-alive") -> bytes | None:
    made = json_response({"a": 1}, 201, headers)
    assert isinstance(made, JsonResponse)
    return bytes_of(made, connection)


def test_response_bytes_are_status_line_headers_and_body() -> None:
    assert written({"Location": "/tasks/ä", "Allow": "GET"}, "close") == (
        b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\nLocation: /tasks/\xc3\xa4\r\nAllow: GET\r\n"
        b"content-length: 7\r\nconnection: close\r\n\r\n"
        b'{"a":1}'
    )


def test_common_headers_are_sent_and_listed_in_processed_headers() -> None:
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
def test_header_with_an_invalid_character_is_left_to_sanics_own_writer(sign: str) -> None:
    assert written({"Location": f"/tasks{sign}Set-Cookie: a=b"}) is None
    assert written({f"Location{sign}": "/tasks"}) is None
