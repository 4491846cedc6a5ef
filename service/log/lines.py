"""The log: one format for every line on standard output, JSON or text for people."""

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

from service.errors import LoggableError
from service.log.line_writer import LineWriter

LogFormat = Literal["auto", "json", "text"]

# "time", "level" and "message", and further fields.
LogLine: TypeAlias = dict[str, Any]


class Stream(Protocol):
    def write(self, line: bytes, /) -> object: ...


class LogOutput(logging.Handler):
    """The handler of all log lines. The access log calls `say` directly: a LogRecord would cost more than the line."""

    def __init__(self, layout: Callable[[LogLine], bytes], stream: Stream, worker: int | None = None) -> None:
        super().__init__()
        self._layout = layout
        self._stream = stream
        self._worker = worker  # the number of this process among several
        self.ids_of_trace: Callable[[], dict[str, str]] | None = None  # fields of each line; None: no traces

    @property
    def dropped(self) -> int:
        """Lines that the reader did not take, since the start."""
        return self._stream.dropped if isinstance(self._stream, LineWriter) else 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _line_of(record)
            if self._layout is as_text:
                line["message"] = getattr(record, "as_text", line["message"])
            self.say(line)
        except Exception:  # noqa: BLE001 - as in every handler: logging must not fail its caller
            self.handleError(record)

    def say(self, line: LogLine) -> None:
        if self.ids_of_trace is not None:
            line |= self.ids_of_trace()
        try:
            if self._worker is not None:
                line["worker"] = self._worker
            layout = self._layout
            self._stream.write(layout(line))
        except OSError:  # the reader has closed, or a disk is full: no reason to fail the request
            self.handleError(logging.makeLogRecord({"msg": line["message"]}))


def configure(level: str, log_format: LogFormat, *, serves: bool = True, worker: int | None = None) -> LogOutput:
    """Sets up logging for this process. Of Sanic's own loggers only warnings and errors pass.

    A process that serves never waits for the reader of its log; a command does, as it does for what it prints."""
    is_text = sys.stdout.isatty() if log_format == "auto" else log_format == "text"
    layout = as_text if is_text else as_json
    fd, waits = sys.stdout.fileno(), not serves
    stream = FileIO(fd, "w", closefd=False) if waits else LineWriter(fd, lambda dropped: layout(_report(dropped)))
    output = LogOutput(layout, stream, worker)
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


def _report(dropped: int) -> LogLine:
    message = f"{dropped} lines of the log were dropped"
    return {"time": datetime.now(UTC), "level": "warning", "message": message, "dropped": dropped}


def traceback_without_messages(exception: BaseException) -> str:
    """Traceback and type of an exception and of its causes. The message is left out, because it may quote a password of
    the request, except where the class promises that it does not."""
    before = exception.__cause__ or exception.__context__
    frames = "".join(traceback.format_tb(exception.__traceback__))
    message = f": {exception}" if isinstance(exception, LoggableError) else ""
    return f"{traceback_without_messages(before) if before else ''}{frames}{type(exception).__name__}{message}\n"


def _line_of(record: logging.LogRecord) -> LogLine:
    line: LogLine = {
        "time": datetime.fromtimestamp(record.created, UTC),
        "level": _level_name(record.levelno),
        "message": record.getMessage(),
    }
    line |= getattr(record, "fields", {})
    if record.exc_info and record.exc_info[1]:
        line["reason"] = _reason_of(record, record.exc_info[1])
    return line


def _reason_of(record: logging.LogRecord, exception: BaseException) -> str:
    """The traceback. For asyncpg only the exception's type: it logs every try to reach a database that is away."""
    return type(exception).__name__ if record.name.startswith("asyncpg") else traceback_without_messages(exception)


def as_json(line: LogLine) -> bytes:
    return orjson.dumps(line, option=orjson.OPT_UTC_Z | orjson.OPT_APPEND_NEWLINE)


def as_text(line: LogLine) -> bytes:
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
def _level_name(level: int) -> str:
    return logging.getLevelName(level).lower()
