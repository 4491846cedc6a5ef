"""The headers of every response, and the preflight that a browser sends before it lets a page ask."""

from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple

from sanic import HTTPResponse
from sanic.exceptions import BadRequest

from service.http.request import Request
from service.http.responses import JsonResponse, no_content

EVERYBODY = {"X-Content-Type-Options": "nosniff", "Vary": "Origin", "Cache-Control": "no-store"}

# Named one by one: `*` never covers Authorization.
LISTED = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": (
        "ETag, Link, Location, Retry-After, X-Request-ID, Idempotency-Replayed, WWW-Authenticate"
    ),
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-ID, traceparent"
    ),
    "Access-Control-Max-Age": "600",
}


class Common(NamedTuple):
    """What the answers to one origin have in common, each by its name and as it goes over the line."""

    headers: dict[str, str]
    lines: str

    @classmethod
    def of(cls, headers: dict[str, str]) -> "Common":
        return cls(headers, "".join(f"{name}: {value}\r\n" for name, value in headers.items()))


def answer_preflight(request: Request) -> Awaitable[HTTPResponse] | None:
    """A request middleware: it runs on paths that do not exist too, because a browser asks before it knows."""
    return _agree(request) if request.method == "OPTIONS" else None


async def _agree(request: Request) -> HTTPResponse:
    if not await request.finish_reading():
        raise BadRequest
    return no_content()


def add_headers(origins: Iterable[str]) -> Callable[[Request, HTTPResponse], None]:
    everybody = Common.of(EVERYBODY)
    listed = {origin: EVERYBODY | LISTED | {"Access-Control-Allow-Origin": origin} for origin in origins}
    answers = {origin: Common.of(headers) for origin, headers in listed.items()}
    preflights = {origin: Common.of(headers | PREFLIGHT) for origin, headers in listed.items()}

    def add(request: Request, response: HTTPResponse) -> None:
        """Nearly every response is given the same lines, made once; one that says itself what caches may do is not."""
        origin: str = request.headers.get("origin", "")
        common = (preflights if request.method == "OPTIONS" else answers).get(origin, everybody)
        if isinstance(response, JsonResponse) and "Cache-Control" not in response.headers:
            response.common = f"X-Request-ID: {request.id}\r\n{common.lines}"
            return
        response.headers["X-Request-ID"] = request.id
        for name, value in common.headers.items():
            response.headers.setdefault(name, value)

    return add
