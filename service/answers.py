"""How a value becomes an answer."""

from typing import Any

import orjson
from sanic import HTTPResponse
from sanic.helpers import STATUS_CODES

_STATUS_LINES = {status: f"HTTP/1.1 {status} {STATUS_CODES[status].decode()}" for status in STATUS_CODES}


class Answer(HTTPResponse):
    """Whole: its length is known, and it is sent in one piece."""

    def written(self, connection: str) -> bytes | None:
        """As it goes over the line; None where a header holds what might begin another, and Sanic is to clean it. Sanic
        looks up each character of each header and joins them one by one: a fifth of what a small answer costs."""
        headers = [f"{name}: {value}" for name, value in self.headers.items()]
        if not "".join(headers).isprintable():
            return None
        body: bytes = self.body or b""
        head = "\r\n".join(
            [
                _STATUS_LINES[self.status],
                *headers,
                f"content-type: {self.content_type}",
                f"content-length: {len(body)}",
                f"connection: {connection}",
                "\r\n",
            ]
        )
        return head.encode() + body


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    return Answer(orjson.dumps(body), status, headers, "application/json")


def no_content() -> HTTPResponse:
    return HTTPResponse(status=204)
