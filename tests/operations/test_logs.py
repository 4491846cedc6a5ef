"""The log: one line for each request, in JSON or text, without secrets."""

import datetime as dt
import json
import logging
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.http.access_log import shown
from service.log.lines import LogLine, LogOutput, as_json, as_text
from tests import databases, support
from tests.databases import Urls
from tests.documents import DOCS, block, rows, section
from tests.outages import wait_for
from tests.support import OLD_SECRET, PASSWORD, SECRET, Service, User, new_email, sign_up


@pytest.mark.parametrize(
    ("method", "path", "route", "status", "more"),
    [
        ("GET", "/api/tasks", "/api/tasks", 200, {}),
        ("GET", "/v1/api/tasks/1?x=y", "/v1/api/tasks/{task_id}", 404, {"code": "NOT_FOUND"}),
        ("DELETE", "/api/tasks/1", "/api/tasks/{task_id}", 404, {"code": "NOT_FOUND"}),
        ("POST", "/api/tasks", "/api/tasks", 400, {"code": "INVALID_REQUEST"}),
        ("HEAD", "/health", "/health", 200, {}),
        ("GET", "/nowhere?token=secret", None, 404, {"code": "NOT_FOUND", "path": "/nowhere"}),
        ("PATCH", "/api/tasks", None, 405, {"code": "METHOD_NOT_ALLOWED", "path": "/api/tasks"}),
        ("OPTIONS", "/api/tasks", None, 204, {"path": "/api/tasks"}),
    ],
)
def test_a_request_is_logged_in_one_line(
    service: Service, ann: User, method: str, path: str, route: str | None, status: int, more: dict[str, str]
) -> None:
    request_id = f"log-{uuid4()}"

    ann.request(method, path, headers={"X-Request-ID": request_id})

    [line] = service.lines_of(request_id)
    authenticated = route is not None and "tasks" in route
    assert (
        line
        == {
            "time": line["time"],
            "level": "info",
            "message": "request",
            "request_id": request_id,
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": line["duration_ms"],
            "client": "127.0.0.1",
        }
        | ({"user_id": ann.id} if authenticated else {})
        | more
    )
    assert dt.datetime.fromisoformat(line["time"]).utcoffset() == dt.timedelta(0)
    assert line["duration_ms"] >= 0


@pytest.mark.parametrize(
    ("sent", "logged"),
    [
        (b"/wp-login.php", "/wp-login.php"),
        (b"/%0a%22x", "/%0a%22x"),
        (b"/" + b"a" * 198, "/" + "a" * 198),
        (b"/" + b"a" * 199, "/" + "a" * 199),
        (b"/" + b"a" * 200, "/" + "a" * 199 + "..."),
        (b"/" + b"a" * 4000, "/" + "a" * 199 + "..."),
    ],
    ids=["plain", "escaped by the client", "199", "200", "201", "4001"],
)
def test_a_path_without_a_route_is_logged_and_cut(service: Service, sent: bytes, logged: str) -> None:
    service.raw(b"GET " + sent + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    line = service.lines()[-1]
    assert (line["status"], line["route"], line["path"]) == (404, None, logged)


def test_characters_beyond_ascii_are_escaped() -> None:
    assert shown("/\u00e4\n\x1b[31m\U0001f642\u2028'") == r"/\xe4\n\x1b[31m\U0001f642\u2028'"
    assert shown("/" + "\u2028" * 200) == (r"/" + r"\u2028" * 34)[:200] + "..."


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


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7:1234", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("nonsense", "127.0.0.1"),
    ],
)
def test_the_client_is_the_one_that_the_limits_count(
    start_service: Callable[..., Service], sent: str, client: str
) -> None:
    service = start_service(TRUSTED_PROXIES=1)
    service.http.get("/health/live", headers={"X-Forwarded-For": sent, "X-Request-ID": "forwarded"})

    [line] = service.lines_of("forwarded")
    assert line["client"] == client


def test_a_line_of_several_workers_names_the_worker_and_one_of_a_single_worker_does_not(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(WORKERS=2)
    wait_for(lambda: len({line.get("worker") for line in service.lines()} - {None}) == 2)
    for number in range(20):
        with httpx.Client(base_url=service.url, timeout=60, verify=support.TRUST) as http:
            http.get("/health/live", headers={"X-Request-ID": f"workers-{number}"})
    requests = [line for number in range(20) for line in service.lines_of(f"workers-{number}")]

    assert {line["worker"] for line in requests} <= {1, 2}
    assert len(requests) == 20
    alone = start_service()
    alone.http.get("/health/live")
    assert [line for line in alone.lines() if "worker" in line] == []


FAILED_LOGIN = {"email": "nobody@example.com", "password": "wrong horse"}


def test_the_filter_of_the_documents_finds_refused_logins_by_their_client(
    start_service: Callable[..., Service], ann: User, tmp_path: Path
) -> None:
    service = start_service(TRUSTED_PROXIES=1, LOGIN_FAILURES=2)
    clients = {"203.0.113.7": "203.0.113.7", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64"}
    for sent in clients:
        for path in ("/api/auth/login", "/v1/api/auth/login", "/api/auth/login"):
            service.http.post(path, json=FAILED_LOGIN, headers={"X-Forwarded-For": sent})
    here = {"X-Forwarded-For": "198.51.100.1", "User-Agent": '"code":"INVALID_CREDENTIALS"'}
    service.http.post("/api/auth/login", json={"email": ann.email, "password": PASSWORD}, headers=here)
    service.http.get('/"client":"198.51.100.9","code":"INVALID_CREDENTIALS"', headers=here)
    User(service.http, ann.id, ann.email, "no token").get("/api/tasks", headers=here)
    text = block(section(DOCS / "operating.md", "Logs"), "ini")
    [failregex] = re.findall("^failregex = (.*)$", text, re.MULTILINE)
    pattern = re.compile(failregex.replace("<SUBNET>", r"(?P<subnet>[0-9a-f.:]+(?:/[0-9]+)?)"))
    found = [match["subnet"] for match in map(pattern.search, service.log.read_text().splitlines()) if match]

    assert found == [client for client in clients.values() for _ in range(3)]
    if program := shutil.which("fail2ban-regex"):
        (tmp_path / "todo.conf").write_text(text)
        command = [program, "--out", "id", str(service.log), str(tmp_path / "todo.conf")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout.split() == found


def test_the_table_of_the_documents_has_the_fields_of_all_lines(service: Service, ann: User) -> None:
    """But `dropped`, which only a full pipe causes, `worker`, and those of traces."""
    ann.get("/api/tasks")
    ann.http.post("/api/auth/login", json=FAILED_LOGIN)
    ann.http.get("/nowhere")
    fields = {name for line in service.lines() for name in line}
    described = [row.strip("| ").split(" | ") for row in rows(section(DOCS / "operating.md", "Logs"))]

    assert [len(row) for row in described] == [4] * len(described)
    named = {name for row in described for name in re.findall(r"`(\w+)`", row[0])}
    assert named - fields == {"dropped", "reason", "worker", "trace_id", "span_id"} - fields
    assert fields - named == set()


def test_health_of_a_drain_is_no_error_and_of_a_database_that_is_away_is_one(
    own_database: Urls, server_url: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "DRAIN": 5, "STATEMENT_TIMEOUT": 1}
    service = support.start(tmp_path, **settings, POOL_TIMEOUT=1)
    service.wait_until_ready()
    name = databases.name_of(own_database.admin)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        away = service.http.get("/health", headers={"X-Request-ID": "away"})
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    service.process.send_signal(signal.SIGTERM)
    while (drain := service.http.get("/health", headers={"X-Request-ID": "drain"})).status_code != 503:
        pass
    service.wait()

    assert (away.status_code, drain.status_code) == (503, 503)
    assert {line["level"] for line in service.lines_of("away")} == {"error"}
    [*_, line] = service.lines_of("drain")
    assert (line["level"], line["status"], line["reason"]) == ("info", 503, "draining")


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
    assert line.endswith(" ms request_id=text-1 client=127.0.0.1 path=/nowhere code=NOT_FOUND")


def test_log_level_warning_writes_no_request_lines(tmp_path: Path, database_url: str) -> None:
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "LOG_LEVEL": "warning"}
    with support.running(tmp_path, **settings) as service:
        service.http.post("/api/auth/login", json={"email": new_email(), "password": PASSWORD})

        assert service.log.read_text() == ""
