"""Responses: JSON in one piece, and streams."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
from sanic import HTTPResponse


class JsonResponse(HTTPResponse):
    """A whole response: its length is known, and it is sent in one piece."""

    common = ""  # the lines of headers that most responses share, ready to be sent

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """For Sanic's own way of sending it."""
        for line in self.common.splitlines():
            name, _, value = line.partition(": ")
            self.headers[name] = value
        return super().processed_headers


class StreamedResponse(HTTPResponse):
    """A response of unknown length. HTTP/1.0 has no chunks: there it ends with its connection."""

    is_chunked = True
    at_end: Callable[[], None] = staticmethod(lambda: None)  # called when all of it is sent, or the rest is given up

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        if not self.is_chunked:
            self.headers.pop("transfer-encoding", None)
        return super().processed_headers


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    return JsonResponse(orjson.dumps(body), status, headers, "application/json")


def json_text_response(text: str, status: int, headers: dict[str, str]) -> HTTPResponse:
    """A response whose body is JSON already."""
    return JsonResponse(text.encode(), status, headers, "application/json")


def no_content() -> HTTPResponse:
    return HTTPResponse(status=204)
