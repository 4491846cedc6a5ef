"""Apply, roll back and apply again; refused runs; remains of a killed run. Each test has its own database."""

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.db import migrations
from service.db.admin_session import connected, rows
from service.db.migrations import MIGRATIONS, MigrationError
from service.domain.accounts import CREATE_USER
from service.domain.tasks import CREATE_TASK, NO_FIELDS, RECOUNT_TASKS
from tests.support import SECRET, command

FIRST, *_, LAST = migrations.known()
BEFORE_COUNTERS = "0008_remember_deleted_users"

SCHEMA = """
SELECT 'column', table_name, column_name, data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '')
FROM information_schema.columns WHERE table_schema = 'public' AND table_name IN ('users', 'tasks', 'task_counters')
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text IN ('users', 'tasks', 'task_counters')
UNION ALL
SELECT 'index', tablename, indexname, indexdef
FROM pg_indexes WHERE schemaname = 'public' AND tablename IN ('users', 'tasks', 'task_counters')
ORDER BY 1, 2, 3
"""


def schema_of(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(SCHEMA).fetchall()


def tables_of(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        return {row[0] for row in rows}


def test_apply_roll_back_all_and_apply_again_gives_the_same_schema(empty_database: str) -> None:
    assert migrations.apply(empty_database) == migrations.known()
    first = schema_of(empty_database)
    assert first

    undone = [migration_id for _ in migrations.known() for migration_id in migrations.roll_back(empty_database)]
    assert undone == migrations.known()[::-1]
    assert schema_of(empty_database) == []

    assert migrations.apply(empty_database) == migrations.known()
    assert schema_of(empty_database) == first


def test_counters_that_were_rolled_back_and_reapplied_are_recounted(empty_database: str) -> None:
    migrations.apply(empty_database)
    with connected(empty_database) as connection:
        [user] = rows(connection, CREATE_USER, email="a@example.com", password_hash="x", network=b"x")
        given = NO_FIELDS | {"user_id": user["id"], "title": "x", "max_tasks": 2}
        rows(connection, CREATE_TASK, **given)
        assert [row["task_count"] for row in rows(connection, RECOUNT_TASKS, user_id=user["id"])] == [0]
        assert len(rows(connection, CREATE_TASK, **given)) == 1

    migrations.roll_back(empty_database, BEFORE_COUNTERS)
    migrations.apply(empty_database)

    with connected(empty_database) as connection:
        assert rows(connection, CREATE_TASK, **given) == []
        assert [row["task_count"] for row in rows(connection, RECOUNT_TASKS, user_id=user["id"])] == [1]
        assert [len(rows(connection, CREATE_TASK, **given)) for _ in range(2)] == [1, 0]


def test_second_apply_does_nothing(empty_database: str) -> None:
    migrations.apply(empty_database)

    assert migrations.apply(empty_database) == []
    assert migrations.pending(empty_database) == []


def test_apply_and_roll_back_stop_at_the_given_migration(empty_database: str) -> None:
    assert migrations.pending(empty_database) == migrations.known()

    assert migrations.apply(empty_database, FIRST) == [FIRST]
    assert migrations.pending(empty_database) == migrations.known()[1:]
    migrations.apply(empty_database)
    assert migrations.roll_back(empty_database, FIRST) == migrations.known()[:0:-1]
    with pytest.raises(MigrationError, match="there is no migration 9999_nothing"):
        migrations.apply(empty_database, "9999_nothing")


def test_roll_back_of_a_database_ahead_of_the_code_is_refused(empty_database: str) -> None:
    migrations.apply(empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) "
            "VALUES ('x', '9999_later', now())"
        )

    with pytest.raises(MigrationError, match="the database is ahead of this code; roll back 9999_later"):
        migrations.roll_back(empty_database)

    assert migrations.pending(empty_database) == []


@pytest.mark.parametrize("table", ["users", "tasks"])
def test_apply_with_a_foreign_table_of_the_same_name_is_refused_and_changes_nothing(
    empty_database: str, table: str
) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute(f"CREATE TABLE {table} (id int)".encode())

    with pytest.raises(MigrationError) as refused:
        migrations.apply(empty_database)

    assert str(refused.value) == (
        f"the database has a table {table} that these migrations did not make; nothing was changed"
    )
    assert tables_of(empty_database) == {table}


def test_apply_ignores_the_lock_row_of_a_killed_run(empty_database: str) -> None:
    migrations.apply(empty_database, FIRST)
    with psycopg.connect(empty_database) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")

    assert migrations.apply(empty_database) == migrations.known()[1:]


def test_failing_migration_is_rolled_back_and_named(empty_database: str) -> None:
    migrations.apply(empty_database, FIRST)
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE tasks (id int)")

    with pytest.raises(
        MigrationError, match='0002_create_tasks failed and was undone: relation "tasks" already exists'
    ):
        migrations.apply(empty_database)

    assert migrations.pending(empty_database) == migrations.known()[1:]


def test_migrate_command_applies_shows_and_rolls_back(empty_database: str, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": empty_database, "BETTER_AUTH_SECRET": SECRET, "LOG_LEVEL": "WARNING"}

    def says(*arguments: str) -> list[str]:
        done = command(tmp_path, "migrate", *arguments, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert says("status") == [f"{migration_id}: pending" for migration_id in migrations.known()]
    assert says("--to", FIRST) == [f"applied {FIRST}"]
    assert says() == [f"applied {migration_id}" for migration_id in migrations.known()[1:]]
    assert says() == ["applied nothing"]
    status = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<when>", line) for line in says("status")]
    assert status == [f"{migration_id}: applied <when> UTC" for migration_id in migrations.known()]
    assert says("--rollback") == [f"rolled back {LAST}"]
    assert says("--rollback", "--to", FIRST) == [f"rolled back {each}" for each in migrations.known()[-2:0:-1]] or [
        "rolled back nothing"
    ]


def test_migrate_command_uses_database_direct_url(empty_database: str, tmp_path: Path) -> None:
    nowhere = "postgresql://todo@127.0.0.1:1/todo"

    done = command(
        tmp_path, "migrate",
        DATABASE_URL=nowhere, DATABASE_DIRECT_URL=empty_database, BETTER_AUTH_SECRET=SECRET, LOG_LEVEL="WARNING",
    )  # fmt: skip

    assert done.stdout.splitlines() == [f"applied {migration_id}" for migration_id in migrations.known()]


@pytest.mark.parametrize("migration_id", migrations.known())
def test_every_migration_has_its_header_timeouts_and_rollback(migration_id: str) -> None:
    forward = (MIGRATIONS / f"{migration_id}.sql").read_text()
    backward = (MIGRATIONS / f"{migration_id}.rollback.sql").read_text()

    assert re.match(r"-- Why: .*\n(--  .*\n)*-- Phase: .*\n(--  .*\n)*-- Locks: .*\n(--  .*\n)*-- Undo: ", forward)
    scope = "" if "-- transactional: false\n" in forward else "LOCAL "
    for text in (forward, backward):
        assert f"SET {scope}lock_timeout" in text
        assert f"SET {scope}statement_timeout" in text
