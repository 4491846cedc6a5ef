"""PgBouncer in transaction mode: each statement may run in another session, and there are few sessions."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.db import connect
from service.settings.all_settings import load_settings
from tests import databases, support
from tests.databases import Urls, patient
from tests.outages import DATABASE_ERROR, check_every_answer_is_an_error
from tests.pgbouncer import PROGRAM, SESSIONS, PgBouncer, in_front_of
from tests.support import FEBRUARY, JANUARY, ROOT, SECRET, Service, User, command, sign_up

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed here")

PREPARED_STATEMENTS_ARE_OFF = (
    "a pooler is in front of PostgreSQL, so prepared statements are off; PREPARED_STATEMENTS=on is for one that knows "
    "whose they are, as PgBouncer 1.21 does with max_prepared_statements"
)


@pytest.fixture(scope="module")
def pooler(urls: Urls) -> Iterator[PgBouncer]:
    with in_front_of(urls.runtime) as started:
        yield started


def pooler_messages(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if "prepared statements" in line["message"]]


# The contract tests that send every statement of accounts and tasks. A pooler changes nothing that the others look at.
ALL_STATEMENTS = (
    "account", "batch", "batch_refusals", "batches_at_once", "changes", "export", "february", "idempotency",
    "january", "lists", "quota", "versions",
)  # fmt: skip


def test_the_contract_tests_of_every_statement_pass_through_pgbouncer() -> None:
    files = [f"tests/contract/test_{name}.py" for name in ALL_STATEMENTS]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *files, "-k", "fast_path", "--pgbouncer", "--quiet", "-p", "no:cacheprovider"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
    assert " skipped" not in run.stdout


def test_two_workers_share_the_sessions_and_each_gets_the_rows_of_its_own_statements(
    pooler: PgBouncer, tmp_path: Path
) -> None:
    with support.running(tmp_path, DATABASE_URL=pooler.url, BETTER_AUTH_SECRET=SECRET, WORKERS=2) as service:
        users = [sign_up(service.http) for _ in range(4)]
        before = pooler.transactions()
        with ThreadPoolExecutor(8) as threads:
            done = list(threads.map(lambda number: uses(users[number % 4], number), range(60)))
        through_it, sessions = pooler.transactions() - before, pooler.sessions()

    assert done == [[201, 200, 200, 200]] * 60
    assert through_it >= 4 * 60 / 8  # the fewest possible, if the statements of all 8 threads always share a batch
    assert 1 < sessions <= SESSIONS
    assert pooler_messages(service) == [PREPARED_STATEMENTS_ARE_OFF]


def uses(user: User, number: int) -> list[int]:
    """The statuses of four requests, each of which runs another statement."""
    contract = (FEBRUARY, JANUARY)[number % 2]
    tasks = f"{contract.prefix}/tasks"
    created = user.post(tasks, {"title": f"task {number}"})
    task = contract.task(created.json())
    listed, read = user.get(tasks), user.get(f"{tasks}/{task['id']}")
    changed = user.put(f"{tasks}/{task['id']}", {contract.flag: True})
    assert task in [each | {contract.flag: False} for each in listed.json()["tasks"]]
    assert contract.task(read.json()) == task
    assert contract.task(changed.json())["title"] == f"task {number}"
    return [answer.status_code for answer in (created, listed, read, changed)]


def test_migrate_connects_directly_and_the_service_through_pgbouncer(empty_database: str, tmp_path: Path) -> None:
    with in_front_of(empty_database) as pooler:
        settings = {"DATABASE_URL": pooler.url, "DATABASE_DIRECT_URL": empty_database, "BETTER_AUTH_SECRET": SECRET}

        migrated = command(tmp_path, "migrate", **settings)
        assert (migrated.returncode, migrated.stderr) == (0, "")
        assert pooler.transactions() == 0
        with support.running(tmp_path, **settings) as service:
            assert service.http.get("/health").json() == {"status": "healthy"}
        assert pooler.transactions() > 0


def cache_size(url: str, prepared_statements: str) -> int:
    settings = load_settings(database_url=url, better_auth_secret=SECRET, prepared_statements=prepared_statements)
    return asyncio.run(connect.cache_size(settings))


def test_a_pooler_is_detected_unless_prepared_statements_is_set(urls: Urls, pooler: PgBouncer) -> None:
    nowhere = "postgresql://todo@{}/todo?connect_timeout=1"

    assert [cache_size(urls.runtime, asked) for asked in ("auto", "on", "off")] == [100, 100, 0]
    assert [cache_size(pooler.url, asked) for asked in ("auto", "on", "off")] == [0, 100, 0]
    # A host name that names a pooler is recognised without a connection.
    assert cache_size(nowhere.format("ep-cool-name-pooler.eu.aws.neon.tech"), "auto") == 0
    assert cache_size(nowhere.format("ep-cool-name.eu.aws.neon.tech"), "auto") == 100


def test_a_start_that_the_pooler_refuses_fails_with_one_line(pooler: PgBouncer, tmp_path: Path) -> None:
    for url in (f"{pooler.url}&options=-c%20work_mem%3D1MB", pooler.url.replace("@/todo_test", "@/nobodys_test")):
        done = command(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert done.stderr.startswith("DATABASE_URL: should be a database that answers;")
        assert "waiting for the database" not in done.stdout


LOCK_TIMEOUT_IS_NOT_SET = (
    "lock_timeout is not set: a request that waits for a lock keeps its connection meanwhile, and others wait with it; "
    "set it as sql/roles.sql does, ALTER ROLE ... SET lock_timeout = '100ms'"
)


@pytest.mark.parametrize("role", ["runtime", "admin"])
def test_a_start_behind_pgbouncer_warns_of_a_role_without_lock_timeout(
    own_database: Urls, with_roles: bool, role: str, tmp_path: Path
) -> None:
    url = getattr(own_database, role)
    expected = [] if with_roles and role == "runtime" else [LOCK_TIMEOUT_IS_NOT_SET]
    with (
        in_front_of(url) as pooler,
        support.running(tmp_path, DATABASE_URL=pooler.url, BETTER_AUTH_SECRET=SECRET) as service,
    ):
        assert service.http.get("/health").json() == {"status": "healthy"}
        assert warnings(service) == expected


def test_a_start_on_a_direct_connection_logs_no_warning(own_database: Urls, tmp_path: Path) -> None:
    with support.running(tmp_path, DATABASE_URL=own_database.admin, BETTER_AUTH_SECRET=SECRET) as service:
        assert warnings(service) == []


def test_a_start_with_a_lock_timeout_of_a_minute_warns_that_it_is_long(own_database: Urls, tmp_path: Path) -> None:
    url = patient(own_database.admin)
    with support.running(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
        assert warnings(service) == [LOCK_TIMEOUT_IS_NOT_SET.replace("not set", "60000 ms", 1)]


def warnings(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["level"] == "warning"]


def wait_for_success(user: User, path: str = "/api/tasks") -> Any:
    deadline = time.monotonic() + 60
    while (answer := user.get(path)).status_code != 200:
        assert answer.json()["code"] in {"DATABASE_ERROR", "OVERLOADED"}
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return answer.json()


def test_requests_succeed_again_after_a_restart_of_the_pooler(urls: Urls, tmp_path: Path) -> None:
    with (
        in_front_of(urls.runtime) as pooler,
        support.running(tmp_path, DATABASE_URL=pooler.url, BETTER_AUTH_SECRET=SECRET) as service,
    ):
        user = sign_up(service.http)
        pooler.stop()
        answers = [user.get("/api/tasks") for _ in range(3)]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(500, DATABASE_ERROR)] * 3
        assert service.http.get("/health").status_code == 503

        pooler.start()

        assert wait_for_success(user) == FEBRUARY.list_of()


def test_every_answer_is_an_error_while_the_database_behind_the_pooler_is_away(
    server_url: str, own_database: Urls, tmp_path: Path
) -> None:
    name = databases.name_of(own_database.admin)
    with (
        in_front_of(own_database.runtime, server_login_retry=1) as pooler,
        support.running(tmp_path, DATABASE_URL=pooler.url, BETTER_AUTH_SECRET=SECRET, STATEMENT_TIMEOUT=2) as service,
    ):
        user = sign_up(service.http)
        task = user.post("/api/tasks", {"title": "x"}).json()
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        check_every_answer_is_an_error(service, user, task)
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
        assert wait_for_success(user) == FEBRUARY.list_of(task)


def test_a_too_long_wait_for_a_session_and_a_too_long_statement_are_database_errors(
    own_database: Urls, tmp_path: Path
) -> None:
    settings = {"BETTER_AUTH_SECRET": SECRET, "STATEMENT_TIMEOUT": 2}
    with (
        in_front_of(own_database.runtime, default_pool_size=1, query_wait_timeout=1) as pooler,
        support.running(tmp_path, DATABASE_URL=pooler.url, **settings) as service,
    ):
        user = sign_up(service.http)
        with psycopg.connect(own_database.admin) as lock, ThreadPoolExecutor(3) as threads:
            lock.execute("LOCK TABLE tasks")
            answers = list(threads.map(lambda _: user.get("/api/tasks"), range(3)))
            assert [(answer.status_code, answer.json()) for answer in answers] == [(500, DATABASE_ERROR)] * 3
            # The statement that was cancelled through the pooler has released its session.
            assert wait_for_success(user, "/api/auth/me")["user"]["id"] == user.id
        assert wait_for_success(user) == FEBRUARY.list_of()
