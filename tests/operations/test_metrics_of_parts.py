"""Metrics that the parts of a service report: statements, pool, hashing, tokens, keys, limits, connections, the log."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from service.server.http_protocol import ALL_TAKEN
from service.server.places import JUST_CAME_SECONDS
from tests import support
from tests.databases import Urls
from tests.issuers import claims_of, ed_key, publishing
from tests.metrics import Metered
from tests.outages import wait_for
from tests.server.plain_clients import as_user_of, connected, paused_process, read_to_end, with_known_token
from tests.support import FEBRUARY, PASSWORD, SECRET, Service, User, new_address, new_email

Start = Callable[..., Metered]

ONE_ADDRESS = {"CONNECTIONS_PER_ADDRESS": 0}  # no limit, as all connections of the tests come from one address
COUNT_OF_DURATION = "todo_statement_duration_seconds_count"


@pytest.fixture
def start(start_service: Callable[..., Service]) -> Start:
    def start(**settings: object) -> Metered:
        port = support.free_port()
        return Metered(start_service(METRICS_PORT=port, **settings), port)

    return start


def test_statements_are_counted_by_file_with_rows_and_batches(start: Start, ann: User) -> None:
    metered = start()
    user = as_user_of(metered.service, ann)
    for _ in range(3):
        user.creates(FEBRUARY)
    for _ in range(2):
        user.get("/v1/api/tasks")

    scrape = metered.scrape()
    listed = {"statement": "tasks/list_tasks"}
    assert scrape.value(COUNT_OF_DURATION, **listed) == 2
    assert scrape.value("todo_statement_rows_total", **listed) == 6
    assert scrape.value("todo_statement_batch_size_count", **listed) == 2
    assert scrape.value("todo_statement_batch_size_sum", **listed) == 2
    assert scrape.value("todo_statement_rows_total", statement="tasks/create_task") == 3
    assert scrape.by("todo_statement_errors_total") == {}


def test_a_batch_counts_once_with_all_its_executions(start: Start, ann: User) -> None:
    metered = start(POOL_MAX=1)
    user = with_known_token(metered.service, ann)
    requests = [
        f"GET /api/tasks/{user.creates(FEBRUARY)['id']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
        for _ in range(10)
    ]
    read = {"statement": "tasks/get_task"}

    with connected(metered.service, 10) as connections:
        for connection, request in zip(connections, requests, strict=True):  # one by one: each is alone
            connection.sendall(f"{request}\r\n".encode())
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        with paused_process(metered.service):
            for connection, request in zip(connections, requests, strict=True):
                connection.sendall(f"{request}Connection: close\r\n\r\n".encode())
        assert all(read_to_end(connection).startswith(b"HTTP/1.1 200 ") for connection in connections)

    scrape = metered.scrape()
    messages, executions = (
        scrape.value(COUNT_OF_DURATION, **read),
        scrape.value("todo_statement_batch_size_sum", **read),
    )
    assert scrape.value("todo_statement_batch_size_count", **read) == messages
    assert scrape.value("todo_statement_rows_total", **read) == executions == 20
    assert 10 < messages < 20


def test_statements_of_a_transaction_are_counted_one_by_one(start: Start, ann: User) -> None:
    metered = start()
    user = as_user_of(metered.service, ann)
    user.creates(FEBRUARY)
    before = metered.scrape().by(COUNT_OF_DURATION)

    answer = user.put(f"/api/tasks/{uuid4()}", {"title": "x"}, headers={"If-None-Match": "*"})

    assert answer.status_code == 201
    counted = {
        name: count - before.get((name,), 0) for (name,), count in metered.scrape().by(COUNT_OF_DURATION).items()
    }
    assert {name: count for name, count in counted.items() if count} == {
        "tasks/lock_counter": 1, "tasks/find_used_id": 1, "tasks/create_task": 1,
    }  # fmt: skip


def test_errors_of_statements_are_counted_by_the_class_of_sqlstate(
    start: Start, ann: User, database: psycopg.Connection
) -> None:
    metered = start()
    user = as_user_of(metered.service, ann)
    task = user.creates(FEBRUARY)
    given = {"email": ann.email, "password": PASSWORD}
    assert metered.service.http.post("/api/auth/signup", json=given).status_code == 409
    errors = {"statement": "accounts/create_user", "sqlstate_class": "23"}
    assert metered.value("todo_statement_errors_total", **errors) == 1

    with ThreadPoolExecutor() as thread, database.transaction():
        database.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        writing = thread.submit(user.put, f"/api/tasks/{task['id']}", {"title": "y"})
        locked = {"statement": "tasks/update_task", "sqlstate_class": "55"}
        wait_for(lambda: metered.value("todo_statement_errors_total", **locked) >= 1)
        database.execute("ROLLBACK")
    assert writing.result().status_code == 200


def test_statements_that_wait_for_a_connection_are_counted(
    start: Start, ann: User, bob: User, database: psycopg.Connection, database_url: str
) -> None:
    """With the only connection at a lock that the server lets it wait for."""
    sign = "&" if "?" in database_url else "?"
    metered = start(DATABASE_URL=f"{database_url}{sign}options=-c%20lock_timeout%3D0", POOL_MAX=1, STATEMENT_TIMEOUT=60)
    writer, reader = as_user_of(metered.service, ann), as_user_of(metered.service, bob)
    task = writer.creates(FEBRUARY)
    wait_for(lambda: metered.value("todo_pool_connections_in_use") == 0)
    waited = metered.value("todo_pool_wait_seconds_count")
    with ThreadPoolExecutor() as threads:
        with database.transaction():
            database.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
            writing = threads.submit(writer.put, f"/api/tasks/{task['id']}", {"title": "y"})
            wait_for(lambda: metered.value("todo_pool_connections_in_use") == 1)
            reading = threads.submit(reader.get, "/api/tasks")
            wait_for(lambda: metered.value("todo_pool_waiting") == 1)
            scrape = metered.scrape()
            assert (scrape.value("todo_pool_connections"), scrape.value("todo_pool_max_connections")) == (1, 1)
        assert (writing.result().status_code, reading.result().status_code) == (200, 200)

    wait_for(lambda: metered.value("todo_pool_waiting") == 0)
    assert metered.value("todo_pool_wait_seconds_count") > waited


def test_connections_that_could_not_be_opened_are_counted(start: Start, own_database: Urls, server_url: str) -> None:
    metered = start(DATABASE_URL=own_database.runtime, POOL_MIN=0)
    http, name = metered.service.http, own_database.admin.partition("?")[0].rpartition("/")[2]
    assert metered.value("todo_pool_connect_failures_total") == 0
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        away = [http.get("/health").status_code for _ in range(3)]
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())

    assert [*away, http.get("/health").status_code] == [503, 503, 503, 200]
    assert metered.value("todo_pool_connect_failures_total") == 3


def test_refused_hashes_are_counted(start: Start) -> None:
    metered = start(HASH_THREADS=1, POOL_TIMEOUT=0.5, BCRYPT_ROUNDS=12)
    http = metered.service.http

    def log_in(_: int) -> None:
        http.post("/api/auth/login", json={"email": new_email(), "password": PASSWORD})

    def refused() -> int:
        reasons = [str(line.get("reason")) for line in metered.service.lines() if line.get("status") == 503]
        return len([reason for reason in reasons if "hash" in reason])

    for _ in range(20):
        with ThreadPoolExecutor(12) as threads:
            list(threads.map(log_in, range(12)))
        if refused():
            break

    assert metered.value("todo_password_hash_refused_total") == refused() > 0


def test_hashes_that_wait_for_a_thread_are_counted(start: Start) -> None:
    metered = start(HASH_THREADS=1, BCRYPT_ROUNDS=13, POOL_TIMEOUT=60)
    login = {"email": new_email(), "password": PASSWORD}
    with ThreadPoolExecutor() as threads:
        answers = [threads.submit(metered.service.http.post, "/api/auth/login", json=login) for _ in range(5)]
        wait_for(lambda: metered.value("todo_password_hash_queue") > 0)

    assert [answer.result().status_code for answer in answers] == [401] * 5
    scrape = metered.scrape()
    assert (scrape.value("todo_password_hash_queue"), scrape.value("todo_password_hash_wait_seconds_count")) == (0, 5)
    assert scrape.value("todo_password_hash_refused_total") == 0


def test_lookups_of_tokens_are_hits_rechecks_or_misses(start: Start, ann: User, bob: User) -> None:
    metered = start(TOKEN_RECHECK=300)
    for user in (ann, bob):
        for _ in range(3):
            as_user_of(metered.service, user).get("/api/tasks")

    scrape = metered.scrape()
    assert scrape.by("todo_token_cache_lookups_total") == {("hit",): 4, ("miss",): 2, ("recheck",): 0}
    assert scrape.value("todo_token_cache_tokens") == 2


def test_tokens_that_are_checked_again_are_counted(start: Start, ann: User) -> None:
    metered = start(TOKEN_RECHECK=0)
    for _ in range(3):
        as_user_of(metered.service, ann).get("/api/tasks")

    found = metered.scrape().by("todo_token_cache_lookups_total")
    assert found == {("hit",): 0, ("miss",): 1, ("recheck",): 2}


def test_the_age_of_issuers_keys_and_failed_fetches_are_shown_by_position(start: Start) -> None:
    key = ed_key()
    with publishing(key.jwk) as good, publishing() as bad:
        metered = start(AUTH_ISSUERS=f"{bad.url},{good.url}")
        headers = {"Authorization": f"Bearer {key.sign(claims_of(good.url))}"}
        assert metered.service.http.get("/api/tasks", headers=headers).status_code == 200
        wait_for(lambda: metered.value("todo_issuer_key_fetch_failures_total", issuer="1") == 1)

        scrape = metered.scrape()
    assert scrape.value("todo_issuer_key_fetch_failures_total", issuer="2") == 0
    ages = scrape.by("todo_issuer_keys_age_seconds")
    assert ages[("1",)] == float("inf")
    assert 0 <= ages[("2",)] < float("inf")


def test_refusals_by_a_limit_are_counted_by_its_name(start: Start, ann: User) -> None:
    metered = start(LOGIN_FAILURES=1, SIGNUPS_PER_ADDRESS=1, TASKS_PER_USER=1, TRUSTED_PROXIES=1)
    http, user = metered.service.http, as_user_of(metered.service, ann)
    http.headers["X-Forwarded-For"] = new_address()
    wrong, signup = {"email": ann.email, "password": "wrong horse"}, {"password": PASSWORD}
    statuses = [http.post("/api/auth/login", json=wrong).status_code for _ in range(3)]
    statuses += [http.post("/api/auth/signup", json=signup | {"email": new_email()}).status_code for _ in range(2)]
    statuses += [user.post("/api/tasks", {"title": "x"}).status_code for _ in range(2)]

    assert statuses == [401, 429, 429, 201, 429, 201, 409]
    assert metered.scrape().by("todo_limit_hits_total") == {
        ("login of an email from an address",): 2,
        ("sign-up from an address",): 1,
        ("tasks of a user",): 1,
    }


def test_open_and_evicted_connections_are_counted(start: Start) -> None:
    metered = start(MAX_CONNECTIONS=10, **ONE_ADDRESS)
    metered.service.http.close()
    with connected(metered.service, 10):
        wait_for(lambda: metered.value("todo_connections") == 10)
        time.sleep(JUST_CAME_SECONDS + 0.1)
        with connected(metered.service, 3):
            wait_for(lambda: metered.value("todo_connections_evicted_total") == 3)
            assert metered.value("todo_connections") == 10

    wait_for(lambda: metered.value("todo_connections") == 0)
    assert metered.value("todo_connections_refused_total") == 0


def test_refused_connections_are_counted_and_so_are_their_requests(start: Start) -> None:
    metered = start(MAX_CONNECTIONS=10, **ONE_ADDRESS)

    def refused() -> int:
        return [line.get("reason") for line in metered.service.lines()].count(ALL_TAKEN)

    while not refused():  # repeated only where the machine was too slow: old connections are evicted instead
        with connected(metered.service, 20):
            time.sleep(0.1)

    scrape = metered.scrape()
    assert scrape.value("todo_connections_refused_total") == refused()
    assert scrape.requests()["_OTHER", "", "503"] == refused()


@contextmanager
def stalled(tmp_path: Path, database_url: str) -> Iterator[Metered]:
    """A service whose log is a pipe that is never read."""
    port, metrics_port = support.free_port(), support.free_port()
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PORT": port, "METRICS_PORT": metrics_port}
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=tmp_path, env=support.environment(**given), stdout=writer,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(writer)
    service = Service(port, process, tmp_path / "no log")
    (tmp_path / "no log").touch()
    try:
        service.wait_until_ready()
        yield Metered(service, metrics_port)
    finally:
        os.close(reader)
        process.terminate()
        service.wait()


def test_lines_of_the_log_that_were_dropped_are_counted(tmp_path: Path, database_url: str) -> None:
    with stalled(tmp_path, database_url) as metered:
        assert metered.value("todo_log_lines_dropped_total") == 0
        while not metered.value("todo_log_lines_dropped_total"):  # until the pipe is full
            metered.service.http.get("/health/live", headers={"X-Request-ID": "x" * 128})
        dropped = metered.value("todo_log_lines_dropped_total")
        for _ in range(10):
            metered.service.http.get("/health/live")

        assert metered.value("todo_log_lines_dropped_total") == dropped + 10
