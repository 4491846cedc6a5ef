"""One line of the log for each request."""

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from time import perf_counter

from sanic import HTTPResponse

from service.http.request import Request
from service.log.lines import LogLine, LogOutput

_requests = logging.getLogger("service.requests")


def log_requests(output: LogOutput) -> Callable[[Request, HTTPResponse], None]:
    def log(request: Request, response: HTTPResponse) -> None:
        """A response middleware: the answer is decided, and about to be sent."""
        level = logging.ERROR if response.status >= 500 else logging.INFO
        if not _requests.isEnabledFor(level):
            return
        started = request.began_at
        route = request.route
        line: LogLine = {
            "time": datetime.now(UTC),
            "level": "info" if level == logging.INFO else "error",
            "message": "request",
            "request_id": request.id,
            "method": None if request.was_unreadable else request.method,
            "route": _pattern(route.path) if route else None,
            "status": response.status,
            "duration_ms": round((perf_counter() - started) * 1000, 2) if started else None,
        }
        context = request.ctx.__dict__
        if "user_id" in context:
            line["user_id"] = str(context["user_id"])  # orjson does not take the driver's UUID
        if "reason" in context:
            line["reason"] = context["reason"]
        output.say(line)

    return log


def log_without_request(request_id: str, status: int, reason: str) -> None:
    """The line of a response that was sent before anything of a request was read."""
    unknown = dict.fromkeys(("method", "route"))
    fields = {"request_id": request_id, **unknown, "status": status, "duration_ms": None, "reason": reason}
    _requests.error("request", extra={"fields": fields})


@cache
def _pattern(path: str) -> str:
    """`api/tasks/<task_id:str>`, the way the documentation writes it."""
    return "/" + re.sub(r"<(\w+)(:\w+)?>", r"{\1}", path)
