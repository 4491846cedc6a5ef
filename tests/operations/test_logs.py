"""The log: one line for each request, in JSON or text, without secrets."""

import datetime as dt
import json
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from service.log.lines import LogLine, LogOutput, as_json, as_text
from tests import support
from tests.support import OLD_SECRET, PASSWORD, SECRET, Service, User, new_email, sign_up


@pytest.mark.parametrize(
    ("method", "path", "route", "status"),
    [
        ("GET", "/api/tasks", "/api/tasks", 200),
        ("GET", "/v1/api/tasks/1?x=y", "/v1/api/tasks/{task_id}", 404),
        ("DELETE", "/api/tasks/1", "/api/tasks/{task_id}", 404),
        ("HEAD", "/health", "/health", 200),
        ("GET", "/nowhere/<script>", None, 404),
        ("PATCH", "/api/tasks", None, 405),
        ("OPTIONS", "/api/tasks", None, 204),
    ],
)
def test_a_request_is_logged_in_one_line(
    service: Service, ann: User, method: str, path: str, route: str | None, status: int
) -> None:
    request_id = f"log-{uuid4()}"

    ann.request(method, path, headers={"X-Request-ID": request_id})

    [line] = service.lines_of(request_id)
    authenticated = route is not None and "tasks" in route
    assert line == {
        "time": line["time"],
        "level": "info",
        "message": "request",
        "request_id": request_id,
        "method": method,
        "route": route,
        "status": status,
        "duration_ms": line["duration_ms"],
    } | ({"user_id": ann.id} if authenticated else {})
    assert dt.datetime.fromisoformat(line["time"]).utcoffset() == dt.timedelta(0)
    assert line["duration_ms"] >= 0


def test_every_log_line_is_json_after_malformed_requests(service: Service) -> None:
    for sent in (
        b"G\nET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: \xff\nx\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-Request-ID: a\nb\r\nConnection: close\r\n\r\n",
        b"\x80\x81 /\x1b[31m HTTP/1.1\r\n\r\n",
    ):
        service.raw(sent)

    assert all({"time", "level", "message"} <= line.keys() for line in service.lines())


@pytest.mark.parametrize(
    ("request_line", "method", "status"),
    [
        (b"G'^T / HTTP/1.1", "G'^T", 405),
        (b"get / HTTP/1.1", "get", 405),
        (b"G\nET / HTTP/1.1", None, 400),
        (b"G\x1b[31mET / HTTP/1.1", None, 400),
        (b"G\xffT / HTTP/1.1", None, 400),
        (b"nonsense", None, 400),
    ],
)
def test_the_method_is_logged_as_sent_and_as_null_for_a_refused_head(
    service: Service, request_line: bytes, method: str | None, status: int
) -> None:
    service.raw(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")

    line = service.lines()[-1]
    assert (line["method"], line["route"], line["status"]) == (method, None, status)


def test_the_log_has_no_lines_of_sanic(service: Service) -> None:
    first, *rest = service.lines()

    assert first["message"].startswith(f"ready: API {service.url}, documentation {service.url}/docs, data in ")
    assert {line["message"] for line in rest if not line["message"].startswith("the origin ")} <= {
        "request",
        "a stored password hash is malformed; its owner cannot log in",
    }


def test_no_secret_reaches_the_log(service: Service, database: psycopg.Connection) -> None:
    user = sign_up(service.http)
    for attempt in (
        {"email": user.email, "password": PASSWORD},
        {"email": user.email, "password": PASSWORD, "title": PASSWORD},
        {"email": user.email, "password": [PASSWORD]},
        {"email": PASSWORD, "password": "short"},
    ):
        service.http.post("/api/auth/login", json=attempt)
        service.http.post("/v1/api/auth/signup", json=attempt)
    user.get(f"/api/tasks/{user.token}")
    service.http.get(f"/api/tasks?token={user.token}", headers={"Authorization": f"Bearer {user.token}x"})
    row = database.execute("SELECT password_hash FROM users WHERE id = %s", [user.id]).fetchone()
    assert row is not None

    logged = service.log.read_text()

    assert user.id in logged
    for secret in (PASSWORD, SECRET, OLD_SECRET, user.token, user.token.rpartition(".")[2], row[0], "$2b$", user.email):
        assert secret not in logged


@pytest.mark.parametrize("layout", [as_json, as_text])
def test_an_exception_is_logged_without_its_message_and_the_drivers_without_frames(
    layout: Callable[[LogLine], bytes],
) -> None:
    password = "hunter" + "22"
    with pytest.raises(ValueError, match=password) as raised:
        int(password)

    exc_info = (raised.type, raised.value, raised.tb)

    def logged_by(name: str) -> str:
        lines = BytesIO()
        LogOutput(layout, lines).handle(logging.LogRecord(name, logging.ERROR, "", 0, "away", None, exc_info))
        return lines.getvalue().decode()

    ours, drivers = logged_by("service.app"), logged_by("asyncpg.pool")

    assert password not in ours + drivers
    assert "ValueError" in ours
    assert "ValueError" in drivers
    assert ("test_logs.py" in ours, "test_logs.py" in drivers) == (True, False)


def test_a_log_record_that_cannot_be_formatted_does_not_stop_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    lines = BytesIO()
    output = LogOutput(as_json, lines)

    said: list[dict[str, Any]] = [
        {"msg": "%d tasks", "args": ("three",)},
        {"msg": "told", "fields": {"what": object()}},
        {"msg": "told", "fields": {"what": "all"}},
    ]
    for each in said:
        output.handle(logging.makeLogRecord({"levelno": logging.ERROR} | each))

    [line] = lines.getvalue().splitlines()
    assert json.loads(line) | {"time": ""} == {"time": "", "level": "error", "message": "told", "what": "all"}
    assert capsys.readouterr().err.count("--- Logging error ---") == 2


def test_log_format_text_writes_readable_lines(start_service: Callable[..., Service]) -> None:
    service = start_service(LOG_FORMAT="text")

    service.http.get("/nowhere", headers={"X-Request-ID": "text-1"})

    line = next(line for line in service.log.read_text().splitlines() if "text-1" in line)
    assert " info    GET     - 404 " in line
    assert line.endswith(" ms request_id=text-1")


def test_log_level_warning_writes_no_request_lines(tmp_path: Path, database_url: str) -> None:
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "LOG_LEVEL": "warning"}
    with support.running(tmp_path, **settings) as service:
        service.http.post("/api/auth/login", json={"email": new_email(), "password": PASSWORD})

        assert service.log.read_text() == ""
