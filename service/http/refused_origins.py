"""Logs origins that FRONTEND_URL does not list: a browser tells its page nothing but that the request failed."""

import logging
from collections.abc import Sequence
from time import monotonic

from service.http.request import Request

LOG_AGAIN_SECONDS = 300.0  # the same origin
MAX_LOGGED_ORIGINS = 20  # of each process, in that time
MAX_LOGGED_CHARACTERS = 100

_log = logging.getLogger("service.http.refused_origins")


class RefusedOrigins:
    """A client can send any number of origins: each is logged once in a while, and only so many are."""

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
    """The documentation's own page: its requests that change something name their origin too. The second condition is
    for a proxy that sends another Host."""
    headers = request.headers
    return origin.rpartition("//")[2] == headers.get("host") or headers.get("sec-fetch-site") == "same-origin"
