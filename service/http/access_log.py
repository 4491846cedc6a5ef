"""One line of the log for each request."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

from sanic import HTTPResponse

from service.errors import Problem
from service.http.client_address import client_network
from service.http.request import Request
from service.log.lines import LogLine, LogOutput

MAX_PATH_CHARACTERS = 200  # of the path of a request that no route has

_requests = logging.getLogger("service.requests")


def log_requests(output: LogOutput) -> Callable[[Request, HTTPResponse], None]:
    def log(request: Request, response: HTTPResponse) -> None:
        """A response middleware: the answer is decided, and about to be sent."""
        context = request.ctx.__dict__
        level = logging.ERROR if response.status >= 500 and "is_expected" not in context else logging.INFO
        if not _requests.isEnabledFor(level):
            return
        started = request.began_at
        line: LogLine = {
            "time": datetime.now(UTC),
            "level": "info" if level == logging.INFO else "error",
            "message": "request",
            "request_id": request.id,
            "method": None if request.was_unreadable else request.method,
            "route": request.pattern,
            "status": response.status,
            "duration_ms": round((perf_counter() - started) * 1000, 2) if started else None,
            "client": client_network(request),
        }
        if request.route is None and not request.was_unreadable:
            line["path"] = shown(request.path)
        if "code" in context:
            line["code"] = context["code"]
        if "user_id" in context:
            line["user_id"] = str(context["user_id"])  # orjson does not take the driver's UUID
        if "reason" in context:
            line["reason"] = context["reason"]
        output.say(line)

    return log


def log_without_request(request_id: str, problem: Problem, client: str | None) -> None:
    """The line of a response that was sent before anything of a request was read."""
    fields = {
        "request_id": request_id, "method": None, "route": None, "status": problem.status, "duration_ms": None,
        "client": client, "code": problem.code.name, "reason": problem.reason,
    }  # fmt: skip
    _requests.error("request", extra={"fields": fields})


def shown(path: str) -> str:
    """A path that anybody may have made up: in printable ASCII, and cut."""
    escaped = ascii(path[: MAX_PATH_CHARACTERS + 1])[1:-1]
    return escaped if len(escaped) <= MAX_PATH_CHARACTERS else f"{escaped[:MAX_PATH_CHARACTERS]}..."
