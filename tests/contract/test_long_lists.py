"""Long lists of both contracts and long exports: sent in pieces, with the same bytes as in one piece."""

import json
import re
import socket
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from service.api import models as february
from service.domain.tasks import LIST_LIMIT
from service.http.json_stream import MAX_PAGE_ROWS, PIECE_BYTES, ROWS_AT_ONCE
from service.v1 import models as january
from tests.support import FEBRUARY, FRONTEND, JANUARY, Contract, Service, User, peak_of_memory

EXPORT = "/api/auth/me/export"
LONG_ANSWERS = ("/api/tasks", "/v1/api/tasks", EXPORT)

# A control character is one byte in the database and six in the answer, an emoji four in both.
SIZES = {
    "small": "'two litres'",
    "largest": "repeat(CASE WHEN n %% 10 = 0 THEN '🙂' ELSE chr(1) END, 1999) || '.'",
    "first large, then small": "CASE WHEN n < 400 THEN repeat('\"', 1500) END",
    "first small, then large": "CASE WHEN n > 400 THEN repeat('🙂\\', 700) || '.' END",
}
FILL = """
INSERT INTO tasks (
    user_id, title, description, is_completed, created_at, updated_at, due_on, due_time, time_zone, priority, tags,
    completed_at
)
SELECT
    %s, 'Task ' || n, {description}, n %% 3 = 0, now() - n / 4 * interval '1 second', now(),
    CASE WHEN n %% 2 = 0 THEN date '2026-12-24' + n END, CASE WHEN n %% 4 = 0 THEN time '09:05' END,
    CASE WHEN n %% 8 = 0 THEN 'Europe/Berlin' END, n %% 4,
    CASE n %% 3 WHEN 0 THEN '[]' WHEN 1 THEN '["home"]' ELSE '["🙂", "\\"\\\\", "home"]' END::jsonb,
    CASE WHEN n %% 3 = 0 THEN now() - interval '1 hour' END
FROM generate_series(1, %s) AS n
"""
LARGE = FILL.format(description=SIZES["largest"])
# The form of the answer, where it is not that of the column.
STORED = {
    "due_time": "to_char(due_time, 'HH24:MI')",
    "priority": "(ARRAY['none', 'low', 'medium', 'high'])[1 + priority]",
}
NEWEST_FIRST = "SELECT id::text FROM tasks WHERE user_id = %s ORDER BY created_at DESC, id DESC LIMIT %s"


def as_sent(value: object) -> str:
    return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}" if isinstance(value, datetime) else str(value)


def list_in_one_piece(database: psycopg.Connection, user: User, flag: str, limit: int = LIST_LIMIT) -> bytes:
    """The expected "tasks" part of the answer, built from the rows without the service's code."""
    fields = (january.Task if flag == JANUARY.flag else february.Task).model_fields
    columns = ", ".join(STORED.get(name, FEBRUARY.flag if name == flag else name) for name in fields)
    query = NEWEST_FIRST.replace("id::text", columns)
    rows = database.execute(query.encode(), [user.id, limit]).fetchall()
    items = [dict(zip(fields, row, strict=True)) for row in rows]
    return b'"tasks":' + json.dumps(items, ensure_ascii=False, separators=(",", ":"), default=as_sent).encode()


def end_of(answer: httpx.Response, contract: Contract) -> bytes:
    """What follows the tasks. The cursor is opaque: its own tests are in test_list_cursors.py."""
    if contract is JANUARY:
        return b"}"
    return b',"next_cursor":' + json.dumps(answer.json()["next_cursor"]).encode() + b"}"


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [ROWS_AT_ONCE, ROWS_AT_ONCE + 1, MAX_PAGE_ROWS, MAX_PAGE_ROWS + 1, LIST_LIMIT + 1])
def test_list_of_any_length_equals_the_bytes_of_one_made_in_one_piece(
    ann: User, bob: User, database: psycopg.Connection, contract: Contract, size: str, count: int
) -> None:
    database.execute(FILL.format(description=SIZES[size]).encode(), [ann.id, count])
    bob.creates(FEBRUARY)

    answer = ann.get(f"{contract.prefix}/tasks")

    assert answer.status_code == 200
    assert answer.content == b"{" + list_in_one_piece(database, ann, contract.flag) + end_of(answer, contract)
    assert (answer.json().get("next_cursor") is not None) is (contract is FEBRUARY and count > LIST_LIMIT)


@pytest.mark.parametrize("size", SIZES)
def test_long_export_equals_the_bytes_of_one_made_in_one_piece(
    ann: User, database: psycopg.Connection, size: str
) -> None:
    database.execute(FILL.format(description=SIZES[size]).encode(), [ann.id, LIST_LIMIT + 300])

    answer = ann.get(EXPORT)

    expected = list_in_one_piece(database, ann, "is_completed", LIST_LIMIT + 300)
    assert answer.content.endswith(b"," + expected + b"}")
    assert list(answer.json()) == ["exported_at", "user", "tasks"]


def test_short_list_has_a_content_length_and_a_long_one_is_chunked(
    ann: User, bob: User, database: psycopg.Connection
) -> None:
    database.execute(FILL.format(description=SIZES["small"]).encode(), [ann.id, MAX_PAGE_ROWS])
    short = ann.get("/api/tasks")
    ann.creates(FEBRUARY)
    by_rows = ann.get("/api/tasks")
    database.execute(LARGE.encode(), [bob.id, ROWS_AT_ONCE + 1])
    by_bytes = bob.get("/api/tasks")

    assert short.headers["Content-Length"] == str(len(short.content))
    for long in (by_rows, by_bytes):
        assert long.headers["Transfer-Encoding"] == "chunked"
        assert "Content-Length" not in long.headers
    assert [len(answer.json()["tasks"]) for answer in (short, by_rows, by_bytes)] == [
        MAX_PAGE_ROWS,
        MAX_PAGE_ROWS + 1,
        ROWS_AT_ONCE + 1,
    ]


@pytest.mark.parametrize("path", LONG_ANSWERS)
def test_long_list_has_the_usual_headers_and_log_line(
    service: Service, ann: User, database: psycopg.Connection, path: str
) -> None:
    database.execute(LARGE.encode(), [ann.id, 100])
    request_id = f"long-{ann.id}"

    answer = ann.get(path, headers={"Origin": FRONTEND, "X-Request-ID": request_id})

    assert {name: answer.headers[name] for name in ("Access-Control-Allow-Origin", "X-Request-ID")} == {
        "Access-Control-Allow-Origin": FRONTEND,
        "X-Request-ID": request_id,
    }
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.headers["Cache-Control"], answer.headers["Vary"]) == ("no-store", "Origin")
    [line] = service.lines_of(request_id)
    assert (line["message"], line["status"], line["route"]) == ("request", 200, path)


def errors(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["level"] == "error"]


@pytest.mark.parametrize("path", LONG_ANSWERS)
def test_head_of_a_long_list_has_no_body_and_keeps_the_connection_open(
    service: Service, ann: User, database: psycopg.Connection, path: str
) -> None:
    database.execute(LARGE.encode(), [ann.id, 100])
    head = f"Host: x\r\nAuthorization: Bearer {ann.token}\r\n\r\n"
    before = errors(service)

    answer = service.raw(
        f"HEAD {path} HTTP/1.1\r\n{head}GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    )

    first, second = answer.split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert first.endswith(b"\r\n\r\n")
    assert first.count(b"\r\n\r\n") == 1
    assert second.endswith(b'{"status":"alive"}')
    assert errors(service) == before


@pytest.mark.parametrize("path", LONG_ANSWERS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("connection", ["", "Connection: keep-alive\r\n"], ids=["close", "keep-alive"])
def test_long_list_over_http_1_0_is_not_chunked_and_ends_with_the_connection(
    service: Service, ann: User, database: psycopg.Connection, path: str, method: str, connection: str
) -> None:
    database.execute(LARGE.encode(), [ann.id, 100])
    request = f"{method} {path} HTTP/1.0\r\nHost: x\r\n{connection}Authorization: Bearer {ann.token}\r\n\r\n"

    head, _, body = service.raw(request.encode()).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nconnection: close" in head
    flag = "completed" if path.startswith("/v1") else "is_completed"
    end = b',"next_cursor":null}' if path == "/api/tasks" else b"}"
    assert body.endswith(list_in_one_piece(database, ann, flag) + end) if method == "GET" else not body


@contextmanager
def half_way(service: Service, user: User, path: str) -> Iterator[socket.socket]:
    """A connection whose answer has begun and waits for the client to read on."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: cut\r\nAuthorization: Bearer {user.token}\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(request.encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        yield connection


def rest_of(connection: socket.socket) -> bytes:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    received = bytearray()
    with suppress(ConnectionResetError):
        while not received.endswith(b"\r\n0\r\n\r\n") and (more := connection.recv(65536)):
            received += more
    return bytes(received)


def received(connection: socket.socket, at_least: int) -> int:
    """Bytes of the answer that were read, without keeping them."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1_000_000)
    size = 0
    while size < at_least and (more := connection.recv(65536)):
        size += len(more)
    return size


def check_it_is_cut_off(service: Service, connection: socket.socket, reason: str) -> None:
    assert not rest_of(connection).endswith(b"0\r\n\r\n")
    lines = [line for line in service.lines_of("cut") if line["message"] == "an answer was cut off"]
    assert [(line["level"], line["reason"]) for line in lines] == [("error", reason)]
    assert service.http.get("/health/live").status_code == 200  # any later log line would be written by now
    assert [line["message"] for line in service.lines() if line["level"] != "info"] == ["an answer was cut off"]


@pytest.mark.parametrize("path", LONG_ANSWERS)
def test_error_in_the_middle_of_a_long_list_closes_the_connection_and_logs_one_line(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection, path: str
) -> None:
    service = start_service(STATEMENT_TIMEOUT=0.5)
    database.execute(LARGE.encode(), [ann.id, LIST_LIMIT])
    with half_way(service, ann, path) as connection, database.transaction():
        database.execute("LOCK TABLE tasks")
        check_it_is_cut_off(service, connection, "a lock was not released within STATEMENT_TIMEOUT")


@pytest.mark.parametrize("path", LONG_ANSWERS)
def test_long_list_of_an_account_that_is_deleted_meanwhile_is_cut_off(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection, path: str
) -> None:
    service = start_service()
    database.execute(LARGE.encode(), [ann.id, LIST_LIMIT])
    with half_way(service, ann, path) as connection:
        database.execute("DELETE FROM users WHERE id = %s", [ann.id])
        check_it_is_cut_off(service, connection, "the user does not exist any more, or has revoked the token")


@pytest.mark.parametrize("path", LONG_ANSWERS)
def test_writes_during_a_long_list_succeed_and_unchanged_tasks_are_listed_once(
    service: Service, ann: User, database: psycopg.Connection, path: str
) -> None:
    database.execute(LARGE.encode(), [ann.id, LIST_LIMIT - 10])
    before = [row[0] for row in database.execute(NEWEST_FIRST, [ann.id, LIST_LIMIT]).fetchall()]
    with half_way(service, ann, path) as connection:
        assert ann.put(f"/api/tasks/{before[-1]}", {"title": "changed meanwhile"}).status_code == 200
        for task_id in before[-20:-10]:
            assert ann.delete(f"/api/tasks/{task_id}").status_code == 200
        ann.creates(FEBRUARY, "created meanwhile")
        body = rest_of(connection)

    sent = Counter(each.decode() for each in re.findall(rb'"id":"([0-9a-f-]{36})"', body))
    listed = [task_id for task_id in before if task_id in sent]
    assert listed[-10:] == before[-10:]
    assert not set(before[-20:-10]) & set(listed)
    assert set(before[100:-20]) <= set(listed)
    assert set(sent.values()) == {1}
    assert b'"title":"changed meanwhile"' in body
    assert b"created meanwhile" not in body


@pytest.mark.parametrize("sort", ["-updated_at", "-priority"])
def test_a_task_that_moves_while_its_page_is_sent_keeps_its_place_and_is_sent_as_it_is_then(
    service: Service, ann: User, database: psycopg.Connection, sort: str
) -> None:
    """Both changes would make it the first of its list."""
    database.execute(LARGE.encode(), [ann.id, LIST_LIMIT])
    same_place = "UPDATE tasks SET priority = 1, due_on = NULL, due_time = NULL, time_zone = NULL WHERE user_id = %s"
    database.execute(same_place, [ann.id])
    before = [row[0] for row in database.execute(NEWEST_FIRST, [ann.id, LIST_LIMIT]).fetchall()]
    with half_way(service, ann, f"/api/tasks?sort={sort}") as connection:
        moved = ann.put(f"/api/tasks/{before[-1]}", {"title": "moved", "priority": "high"}).json()
        body = rest_of(connection)

    listed = re.findall(rb'"id":"([0-9a-f-]{36})"', body)
    assert [each.decode() for each in listed] == before[-len(listed) :]
    assert len(listed) > LIST_LIMIT // 2
    assert json.dumps(moved, separators=(",", ":"), ensure_ascii=False).encode() in body


def test_list_of_2000_tasks_returns_the_newest_1000(
    ann: User, database: psycopg.Connection, contract: Contract
) -> None:
    database.execute(FILL.format(description=SIZES["small"]).encode(), [ann.id, 2 * LIST_LIMIT])

    listed: list[Any] = ann.get(f"{contract.prefix}/tasks").json()["tasks"]

    newest = [row[0] for row in database.execute(NEWEST_FIRST, [ann.id, LIST_LIMIT]).fetchall()]
    assert [task["id"] for task in listed] == newest


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_20_clients_that_stop_reading_a_13_mb_list_take_less_than_60_mb(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(WRITE_TIMEOUT=600)
    database.execute(LARGE.encode(), [ann.id, LIST_LIMIT])
    before = peak_of_memory(service)
    with ExitStack() as stack:
        readers = [stack.enter_context(half_way(service, ann, "/api/tasks")) for _ in range(20)]
        assert service.http.get("/health/live").status_code == 200
        begun = [received(reader, 8_000_000) for reader in readers]  # then each waits for the others
        sizes = [size + len(rest_of(reader)) for size, reader in zip(begun, readers, strict=True)]

    assert min(sizes) > 11_000_000
    assert peak_of_memory(service) - before < 60_000_000


def test_client_that_leaves_during_a_long_list_causes_no_error_and_frees_its_turn(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service()
    database.execute(LARGE.encode(), [ann.id, LIST_LIMIT])
    for _ in range(5):
        with half_way(service, ann, "/api/tasks") as connection:
            connection.recv(4 * PIECE_BYTES)

    with httpx.Client(base_url=service.url, timeout=60) as client:
        assert len(User(client, ann.id, ann.email, ann.token).get("/api/tasks").json()["tasks"]) == LIST_LIMIT
    assert {line["level"] for line in service.lines()} == {"info"}
