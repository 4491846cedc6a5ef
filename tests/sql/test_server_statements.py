"""The statements that ask the server about itself, and those of migrations, each alone."""

from uuid import UUID

import psycopg

from service.cli.startup import COUNT_CONNECTIONS
from service.db.batching import IS_DISTRIBUTED
from service.db.connect import GET_LOCK_TIMEOUT, GET_SERVER_PID
from service.db.migrations import FIND_OUR_TABLES, LIST_APPLIED, known
from service.http.health import CHECK_SERVER, NOBODY, REACH_TASKS
from tests import citus
from tests.databases import Urls
from tests.sql.owners import Run, new_task


def test_the_migrations_are_counted_and_listed(run: Run) -> None:
    assert [dict(row) for row in run(CHECK_SERVER, migration_ids=known())] == [
        {"applied": len(known()), "is_read_only": False}
    ]
    assert [row["applied"] for row in run(CHECK_SERVER, migration_ids=["0000_never"])] == [0]
    assert [row["migration_id"] for row in run(LIST_APPLIED)] == known()
    assert [row["table_name"] for row in run(FIND_OUR_TABLES)] == [
        "_yoyo_migration", "migration_checksums", "tasks", "users",
    ]  # fmt: skip


def test_the_server_says_which_process_it_is(run: Run) -> None:
    [first], [second] = run(GET_SERVER_PID), run(GET_SERVER_PID)

    assert list(first.keys()) == ["server_pid"]
    assert first["server_pid"] == second["server_pid"] > 0


def test_the_server_says_how_long_a_session_waits_for_a_lock(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as connection:
        for given, milliseconds in (("0", 0), ("100ms", 100), ("3s", 3000), ("1min", 60_000), ("1d", 86_400_000)):
            connection.execute(f"SET lock_timeout = '{given}'")
            assert connection.execute(GET_LOCK_TIMEOUT.text).fetchall() == [(milliseconds,)]


def test_the_server_says_whether_it_is_citus(run: Run, urls: Urls) -> None:
    [server] = run(IS_DISTRIBUTED)

    with psycopg.connect(urls.admin) as connection:
        assert server["is_distributed"] is citus.is_here(connection)


def test_health_statements_read_tasks_and_the_connections_of_the_server(run: Run, owner: UUID) -> None:
    new_task(run, owner)
    assert [row["has_tasks"] for row in run(REACH_TASKS, user_id=owner)] == [True]
    assert [row["has_tasks"] for row in run(REACH_TASKS, user_id=NOBODY)] == [False]
    [connections] = run(COUNT_CONNECTIONS)
    assert 0 < connections["for_superusers"] + connections["for_reserved"] < connections["max_connections"]
