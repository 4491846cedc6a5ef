"""CORS: the headers that let a browser's page of another origin read a response, and the preflight before a request."""

from collections.abc import Awaitable, Sequence
from typing import Any

from sanic import HTTPResponse
from sanic.exceptions import BadRequest
from sanic_ext import Extension

from service.http.headers import VARY, HeaderSet
from service.http.refused_origins import RefusedOrigins
from service.http.request import Request
from service.http.responses import JsonResponse, no_content

# Named one by one: `*` never covers Authorization. Some are of requests and answers that are still to come, so that a
# page's preflight does not change with them.
ALLOWED = {
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": (
        "ETag, Link, Location, Retry-After, X-Request-ID, Idempotency-Replayed, WWW-Authenticate, Preference-Applied"
    ),
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-ID, traceparent, Prefer"
    ),
    "Access-Control-Max-Age": "600",
}


class Cors(Extension):
    name = "cors"

    def __init__(self, origins: Sequence[str]) -> None:
        self._refused = RefusedOrigins(origins)
        allowed = {origin: VARY | ALLOWED | {"Access-Control-Allow-Origin": origin} for origin in origins}
        self._other = HeaderSet.of(VARY)
        self._responses = {origin: HeaderSet.of(headers) for origin, headers in allowed.items()}
        self._preflights = {origin: HeaderSet.of(headers | PREFLIGHT) for origin, headers in allowed.items()}

    def startup(self, _: Any) -> None:
        self.app.on_request(self.answer_preflight)
        self.app.on_response(self.add_headers)

    def answer_preflight(self, request: Request) -> Awaitable[HTTPResponse] | None:
        """A request middleware. It runs for unknown paths too, because a browser asks before it knows."""
        return _agree(request) if request.method == "OPTIONS" else None

    def add_headers(self, request: Request, response: HTTPResponse) -> None:
        """A response middleware, after that of http/headers.py."""
        origin: str = request.headers.get("origin", "")
        found = (self._preflights if request.method == "OPTIONS" else self._responses).get(origin, self._other)
        if origin and found is self._other:
            self._refused.see(request, origin)
        if isinstance(response, JsonResponse) and response.common:
            response.common += found.lines
            return
        for name, value in found.headers.items():
            response.headers.setdefault(name, value)


async def _agree(request: Request) -> HTTPResponse:
    if not await request.finish_reading():
        raise BadRequest
    return no_content()
