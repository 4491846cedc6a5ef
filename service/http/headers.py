"""Headers of every response."""

from typing import NamedTuple

from sanic import HTTPResponse

from service.http.request import Request
from service.http.responses import JsonResponse

HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
VARY = {"Vary": "Origin"}  # http/cors.py adds it to all but those that are made without a request
LINES = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())


class HeaderSet(NamedTuple):
    """Headers by their names, and as the lines that go over the connection."""

    headers: dict[str, str]
    lines: str

    @classmethod
    def of(cls, headers: dict[str, str]) -> "HeaderSet":
        return cls(headers, "".join(f"{name}: {value}\r\n" for name, value in headers.items()))


def add_headers(request: Request, response: HTTPResponse) -> None:
    """A response middleware. Most responses get lines made once; a Cache-Control of a response's own is kept."""
    if isinstance(response, JsonResponse) and "Cache-Control" not in response.headers:
        response.common = f"X-Request-ID: {request.id}\r\n{LINES}"
        return
    response.headers["X-Request-ID"] = request.id
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
