"""The headers of every response, and the preflight that a browser sends before it lets a page ask."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
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

LOG_AGAIN_SECONDS = 300.0  # the same origin
MAX_LOGGED_ORIGINS = 20  # of each process, in that time
MAX_LOGGED_CHARACTERS = 100

_log = logging.getLogger("service.http.headers")


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


class RefusedOrigins:
    """Logs origins that FRONTEND_URL does not list: a browser tells the page nothing but that its request failed.
    A client can send any number of origins: each is logged once in a while, and only so many are."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = ",".join(allowed)
        self._logged_at: dict[str, float] = {}  # by origin, the oldest first

    def see(self, request: Request, origin: str) -> None:
        now = monotonic()
        logged_at = self._logged_at
        while logged_at and now - next(iter(logged_at.values())) >= LOG_AGAIN_SECONDS:
            del logged_at[next(iter(logged_at))]
        origin = origin[:MAX_LOGGED_CHARACTERS]
        if origin in logged_at or len(logged_at) >= MAX_LOGGED_ORIGINS or _is_same_origin(request, origin):
            return
        logged_at[origin] = now
        message = "the origin %a is not allowed (FRONTEND_URL=%s): browsers keep the answers from its pages"
        _log.warning(message, origin, self._allowed, extra={"fields": {"request_id": request.id}})


def _is_same_origin(request: Request, origin: str) -> bool:
    """The documentation's own page: its requests that change something name their origin too. The second is for a proxy
    that sends another Host."""
    headers = request.headers
    return origin.rpartition("//")[2] == headers.get("host") or headers.get("sec-fetch-site") == "same-origin"


def add_headers(origins: Sequence[str]) -> Callable[[Request, HTTPResponse], None]:
    refused = RefusedOrigins(origins)
    everybody = Common.of(EVERYBODY)
    listed = {origin: EVERYBODY | LISTED | {"Access-Control-Allow-Origin": origin} for origin in origins}
    answers = {origin: Common.of(headers) for origin, headers in listed.items()}
    preflights = {origin: Common.of(headers | PREFLIGHT) for origin, headers in listed.items()}

    def add(request: Request, response: HTTPResponse) -> None:
        """Nearly every response is given the same lines, made once; one that says itself what caches may do is not."""
        origin: str = request.headers.get("origin", "")
        common = (preflights if request.method == "OPTIONS" else answers).get(origin, everybody)
        if origin and common is everybody:
            refused.see(request, origin)
        if isinstance(response, JsonResponse) and "Cache-Control" not in response.headers:
            response.common = f"X-Request-ID: {request.id}\r\n{common.lines}"
            return
        response.headers["X-Request-ID"] = request.id
        for name, value in common.headers.items():
            response.headers.setdefault(name, value)

    return add
