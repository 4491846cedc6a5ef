"""Every write to an owner's tasks takes its locks in one order: the counter, then the account, then the tasks."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from service.db.admin_session import rows
from service.db.database import LOCK_COUNTER
from service.db.statements import Statement
from service.domain.account_changes import BEFORE_ALL_IDS, DELETE_TASKS, DELETE_USER
from service.domain.tasks import CREATE_TASK, DELETE_TASK, GET_TASK, NO_CHANGES, NO_FIELDS, RECOUNT_TASKS, UPDATE_TASK
from tests.databases import Urls
from tests.support import new_email

Asks = Callable[..., "Future[list[dict[str, Any]]]"]


@pytest.fixture
def other(urls: Urls) -> Iterator[psycopg.Connection]:
    """A transaction that holds the counter of an owner."""
    with psycopg.connect(urls.admin) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def asks(urls: Urls) -> Iterator[Asks]:
    """Starts a statement in another session, and returns once it waits for a lock."""
    with ThreadPoolExecutor(1) as threads, psycopg.connect(urls.admin, autocommit=True) as session:
        # In a deadlock the other session is the one that fails: rows() sends a statement again that does.
        session.execute("SET deadlock_timeout = '1min'")

        def ask(statement: Statement, **values: object) -> "Future[list[dict[str, Any]]]":
            asked = threads.submit(rows, session, statement, **values)
            wait_until_blocked(urls.admin, session.info.backend_pid)
            return asked

        yield ask


def wait_until_blocked(url: str, pid: int) -> None:
    deadline = time.monotonic() + 30
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute("SELECT pg_blocking_pids(%s) = '{}'", [pid]).fetchone() == (True,):
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def owner(other: psycopg.Connection) -> str:
    insert = "INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id"
    [[user_id]] = other.execute(insert.encode(), [new_email()])
    other.execute("INSERT INTO task_counters (user_id, task_count, counted_at) VALUES (%s, 1, now())", [user_id])
    other.execute("INSERT INTO tasks (user_id, title) VALUES (%s, 'x')", [user_id])
    other.commit()
    return str(user_id)


def task_of(other: psycopg.Connection, owner: str) -> str:
    [[task_id]] = other.execute("SELECT id FROM tasks WHERE user_id = %s", [owner])
    return str(task_id)


LOCK = "SELECT FROM task_counters WHERE user_id = %s FOR UPDATE"


def test_a_deletion_that_waits_for_a_create_holds_nothing_that_the_create_needs(
    other: psycopg.Connection, asks: Asks, owner: str
) -> None:
    other.execute(LOCK, [owner])
    asked = asks(DELETE_USER, user_id=owner, token_generation=0)

    # The foreign key locks the account.
    other.execute("INSERT INTO tasks (user_id, title) VALUES (%s, 'made meanwhile')", [owner])
    other.commit()

    assert [str(row["id"]) for row in asked.result()] == [owner]
    assert other.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [owner]).fetchone() == (0,)


@pytest.mark.parametrize("statement", [DELETE_TASK, DELETE_TASKS], ids=["task", "piece"])
def test_a_delete_of_tasks_that_waits_for_the_deletion_of_the_account_holds_no_task(
    other: psycopg.Connection, asks: Asks, owner: str, statement: Statement
) -> None:
    one = {"user_id": owner, "task_id": task_of(other, owner), "versions": None, "kept_days": 91}
    piece = {"user_id": owner, "token_generation": 0, "after_id": BEFORE_ALL_IDS, "max_tasks": 1}
    other.execute(LOCK, [owner])
    asked = asks(statement, **(one if statement is DELETE_TASK else piece))

    other.execute("DELETE FROM users WHERE id = %s", [owner])  # its tasks too
    other.commit()

    asked.result()
    assert rows(other, statement, **(one if statement is DELETE_TASK else piece)) == []


@pytest.mark.parametrize("statement", [CREATE_TASK, UPDATE_TASK, LOCK_COUNTER], ids=lambda statement: statement.name)
def test_a_write_that_waits_for_the_deletion_of_the_account_is_refused_by_the_foreign_key(
    other: psycopg.Connection, asks: Asks, owner: str, statement: Statement
) -> None:
    values = {
        CREATE_TASK.name: NO_FIELDS | {"title": "late", "max_tasks": 9},
        UPDATE_TASK.name: NO_CHANGES | {"task_id": task_of(other, owner), "versions": None},
        LOCK_COUNTER.name: {},
    }
    other.execute(LOCK, [owner])
    asked = asks(statement, user_id=owner, **values[statement.name])

    other.execute("DELETE FROM users WHERE id = %s", [owner])
    other.commit()

    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        asked.result()


@pytest.mark.parametrize("statement", [UPDATE_TASK, DELETE_TASK], ids=lambda statement: statement.name)
def test_a_write_with_versions_that_waits_for_an_update_of_its_task_returns_no_row(
    other: psycopg.Connection, asks: Asks, owner: str, statement: Statement
) -> None:
    one = {"user_id": owner, "task_id": task_of(other, owner)}
    change = NO_CHANGES | one | {"set_title": True, "versions": ["0"]}
    second = change | {"title": "second"} if statement is UPDATE_TASK else one | {"versions": ["0"], "kept_days": 91}
    first = rows(other, UPDATE_TASK, **change | {"title": "first"})
    asked = asks(statement, **second)

    other.commit()

    assert asked.result() == []
    assert [(row["title"], row["version"]) for row in first] == [("first", 1)]
    assert rows(other, GET_TASK, **one) == first


def test_an_update_without_versions_that_waits_for_an_update_of_its_task_changes_it_with_the_next_number(
    other: psycopg.Connection, asks: Asks, owner: str
) -> None:
    change = NO_CHANGES | {"user_id": owner, "task_id": task_of(other, owner), "versions": None}
    [first] = rows(other, UPDATE_TASK, **change | {"set_title": True, "title": "first"})
    asked = asks(UPDATE_TASK, **change | {"set_description": True, "description": "second"})

    other.commit()

    [second] = asked.result()
    written = {"description": "second", "version": 2, "updated_at": second["updated_at"]}
    assert second == first | written
    assert second["updated_at"] > first["updated_at"]


def test_a_recount_keeps_writes_that_commit_while_it_waits(other: psycopg.Connection, asks: Asks, owner: str) -> None:
    other.execute("UPDATE task_counters SET task_count = 7, counted_at = 'yesterday' WHERE user_id = %s", [owner])
    other.commit()
    other.execute("UPDATE task_counters SET task_count = task_count + 1 WHERE user_id = %s", [owner])
    other.execute("INSERT INTO tasks (user_id, title) VALUES (%s, 'counted meanwhile')", [owner])
    asked = asks(RECOUNT_TASKS, user_id=owner)

    other.commit()

    assert [row["task_count"] for row in asked.result()] == [2]
