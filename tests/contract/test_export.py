"""The export: a user's whole data in one document, streamed while the rows are read."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from service.http.json_stream import MAX_PAGE_ROWS
from tests.support import FEBRUARY, JANUARY, Service, User, peak_of_memory

MANY = 6 * MAX_PAGE_ROWS + 7

BIG = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat('x', 2000) FROM generate_series(1, %s) AS n
"""

FILL = """
INSERT INTO tasks (user_id, title, description, created_at)
SELECT %s, 'Task ' || n, CASE WHEN n %% 2 = 0 THEN 'two litres' END, now() - n / 10 * interval '1 second'
FROM generate_series(1, %s) AS n
"""


def test_export_holds_the_user_and_every_task_as_the_list_does(ann: User, bob: User) -> None:
    created = [ann.creates(FEBRUARY, "first", description="with a \u2028 and a 🙂"), ann.creates(JANUARY, "second")]
    bob.creates(FEBRUARY)

    answer = ann.get("/api/auth/me/export")

    body = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert list(body) == ["exported_at", "user", "tasks"]
    assert body["user"] == ann.get("/api/auth/me").json()["user"]
    assert body["tasks"] == ann.get("/api/tasks").json()["tasks"]
    assert [task["id"] for task in body["tasks"]] == [created[1]["id"], created[0]["id"]]
    assert datetime.now(UTC) - datetime.fromisoformat(body["exported_at"]) < timedelta(minutes=1)
    assert body["exported_at"].endswith("Z")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "X-Request-ID" in answer.headers


def test_export_without_tasks_holds_an_empty_list(ann: User) -> None:
    assert ann.get("/api/auth/me/export").json()["tasks"] == []


@pytest.mark.parametrize("count", [MAX_PAGE_ROWS, MAX_PAGE_ROWS + 1, MANY])
def test_export_is_complete_for_any_number_of_tasks(ann: User, database: psycopg.Connection, count: int) -> None:
    database.execute(FILL, [ann.id, count])

    exported = ann.get("/api/auth/me/export").json()["tasks"]

    expected = database.execute(
        "SELECT id::text, title, description FROM tasks WHERE user_id = %s ORDER BY created_at DESC, id DESC", [ann.id]
    ).fetchall()
    assert [(task["id"], task["title"], task["description"]) for task in exported] == expected
    assert len(exported) == count


def test_export_holds_no_password_hash(ann: User, password_hash: str) -> None:
    assert password_hash not in ann.get("/api/auth/me/export").text


def test_head_of_the_export_returns_200_without_a_body(service: Service, ann: User) -> None:
    before = len(service.lines())
    ann.creates(FEBRUARY)

    answer = ann.request("HEAD", "/api/auth/me/export")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["Content-Type"] == "application/json"
    assert ann.get("/api/tasks").status_code == 200  # on the same connection
    told = [line["message"] for line in service.lines()[before:]]
    assert told == ["request"] * 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of a process from /proc")
def test_export_of_40_mb_takes_less_than_20_mb_of_memory(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service()
    database.execute(BIG, [ann.id, 20_000])
    before = peak_of_memory(service)
    size = 0
    headers = {"Authorization": f"Bearer {ann.token}"}
    with service.http.stream("GET", "/api/auth/me/export", headers=headers) as answer:
        for chunk in answer.iter_bytes():
            size += len(chunk)

    assert size > 40_000_000
    assert peak_of_memory(service) - before < 20_000_000
