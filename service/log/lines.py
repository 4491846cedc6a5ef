"""Every line of the log, in one format on standard output: JSON, or text for people."""

import logging
import logging.config
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from io import FileIO
from typing import Any, Literal, Protocol, TypeAlias

import orjson

from service.log.line_writer import LineWriter

LogFormat = Literal["auto", "json", "text"]

# "time", "level" and "message", and whatever else there is to say.
Line: TypeAlias = dict[str, Any]


class Stream(Protocol):
    def write(self, line: bytes, /) -> object: ...


class Output(logging.Handler):
    """Of every line. Those of requests come without a record: to make and pass on one costs more than the line."""

    def __init__(self, layout: Callable[[Line], bytes], stream: Stream) -> None:
        super().__init__()
        self._layout = layout
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _line_of(record)
            if self._layout is as_people_read_it:
                line["message"] = getattr(record, "as_text", line["message"])
            self.say(line)
        except Exception:  # noqa: BLE001 - as in every handler: who says something that cannot be said goes on
            self.handleError(record)

    def say(self, line: Line) -> None:
        try:
            layout = self._layout
            self._stream.write(layout(line))
        except OSError:  # the reader has gone, or a disk is full: no reason to refuse the answer
            self.handleError(logging.makeLogRecord({"msg": line["message"]}))


def configure(level: str, log_format: LogFormat, *, serves: bool = True) -> Output:
    """Sanic's own loggers fit in: its banner and its reports of each start are off, its warnings pass. A process that
    serves never waits for the reader of its log; a command does, as for what it prints."""
    as_text = sys.stdout.isatty() if log_format == "auto" else log_format == "text"
    layout = as_people_read_it if as_text else as_json
    fd, waits = sys.stdout.fileno(), not serves
    stream = FileIO(fd, "w", closefd=False) if waits else LineWriter(fd, lambda dropped: layout(_report(dropped)))
    output = Output(layout, stream)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stdout": {"()": lambda: output}},
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
    return output


def _report(dropped: int) -> Line:
    message = f"{dropped} lines of the log were dropped"
    return {"time": datetime.now(UTC), "level": "warning", "message": message, "dropped": dropped}


def story_of(exception: BaseException) -> str:
    """Where it happened and what it was, without its message: that may quote a password out of a request."""
    before = exception.__cause__ or exception.__context__
    frames = "".join(traceback.format_tb(exception.__traceback__))
    return f"{story_of(before) if before else ''}{frames}{type(exception).__name__}\n"


def _line_of(record: logging.LogRecord) -> Line:
    line: Line = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": _name_of(record.levelno),
        "message": record.getMessage(),
    }
    line |= getattr(record, "fields", {})
    if record.exc_info and record.exc_info[1]:
        line["reason"] = _told_by(record, record.exc_info[1])
    return line


def _told_by(record: logging.LogRecord, exception: BaseException) -> str:
    """The driver tells of every try to reach a database that is away: what it met is enough, its frames are its own."""
    return type(exception).__name__ if record.name.startswith("asyncpg") else story_of(exception)


def as_json(line: Line) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def as_people_read_it(line: Line) -> bytes:
    fields = line.copy()
    moment, level, text = (fields.pop(name) for name in ("time", "level", "message"))
    reason = fields.pop("reason", None)
    if "route" in fields:
        method, route = fields.pop("method") or "-", fields.pop("route") or "-"
        text = f"{method:7} {route} {fields.pop('status')} {fields.pop('duration_ms') or 0} ms"
    text += "".join(f" {name}={value}" for name, value in fields.items())
    said = f"{moment.astimezone():%H:%M:%S} {level:7} {text}"
    return (f"{said}\n{reason}\n" if reason else f"{said}\n").encode(errors="backslashreplace")


@cache
def _name_of(level: int) -> str:
    return logging.getLevelName(level).lower()
