"""Random lists against the model of the contract: tasks, filters, orders and pages, also while tasks are written."""

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.list_model import Query, Task, is_listed, link_to_next, listed, order
from tests.contract.list_strategies import fields, queries, stored_tasks
from tests.support import User

INSERT = """
INSERT INTO tasks (
    user_id, title, description, is_completed, due_on, due_time, priority, tags, created_at, updated_at, completed_at
)
SELECT
    %s, title, description, is_completed, due_on, due_time, array_position(%s, priority) - 1, tags, created_at,
    updated_at, CASE WHEN is_completed THEN updated_at END
FROM jsonb_to_recordset(%s) AS given (
    title text, description text, is_completed boolean, due_on date, due_time time, priority text, tags jsonb,
    created_at timestamptz, updated_at timestamptz
)
"""
MAX_PAGES = 100

tries = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
page_sizes = st.integers(1, 4) | st.sampled_from([5, 7, 250, 1000])


@pytest.fixture
def filled(new_user: Callable[[], User], database: psycopg.Connection) -> Callable[[list[dict[str, Any]]], User]:
    """A new user with these tasks."""

    def fill(tasks: list[dict[str, Any]]) -> User:
        user = new_user()
        priorities = ["none", "low", "medium", "high"]
        database.execute(INSERT.encode(), [user.id, priorities, json.dumps(tasks)])
        return user

    return fill


def all_tasks(user: User) -> list[Task]:
    tasks: list[Task] = user.get("/api/tasks").json()["tasks"]
    return tasks


def next_page(user: User, query: Query, cursor: str | None) -> tuple[list[Task], str | None]:
    """The page behind the cursor, and the cursor of the next one, which the Link repeats."""
    answer = user.get("/api/tasks", params=query if cursor is None else query | {"cursor": cursor})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    link = link_to_next(answer.headers.get("Link"))
    assert (link is None) is (body["next_cursor"] is None) is ("Link" not in answer.headers)
    if link is not None:
        linked = user.http.build_request("GET", link).url.params
        wanted = user.http.build_request("GET", "/", params=query | {"cursor": body["next_cursor"]}).url.params
        assert sorted(linked.multi_items()) == sorted(wanted.multi_items())
    return body["tasks"], body["next_cursor"]


@tries
@given(tasks=st.lists(stored_tasks(), max_size=12), query=queries(), limit=page_sizes)
def test_pages_of_a_random_list_are_those_of_the_model(
    filled: Callable[[list[dict[str, Any]]], User], tasks: list[dict[str, Any]], query: Query, limit: int
) -> None:
    user = filled(tasks)
    wanted = listed(all_tasks(user), query)
    pages, cursor = [], None
    for _ in range(MAX_PAGES):
        page, cursor = next_page(user, query | {"limit": limit}, cursor)
        pages.append(page)
        if cursor is None:
            break

    assert pages == ([wanted[begin : begin + limit] for begin in range(0, len(wanted), limit)] or [[]])


@st.composite
def writes(draw: st.DrawFn) -> tuple[str, int, dict[str, Any]]:
    """A write between two pages: what, to which of the tasks, and the fields of it."""
    kind = draw(st.sampled_from(["create", "update", "delete"]))
    sent = draw(fields())
    if kind == "update":
        sent = dict(draw(st.lists(st.sampled_from(sorted(sent.items(), key=str)), min_size=1, max_size=3)))
        sent = sent | {"is_completed": draw(st.booleans())}
    return kind, draw(st.integers(0, 30)), sent


@tries
@given(
    tasks=st.lists(stored_tasks(), min_size=2, max_size=12),
    query=queries(),
    limit=st.integers(1, 4),
    between=st.lists(st.lists(writes(), max_size=2), max_size=6),
)
def test_a_task_that_is_not_written_while_pages_are_read_is_on_one_page(
    filled: Callable[[list[dict[str, Any]]], User],
    tasks: list[dict[str, Any]],
    query: Query,
    limit: int,
    between: list[list[tuple[str, int, dict[str, Any]]]],
) -> None:
    user = filled(tasks)
    before = all_tasks(user)
    touched: set[str] = set()
    seen: list[Task] = []
    page, cursor = next_page(user, query | {"limit": limit}, None)
    for write_some in between:
        seen += page
        if cursor is None:
            page = []
            break
        for kind, number, sent in write_some:
            touched |= write(user, kind, number, sent, before)
        page, cursor = next_page(user, query | {"limit": limit}, cursor)
        assert len(page) <= limit
        assert page == sorted(page, key=order(query))
        assert all(is_listed(task, query) for task in page)
        assert cursor is None or len(page) == limit
    while cursor is not None:
        seen += page
        page, cursor = next_page(user, query | {"limit": limit}, cursor)
    seen += page

    untouched = [task for task in listed(before, query) if task["id"] not in touched]
    assert [task for task in seen if task["id"] not in touched] == untouched


def write(user: User, kind: str, number: int, sent: dict[str, Any], before: list[Task]) -> set[str]:
    """The ids of the tasks that it touches. A write that is refused, or finds no task, touches none."""
    if kind == "create":
        return {user.post("/api/tasks", sent).json()["id"]}
    task_id = before[number % len(before)]["id"]
    answer = user.put(f"/api/tasks/{task_id}", sent) if kind == "update" else user.delete(f"/api/tasks/{task_id}")
    assert answer.status_code in {200, 400, 404}, answer.text
    return {task_id}
