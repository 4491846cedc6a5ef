"""An answer as it goes over the line: all of it in one piece, and no header that begins another."""

import pytest

from service.answers import Answer, answer


def written(headers: dict[str, str], connection: str = "keep-alive") -> bytes | None:
    made = answer({"a": 1}, 201, headers)
    assert isinstance(made, Answer)
    return made.written(connection)


def test_an_answer_is_its_status_its_headers_and_its_body() -> None:
    assert written({"Location": "/tasks/ä", "Vary": "Origin"}, "close") == (
        b"HTTP/1.1 201 Created\r\nLocation: /tasks/\xc3\xa4\r\nVary: Origin\r\n"
        b"content-type: application/json\r\ncontent-length: 7\r\nconnection: close\r\n\r\n"
        b'{"a":1}'
    )


@pytest.mark.parametrize("sign", ["\r\n", "\n", "\r", "\0", "\x85", "\u2028", "\ud800"])
def test_a_header_with_a_sign_that_is_none_is_left_to_sanic_which_takes_it_out(sign: str) -> None:
    assert written({"Location": f"/tasks{sign}Set-Cookie: a=b"}) is None
    assert written({f"Location{sign}": "/tasks"}) is None
