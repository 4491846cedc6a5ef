"""A start without a database: it waits, logs it and gives up; permanent errors are not waited for."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import databases, support
from tests.databases import Server
from tests.support import SECRET, Service, command

SLOTS = 20  # 3 of them are reserved for superusers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with databases.own_server(tmp_path_factory.mktemp("waiting"), [f"max_connections={SLOTS}"]) as server:
        databases.migrate(server.url, with_roles=False)
        yield server


def messages(service: Service) -> list[str]:
    return [line["message"] for line in service.lines()]


def wait_for(service: Service, message: str) -> None:
    deadline = time.monotonic() + 60
    while not any(message in line for line in messages(service)):
        assert time.monotonic() < deadline, service.log.read_text()
        time.sleep(0.05)


def test_start_without_a_database_waits_and_logs_each_attempt(server: Server, tmp_path: Path) -> None:
    server.stop()
    settings = {"DATABASE_URL": server.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MAX": SLOTS - 3, "DATABASE_WAIT": 120}
    service = support.start(tmp_path, **settings)
    try:
        wait_for(service, "waiting for the database")
    finally:
        server.start()
    service.wait_until_ready()

    assert service.http.get("/health").json() == {"status": "healthy"}
    warnings = [line["message"] for line in service.lines() if line["level"] == "warning"]
    assert [line.partition("; ")[0] for line in warnings] == [
        "waiting for the database: DATABASE_URL: should be a database that answers"
    ] * len(warnings)
    assert service.stop() == 0


def test_start_gives_up_after_database_wait_with_one_line(tmp_path: Path) -> None:
    url = "postgresql://ann:hunter22@127.0.0.1:1/todo?schema=public"

    done = command(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, DATABASE_WAIT=4.5, LOG_FORMAT="text")

    assert done.returncode == 1
    tries = done.stdout.splitlines()
    assert tries
    assert all("waiting for the database: DATABASE_URL: should be a database that answers; " in line for line in tries)
    [last] = done.stderr.splitlines()
    assert last.startswith("DATABASE_URL: should be a database that answers; ")
    assert "Connect call failed" in last
    assert last.endswith(" (waited for 4.5 s)")
    assert "hunter22" not in done.stdout + done.stderr


def test_start_on_a_missing_database_fails_without_waiting(server: Server, tmp_path: Path) -> None:
    url = databases.url_of_database(server.url, "of_nobody")

    done = command(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET)

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line == 'DATABASE_URL: should be a database that answers; database "of_nobody" does not exist'


def test_pool_max_above_the_connections_of_the_server_logs_a_warning(server: Server, tmp_path: Path) -> None:
    settings = {"DATABASE_URL": server.url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 1, "POOL_MAX": SLOTS - 2}
    with support.running(tmp_path, **settings) as service:
        [warning] = [line["message"] for line in service.lines() if line["level"] == "warning"]

    assert warning == (
        "POOL_MAX=18 for each of WORKERS=1 may ask for 18 connections, and the server has 17 for ordinary roles "
        "(max_connections=20); copies of this service count too"
    )
