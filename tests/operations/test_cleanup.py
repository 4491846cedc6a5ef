"""Expired rows go without any sign-in: by a running service at an interval, and by `python -m service clean`."""

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from service.auth.tokens import Tokens
from tests import databases, support
from tests.databases import Urls
from tests.support import SECRET, Service, User, new_email

MANY = 25_000  # more than two statements look at
OFTEN = 0.05  # seconds
FAILURE = "expired rows are left undeleted until the database answers: "
EXPIRED = {
    "attempts": "INSERT INTO attempts (bucket, attempted_at, ends_at)"
    " SELECT sha256(concat(gen_random_uuid())::bytea), '{}', now() - n * interval '1 second'"
    " FROM generate_series(1, %s) AS n",
    "deleted_outside_users": "INSERT INTO deleted_outside_users (issuer, subject, deleted_at)"
    " SELECT 'https://issuer.example', gen_random_uuid(), now() - interval '1 day' - n * interval '1 second'"
    " FROM generate_series(1, %s) AS n",
    "deleted_tasks": "WITH of AS (INSERT INTO users (email, password_hash)"
    " VALUES (concat(gen_random_uuid(), '@example.com'), 'x') RETURNING id)"
    " INSERT INTO deleted_tasks (user_id, task_id, version, forget_at)"
    " SELECT of.id, gen_random_uuid(), n, now() - n * interval '1 second' FROM of, generate_series(1, %s) AS n",
    "idempotency_keys": "WITH of AS (INSERT INTO users (email, password_hash)"
    " VALUES (concat(gen_random_uuid(), '@example.com'), 'x') RETURNING id)"
    " INSERT INTO idempotency_keys (user_id, key, request_digest, answer, forget_at)"
    " SELECT of.id, n::text, '', '{}', now() - n * interval '1 second' FROM of, generate_series(1, %s) AS n",
}


@pytest.fixture
def database(own_database: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        yield connection


def expire(database: psycopg.Connection, number: int) -> None:
    """Adds expired rows to each table, and one row whose time is not over."""
    for insert in EXPIRED.values():
        database.execute(insert.encode(), [number])
    attempt = "INSERT INTO attempts (bucket, attempted_at, ends_at) VALUES (sha256(%s), %s, now() + interval '1 hour')"
    database.execute(attempt.encode(), [uuid4().bytes, []])
    deleted = "INSERT INTO deleted_outside_users (issuer, subject, deleted_at) VALUES ('https://a', %s, now())"
    database.execute(deleted.encode(), [uuid4().hex])
    kept = (
        "WITH of AS (INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id)"
        " INSERT INTO deleted_tasks (user_id, task_id, version, forget_at)"
        " SELECT of.id, gen_random_uuid(), 1, now() + interval '1 hour' FROM of"
    )
    database.execute(kept.encode(), [f"{uuid4()}@example.com"])
    kept = (
        "WITH of AS (INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id)"
        " INSERT INTO idempotency_keys (user_id, key, request_digest, answer, forget_at)"
        " SELECT of.id, 'key', '', '{}', now() + interval '1 hour' FROM of"
    )
    database.execute(kept.encode(), [f"{uuid4()}@example.com"])


def left(database: psycopg.Connection) -> dict[str, int]:
    counts = "SELECT " + ", ".join(f"(SELECT count(*) FROM {table})" for table in EXPIRED)
    [row] = database.execute(counts.encode()).fetchall()
    return dict(zip(EXPIRED, row, strict=True))


def wait_until_left(database: psycopg.Connection, wanted: dict[str, int] | int) -> None:
    """One number is that of each table."""
    deadline = time.monotonic() + 60
    while left(database) != (dict.fromkeys(EXPIRED, wanted) if isinstance(wanted, int) else wanted):
        assert time.monotonic() < deadline, left(database)
        time.sleep(0.02)


def failures(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["message"].startswith(FAILURE)]


def wait_for_failure(service: Service) -> None:
    deadline = time.monotonic() + 60
    while not failures(service):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_service_without_sign_ins_deletes_expired_rows_and_no_others(
    own_database: Urls, database: psycopg.Connection, tmp_path: Path, workers: int
) -> None:
    expire(database, MANY)
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "WORKERS": workers}

    with support.running(tmp_path, CLEANUP_INTERVAL=OFTEN, **settings) as service:
        wait_until_left(database, 1)
        expire(database, 1)
        wait_until_left(database, 2)

        assert service.stop() == 0
        assert [line for line in service.lines() if line["level"] in {"warning", "error"}] == []


def test_a_failing_cleanup_is_one_line_of_the_log_and_goes_on_when_the_database_lets_it(
    own_database: Urls, database: psycopg.Connection, tmp_path: Path
) -> None:
    if own_database.runtime == own_database.admin:
        pytest.skip("the role of the service is a superuser here")
    expire(database, 1)
    database.execute("REVOKE DELETE ON attempts FROM todo_runtime")
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET}
    with support.running(tmp_path, CLEANUP_INTERVAL=OFTEN, **settings) as service:
        wait_for_failure(service)
        refused = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        [[before]] = database.execute(refused.encode()).fetchall()
        while database.execute(refused.encode()).fetchall() < [(before + 3,)]:
            time.sleep(0.1)

        assert len(failures(service)) == 1
        wait_until_left(database, dict.fromkeys(EXPIRED, 1) | {"attempts": 2})  # the other tables have their turn
        database.execute("GRANT DELETE ON attempts TO todo_runtime")
        wait_until_left(database, 1)
        assert len(failures(service)) == 1
        assert service.stop() == 0


def test_cleanup_outlives_a_database_that_is_away(tmp_path: Path) -> None:
    with databases.own_server(tmp_path) as server:
        urls = databases.migrate(server.url, with_roles=True)
        settings = {"DATABASE_URL": urls.runtime, "BETTER_AUTH_SECRET": SECRET, "STATEMENT_TIMEOUT": 1}
        with support.running(tmp_path, CLEANUP_INTERVAL=OFTEN, **settings) as service:
            server.stop("immediate")
            wait_for_failure(service)
            server.start()
            with psycopg.connect(server.url, autocommit=True) as database:
                expire(database, 1)
                wait_until_left(database, 1)
            server.stop("immediate")

            assert service.stop() == 0


def test_cleanup_that_waits_for_a_lock_leaves_the_only_connection_to_requests(
    own_database: Urls, database: psycopg.Connection, tmp_path: Path
) -> None:
    email = new_email()
    insert = "INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id"
    [[user_id]] = database.execute(insert.encode(), [email]).fetchall()
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "POOL_MAX": 1, "TOKEN_RECHECK": 0}
    with (
        psycopg.connect(own_database.admin) as other,
        support.running(tmp_path, CLEANUP_INTERVAL=OFTEN, STATEMENT_TIMEOUT=60, **settings) as service,
    ):
        user = User(service.http, str(user_id), email, Tokens(SECRET, None, 1).issue(user_id, email, 0))
        other.execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE")
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%forget_attempts%'"
        while not database.execute(waiting.encode()).fetchall():
            time.sleep(0.01)

        assert [user.get("/api/tasks").status_code for _ in range(20)] == [200] * 20


def test_clean_deletes_all_expired_rows_in_one_run(
    own_database: Urls, database: psycopg.Connection, tmp_path: Path
) -> None:
    expire(database, MANY)

    runs = [support.command(tmp_path, "clean", DATABASE_URL=own_database.runtime) for _ in range(2)]

    assert [(run.returncode, run.stderr, run.stdout) for run in runs] == [
        (0, "", "".join(f"{table}: {number}\n" for table in EXPIRED)) for number in (MANY, 0)
    ]
    assert left(database) == dict.fromkeys(EXPIRED, 1)


def add_rows_that_are_kept(database: psycopg.Connection, number: int) -> None:
    """Before all others in the order of the primary keys."""
    database.execute("INSERT INTO users (id, email, password_hash) VALUES (%s, 'kept@example.com', 'x')", [UUID(int=1)])
    later = "now() + interval '1 hour' FROM generate_series(1, %s) AS n"
    deleted = "INSERT INTO deleted_tasks (user_id, task_id, version, forget_at) SELECT %s, gen_random_uuid(), n, "
    key = "INSERT INTO idempotency_keys (user_id, key, request_digest, answer, forget_at) SELECT %s, n::text, '', '', "
    for insert in (deleted, key):
        database.execute((insert + later).encode(), [UUID(int=1), number])


def test_expired_rows_behind_many_that_are_kept_are_deleted_too(
    own_database: Urls, database: psycopg.Connection, tmp_path: Path
) -> None:
    add_rows_that_are_kept(database, MANY)
    kept = {"attempts": 1, "deleted_outside_users": 1, "deleted_tasks": MANY + 1, "idempotency_keys": MANY + 1}
    expire(database, 1)
    done = support.command(tmp_path, "clean", DATABASE_URL=own_database.runtime)
    assert (done.returncode, done.stdout) == (0, "".join(f"{table}: 1\n" for table in EXPIRED))
    assert left(database) == kept

    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET}
    with support.running(tmp_path, CLEANUP_INTERVAL=OFTEN, **settings):
        for round_number in (1, 2):
            expire(database, 1)
            wait_until_left(database, {table: number + round_number for table, number in kept.items()})


def test_clean_without_a_database_prints_one_line(tmp_path: Path) -> None:
    away = f"postgresql://todo@127.0.0.1:{support.free_port()}/todo"

    done = support.command(tmp_path, "clean", DATABASE_URL=away)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("DATABASE_URL: should be a database that answers; ")
