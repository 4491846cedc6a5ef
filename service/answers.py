"""How a value becomes an answer."""

from collections.abc import Iterator
from typing import Any

import orjson
from sanic import HTTPResponse
from sanic.helpers import STATUS_CODES

_STATUS_LINES = {status: f"HTTP/1.1 {status} {STATUS_CODES[status].decode()}" for status in STATUS_CODES}


class Answer(HTTPResponse):
    """Whole: its length is known, and it is sent in one piece."""

    common = ""  # the lines of those headers that most answers have, ready to be sent

    def written(self, connection: str) -> bytes | None:
        """As it goes over the line; None where a header of its own holds what might begin another, and Sanic is to
        clean it. Sanic looks up each character of each header and joins them one by one: a fifth of what a small
        answer costs."""
        own = [f"{name}: {value}" for name, value in self.headers.items()] if self.headers else []
        if own and not "".join(own).isprintable():
            return None
        body: bytes = self.body or b""
        begin = f"{_STATUS_LINES[self.status]}\r\n{self.common}content-type: {self.content_type}"
        end = f"content-length: {len(body)}\r\nconnection: {connection}\r\n\r\n"
        return "\r\n".join([begin, *own, end]).encode() + body

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """For Sanic, where it sends the answer."""
        for line in self.common.splitlines():
            name, _, value = line.partition(": ")
            self.headers[name] = value
        return super().processed_headers


class Streamed(HTTPResponse):
    """Its length is not known when it begins. HTTP/1.0 has no chunks: the connection ends with the answer there."""

    is_chunked = True

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        if not self.is_chunked:
            self.headers.pop("transfer-encoding", None)
        return super().processed_headers


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    return Answer(orjson.dumps(body), status, headers, "application/json")


def no_content() -> HTTPResponse:
    return HTTPResponse(status=204)
