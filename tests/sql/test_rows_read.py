"""Statements on tasks read only the rows that they return, counted in the plans of EXPLAIN ANALYZE.

So their cost does not grow with the database, and only that of the list grows with the user's tasks.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.auth.token_users import CHECK_TOKEN
from service.db.statements import Statement
from service.domain.tasks import (
    CREATE_TASK,
    DELETE_TASK,
    GET_TASK,
    LIST_TASKS,
    LIST_TASKS_AFTER,
    NO_CHANGES,
    NO_FIELDS,
    UPDATE_TASK,
)
from service.review.plans import Plan, nodes
from tests.plans import TASKS_EACH

# Rows that were read and then dropped, by the keys of a plan.
REMOVED = ("Rows Removed by Filter", "Rows Removed by Index Recheck", "Rows Removed by Join Filter")

Read = Callable[..., tuple[int, int]]
Find = Callable[..., Any]


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def connection(seeded_url: str, runner: asyncio.Runner) -> Iterator["asyncpg.Connection[asyncpg.Record]"]:
    """In a transaction that is rolled back."""
    connection = runner.run(asyncpg.connect(seeded_url))
    transaction = connection.transaction()
    runner.run(transaction.start())
    yield connection
    runner.run(transaction.rollback())
    runner.run(connection.close())


@pytest.fixture
def find(connection: "asyncpg.Connection[asyncpg.Record]", runner: asyncio.Runner) -> Find:
    def find(query: str, *values: object) -> Any:
        async def run() -> Any:
            return await connection.fetchval(query, *values)

        return runner.run(run())

    return find


@pytest.fixture(params=["custom", "generic"])
def read(request: pytest.FixtureRequest, find: Find) -> Read:
    """Returns how many rows a statement reads from tables and indexes, and how many it returns."""
    find(f"SET LOCAL plan_cache_mode = force_{request.param}_plan")

    def read(statement: Statement, **values: object) -> tuple[int, int]:
        literals = ", ".join("NULL" if value is None else f"'{value}'" for value in statement.arguments(values))
        find(f"PREPARE prepared AS {statement.text}")
        explained = find(f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE prepared ({literals})")
        find("DEALLOCATE prepared")
        plan: Plan = json.loads(explained)[0]["Plan"]
        return sum(rows_read(node) for node in nodes(plan)), round(plan["Actual Rows"])

    return read


def rows_read(node: Plan) -> int:
    """The rows that a plan node reads from a table itself, without those from the nodes below it."""
    if "Relation Name" not in node or node["Node Type"] == "ModifyTable":
        return 0
    each = float(node["Actual Rows"]) + sum(float(node.get(key, 0)) for key in REMOVED)
    return round(each * float(node["Actual Loops"]))


@pytest.fixture(params=[TASKS_EACH, 2])
def tasks(request: pytest.FixtureRequest) -> int:
    """The number of the user's tasks."""
    count: int = request.param
    return count


@pytest.fixture
def user(find: Find, tasks: int) -> UUID:
    user: UUID = find("SELECT id FROM users WHERE email = 'user77@example.com'")
    find(
        "DELETE FROM tasks WHERE id IN (SELECT id FROM tasks WHERE user_id = $1 ORDER BY created_at OFFSET $2)",
        user,
        tasks,
    )
    return user


@pytest.fixture
def task(find: Find, user: UUID) -> UUID:
    newest: UUID = find("SELECT id FROM tasks WHERE user_id = $1 ORDER BY created_at DESC LIMIT 1", user)
    return newest


def test_a_list_reads_only_the_rows_that_it_returns_and_the_counter(read: Read, user: UUID, tasks: int) -> None:
    assert read(LIST_TASKS, user_id=user, max_rows=1000) == (tasks + 1, tasks)
    assert read(LIST_TASKS, user_id=user, max_rows=1) == (1 + 1, 1)


def test_a_page_reads_only_the_rows_that_it_returns(read: Read, find: Find, user: UUID, task: UUID, tasks: int) -> None:
    after = {"created_at": find("SELECT created_at FROM tasks WHERE id = $1", task), "task_id": task}

    assert read(LIST_TASKS_AFTER, user_id=user, **after, max_rows=1000) == (tasks - 1, tasks - 1)


def test_a_read_of_one_task_reads_one_row_and_a_write_two(read: Read, user: UUID, task: UUID) -> None:
    changed = NO_CHANGES | {"set_is_completed": True, "is_completed": True, "versions": None}

    assert read(GET_TASK, user_id=user, task_id=task) == (1, 1)
    assert read(UPDATE_TASK, user_id=user, task_id=task, **changed) == (
        2,
        1,
    )  # the task, before and after the counter is locked
    assert read(DELETE_TASK, user_id=user, task_id=task, versions=None, kept_days=91) == (
        2,
        1,
    )  # the counter and the task


def test_a_create_reads_no_row(read: Read, user: UUID) -> None:
    assert read(CREATE_TASK, **NO_FIELDS | {"user_id": user, "title": "x", "max_tasks": 10_000}) == (0, 1)


def test_a_token_check_reads_one_row(read: Read, user: UUID) -> None:
    assert read(CHECK_TOKEN, user_id=user, token_generation=0) == (1, 1)


def test_a_task_of_another_user_is_read_at_most_once(read: Read, find: Find, user: UUID) -> None:
    others: UUID = find("SELECT id FROM tasks WHERE user_id <> $1 LIMIT 1", user)

    seen, answered = read(GET_TASK, user_id=user, task_id=others)
    assert (seen <= 1, answered) == (True, 0)
