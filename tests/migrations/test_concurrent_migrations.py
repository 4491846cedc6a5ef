"""Migrations outside a transaction: they wait for older transactions, say for which, and can be run again."""

import logging
import re
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from service.db import concurrent_migrations, migrations
from service.db.admin_session import CommandError
from service.db.concurrent_migrations import described
from service.db.migrations import MIGRATIONS

LAST = migrations.known()[-1]
ID = "9999_index_titles"
HEAD = "-- transactional: false\n\nSET lock_timeout = '200ms';\nSET statement_timeout = '300ms';\n"
MAKE = "-- Not an ALTER TABLE.\nCREATE UNIQUE INDEX CONCURRENTLY tasks_title_key ON tasks (title);\n"
DROP = "DROP INDEX CONCURRENTLY IF EXISTS tasks_title_key;\n"
VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('tasks_title_key')"
NEW_TASK = """
WITH owner AS (INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id)
INSERT INTO tasks (user_id, title) SELECT id, 'the same' FROM owner
"""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first report comes when the limits of the file are over."""
    monkeypatch.setattr(concurrent_migrations, "REPORT_INTERVAL_SECONDS", 0.5)


@pytest.fixture
def own_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy)
    monkeypatch.setattr(migrations, "MIGRATIONS", copy)
    (copy / f"{ID}.sql").write_text(HEAD + MAKE)
    (copy / f"{ID}.rollback.sql").write_text(HEAD.partition("\n\n")[2] + DROP)
    return copy


@contextmanager
def older_transaction(url: str) -> Iterator[int]:
    """As a pg_dump holds it: the process that does it."""
    with psycopg.connect(url, application_name="dump") as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT id FROM tasks\n-- the second line")
        yield connection.info.backend_pid
        connection.rollback()


def wait_for_report(caplog: pytest.LogCaptureFixture, running: Future[list[str]]) -> str:
    deadline = time.monotonic() + 60
    while not caplog.messages:
        assert not running.done(), running.result()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return caplog.messages[0]


@pytest.mark.parametrize("direction", ["apply", "roll_back"])
def test_an_index_waits_for_an_older_transaction_past_its_time_limits_and_says_for_which(
    empty_database: str, own_migrations: Path, caplog: pytest.LogCaptureFixture, direction: str
) -> None:
    migrations.apply(empty_database, LAST if direction == "apply" else None)
    caplog.set_level(logging.WARNING)
    with ThreadPoolExecutor() as threads:
        with older_transaction(empty_database) as pid:
            running = threads.submit(getattr(migrations, direction), empty_database)
            said = wait_for_report(caplog, running)
        assert running.result() == [ID]

    assert re.sub(r"\b\d+ s\b", "<age> s", said) == (
        f"{ID} waits for process {pid} (dump), in a transaction of <age> s: SELECT id FROM tasks"
    )
    with psycopg.connect(empty_database) as connection:
        assert connection.execute(VALID).fetchall() == ([(True,)] if direction == "apply" else [])


def test_an_invalid_index_that_stays_is_named_and_the_next_run_makes_it_again(
    empty_database: str, own_migrations: Path
) -> None:
    migrations.apply(empty_database, LAST)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        for email in ("a@example.com", "b@example.com"):
            connection.execute(NEW_TASK.encode(), [email])

        with pytest.raises(CommandError) as failed:
            migrations.apply(empty_database)

        assert str(failed.value) == (
            f'{ID} failed: could not create unique index "tasks_title_key"; '
            "an invalid index stays (tasks_title_key); the next migrate drops it and starts again"
        )
        assert connection.execute(VALID).fetchall() == [(False,)]
        assert migrations.pending(empty_database) == [ID]

        connection.execute("DELETE FROM users WHERE email = 'b@example.com'")
        assert migrations.apply(empty_database) == [ID]
        assert connection.execute(VALID).fetchall() == [(True,)]


def test_a_terminated_run_names_the_invalid_index_and_the_next_one_makes_it_again(
    empty_database: str, own_migrations: Path, caplog: pytest.LogCaptureFixture
) -> None:
    migrations.apply(empty_database, LAST)
    end = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE query LIKE '%INDEX CONCURRENTLY tasks_title_key%' AND pid <> pg_backend_pid() AND datname = current_database()
    """
    with (
        ThreadPoolExecutor() as threads,
        older_transaction(empty_database),
        psycopg.connect(empty_database, autocommit=True) as connection,
    ):
        running = threads.submit(migrations.apply, empty_database)
        wait_for_report(caplog, running)
        connection.execute(end.encode())
        error = running.exception()

    assert str(error) == (
        f"{ID} failed: terminating connection due to administrator command; "
        "an invalid index stays (tasks_title_key); the next migrate drops it and starts again"
    )
    assert migrations.apply(empty_database) == [ID]


def test_another_statement_of_the_file_keeps_the_time_limits_of_the_file(
    empty_database: str, own_migrations: Path
) -> None:
    migrations.apply(empty_database, LAST)
    (own_migrations / f"{ID}.sql").write_text(f"{HEAD}ALTER TABLE users ADD COLUMN later text;\n")
    with psycopg.connect(empty_database) as connection:
        # A statement without a limit gets the lock then, and the test fails instead of hanging.
        connection.execute("SET idle_in_transaction_session_timeout = '10s'")
        connection.execute("LOCK TABLE users IN SHARE MODE")

        with pytest.raises(CommandError) as failed:
            migrations.apply(empty_database)

    assert str(failed.value) == (
        f"{ID} failed: canceling statement due to lock timeout; "
        "the statements before that are not undone; the next migrate runs all of them again"
    )


def test_a_blocker_with_a_hidden_query_is_named_by_its_process() -> None:
    hidden = {"application_name": None, "age_seconds": None, "query": "<insufficient privilege>"}

    assert described(hidden | {"blocking_pid": 7}) == (
        "process 7, in a transaction of unknown age: <insufficient privilege>"
    )
    assert described(hidden | {"blocking_pid": 0}) == "a prepared transaction: see pg_prepared_xacts"
