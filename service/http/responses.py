"""How a value becomes a response."""

from collections.abc import Iterator
from typing import Any

import orjson
from sanic import HTTPResponse


class JsonResponse(HTTPResponse):
    """Whole: its length is known, and it is sent in one piece."""

    common = ""  # the lines of those headers that most answers have, ready to be sent

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """For Sanic, where it sends the response."""
        for line in self.common.splitlines():
            name, _, value = line.partition(": ")
            self.headers[name] = value
        return super().processed_headers


class StreamedResponse(HTTPResponse):
    """Its length is not known when it begins. HTTP/1.0 has no chunks: the connection ends with the response there."""

    is_chunked = True

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        if not self.is_chunked:
            self.headers.pop("transfer-encoding", None)
        return super().processed_headers


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> HTTPResponse:
    return JsonResponse(orjson.dumps(body), status, headers, "application/json")


def no_content() -> HTTPResponse:
    return HTTPResponse(status=204)
