"""One line for each request, and every other line of the process, in one format on standard output."""

import logging
import logging.config
import re
import sys
import traceback
from datetime import UTC, datetime
from functools import cache
from time import perf_counter
from typing import Any, Literal

import orjson
from sanic import HTTPResponse

from service.request import Request

LogFormat = Literal["auto", "json", "text"]

_requests = logging.getLogger("service.requests")


def configure(level: str, log_format: LogFormat) -> None:
    """Sanic's own loggers fit in: its banner and its reports of each start are off, its warnings pass."""
    as_text = sys.stdout.isatty() if log_format == "auto" else log_format == "text"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"()": TextFormatter if as_text else JsonFormatter}},
            "handlers": {"stdout": {"class": "logging.StreamHandler", "stream": sys.stdout, "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["stdout"]},
            "loggers": {
                "service": {"level": level},
                "sanic.root": {"level": "WARNING", "propagate": True},
                "sanic.error": {"level": "WARNING", "propagate": True},
                "sanic.access": {"level": "WARNING", "propagate": True},
                "sanic.server": {"level": "WARNING", "propagate": True},
                "sanic.websockets": {"level": "WARNING", "propagate": True},
            },
        }
    )


def log_request(request: Request, response: HTTPResponse) -> None:
    """A response middleware: the answer is decided, and about to be sent."""
    started = request.http.perft0
    fields: dict[str, Any] = {
        "request_id": request.id,
        # Escaped: a method may hold any byte, a line feed among them.
        "method": None if request.was_unreadable else request.method.encode("unicode_escape").decode(),
        "route": _pattern(request.route.path) if request.route else None,
        "status": response.status,
        "duration_ms": round((perf_counter() - started) * 1000, 2) if started else None,
    }
    context = request.ctx.__dict__
    if "user_id" in context:
        fields["user_id"] = str(context["user_id"])
    if "reason" in context:
        fields["reason"] = context["reason"]
    failed = response.status >= 500
    _requests.log(logging.ERROR if failed else logging.INFO, "request", extra={"fields": fields})


@cache
def _pattern(path: str) -> str:
    """`api/tasks/<task_id:str>`, the way the documentation writes it."""
    return "/" + re.sub(r"<(\w+)(:\w+)?>", r"{\1}", path)


def story_of(exception: BaseException) -> str:
    """Where it happened and what it was, without its message: that may quote a password out of a request."""
    before = exception.__cause__ or exception.__context__
    frames = "".join(traceback.format_tb(exception.__traceback__))
    return f"{story_of(before) if before else ''}{frames}{type(exception).__name__}\n"


def _told_by(record: logging.LogRecord, exception: BaseException) -> str:
    """The driver tells of every try to reach a database that is away: what it met is enough, its frames are its own."""
    return type(exception).__name__ if record.name.startswith("asyncpg") else story_of(exception)


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1]:
            line["reason"] = _told_by(record, record.exc_info[1])
        return orjson.dumps(line).decode()


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = dict(getattr(record, "fields", {}))
        reason = fields.pop("reason", None)
        if record.exc_info and record.exc_info[1]:
            reason = _told_by(record, record.exc_info[1])
        if "route" in fields:
            method, route = fields.pop("method") or "-", fields.pop("route") or "-"
            text = f"{method:7} {route} {fields.pop('status')} {fields.pop('duration_ms') or 0} ms"
        else:
            text = record.getMessage()
        text += "".join(f" {name}={value}" for name, value in fields.items())
        moment = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        line = f"{moment} {record.levelname.lower():7} {text}"
        return f"{line}\n{reason}" if reason else line
