"""The headers of every answer, and the preflight that a browser sends before it lets a page ask."""

from collections.abc import Awaitable, Callable, Iterable

from sanic import HTTPResponse

from service.answers import no_content
from service.request import Request

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"

# Named one by one: `*` never covers Authorization.
REQUEST_HEADERS = "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-ID, traceparent"
EXPOSED_HEADERS = "ETag, Link, Location, Retry-After, X-Request-ID, Idempotency-Replayed, WWW-Authenticate"


def answer_preflight(request: Request) -> Awaitable[HTTPResponse] | None:
    """A request middleware: it runs on paths that do not exist too, because a browser asks before it knows."""
    return _agree(request) if request.method == "OPTIONS" else None


async def _agree(request: Request) -> HTTPResponse:
    await request.finish_reading()
    return no_content()


def add_headers(origins: Iterable[str]) -> Callable[[Request, HTTPResponse], None]:
    listed = frozenset(origins)

    def add(request: Request, response: HTTPResponse) -> None:
        headers = response.headers
        headers["X-Request-ID"] = request.id
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Vary"] = "Origin"
        headers.setdefault("Cache-Control", "no-store")

        origin = request.headers.get("origin")
        if origin not in listed:
            return
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
        headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = METHODS
            headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS
            headers["Access-Control-Max-Age"] = "600"

    return add
