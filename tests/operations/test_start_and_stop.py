"""Start and stop with the embedded database, which keeps the data and is taken over after a kill -9."""

import asyncio
import gc
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import asyncpg
import psycopg
import pytest
from sanic_testing.reusable import ReusableClient

from service.cli import embedded_postgres
from service.db import connect, migrations
from service.server import stop_signals
from service.server.sanic_app import ServerApp
from service.settings.all_settings import load_settings
from tests import databases, support
from tests.support import (
    FEBRUARY,
    FRONTEND,
    POSTMASTER,
    ROOT,
    SECRET,
    Service,
    User,
    command,
    free_port,
    logs_in,
    sign_up,
)


def server_pid(data: Path) -> int:
    return int((data / POSTMASTER).read_text().splitlines()[0])


def is_running(pid: int) -> bool:
    """A zombie does not count: in a container it may have no parent that reaps it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ctrl_c_stops_service_and_database_and_the_next_start_has_the_data(tmp_path: Path) -> None:
    data = tmp_path / ".data"
    service = support.start(tmp_path)
    service.wait_until_ready()
    user = sign_up(service.http)
    task = user.post("/api/tasks", {"title": "still there"}).json()

    os.killpg(service.process.pid, signal.SIGINT)  # as a terminal sends it
    assert service.wait() == 0
    assert not (data / POSTMASTER).exists()

    with support.running(tmp_path) as again:
        assert User(again.http, user.id, user.email, user.token).get("/api/tasks").json() == FEBRUARY.list_of(task)
    assert not (data / POSTMASTER).exists()


class Laptop(NamedTuple):
    home: Path
    service: Service
    permissions: dict[Path, tuple[int, int]]  # modes and owners of the paths that existed before


def permissions_of(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    return {path: (path.stat().st_mode, path.stat().st_uid) for path in paths}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    home = tmp_path_factory.mktemp("laptop") / "home"
    home.mkdir(mode=0o700)
    before = permissions_of([*home.parents, home, *Path(embedded_postgres.__file__).parents, *Path(sys.prefix).parents])
    with support.running(home) as service:
        yield Laptop(home, service, before)


def test_a_start_logs_the_database_and_ends_with_the_address_and_the_data_directory(laptop: Laptop) -> None:
    service = laptop.service
    deadline = time.monotonic() + 60
    while "ready: " not in service.log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    ready = [line["message"] for line in service.lines() if line["message"] != "request"]

    assert ready[0] == "starting an embedded PostgreSQL 18 under .data: for a laptop and for tests, not for production"
    assert ready[-1] == (
        f"ready: API {service.url}, documentation {service.url}/docs, data in {laptop.home / '.data'}, "
        f"January's API {service.url}/v1, allowed origins {FRONTEND} (FRONTEND_URL)"
    )


def test_created_files_are_private_and_existing_permissions_are_unchanged(laptop: Laptop) -> None:
    data = laptop.home / ".data"
    made = {path.name: path.stat().st_mode & 0o777 for path in data.iterdir()}

    assert data.stat().st_mode & 0o777 == 0o700
    assert (made["postgresql"], made["secret"]) == (0o700, 0o600)
    assert (embedded_postgres.socket_dir(data) / ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700
    assert permissions_of(laptop.permissions) == laptop.permissions


def test_a_second_service_on_the_same_data_or_port_is_refused_in_one_line(laptop: Laptop) -> None:
    service = laptop.service
    same_data = command(laptop.home, PORT=free_port())
    same_port = command(laptop.home, PORT=service.port, DATA_DIR="elsewhere")

    assert (same_data.returncode, same_data.stderr) == (
        2,
        "DATA_DIR: should be a directory of its own; another service is running in .data\n",
    )
    assert (same_port.returncode, same_port.stderr) == (
        2,
        f"PORT: should be a free port; {service.port} on 127.0.0.1: Address already in use\n",
    )
    assert not (laptop.home / "elsewhere").exists()
    assert logs_in(service, sign_up(service.http)) == 200


def test_after_kill_9_the_next_start_takes_over_the_running_database_and_stops_it(tmp_path: Path) -> None:
    data = tmp_path / ".data"
    service = support.start(tmp_path)
    service.wait_until_ready()
    user = sign_up(service.http)
    service.stop(signal.SIGKILL)
    left_over = server_pid(data)
    assert is_running(left_over)

    with support.running(tmp_path) as again:
        assert server_pid(data) == left_over
        assert logs_in(again, user) == 200
    assert not is_running(left_over)


def test_after_kill_9_of_service_and_database_the_data_is_kept(tmp_path: Path) -> None:
    service = support.start(tmp_path)
    service.wait_until_ready()
    user = sign_up(service.http)
    service.stop(signal.SIGKILL)
    os.kill(server_pid(tmp_path / ".data"), signal.SIGKILL)

    with support.running(tmp_path) as again:
        assert logs_in(again, user) == 200


def test_migrate_works_beside_a_running_service_and_without_one(tmp_path: Path) -> None:
    with support.running(tmp_path) as service:
        beside = command(tmp_path, "migrate", "status")
        assert service.http.get("/health").status_code == 200
    alone = command(tmp_path, "migrate", "status")

    assert "applied" in beside.stdout
    assert beside.stdout == "".join(line + "\n" for line in alone.stdout.splitlines() if not line.startswith("{"))
    assert not (tmp_path / ".data" / POSTMASTER).exists()


def test_a_service_runs_in_a_path_with_quotes_that_is_too_long_for_a_socket(tmp_path: Path) -> None:
    deep = tmp_path / 'it\'s a "deep" checkout, $HOME' / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)

    with support.running(deep) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}


def test_a_signal_during_the_start_stops_the_service_cleanly(tmp_path: Path) -> None:
    for number, delay in ((signal.SIGTERM, 0.9), (signal.SIGINT, 1.1)):
        service = support.start(tmp_path)
        while not (tmp_path / ".data" / POSTMASTER).exists() and service.process.poll() is None:
            time.sleep(0.01)
        time.sleep(delay - 0.9)
        assert service.stop(number) == 0
        assert not (tmp_path / ".data" / POSTMASTER).exists()
        assert "Traceback" not in service.log.read_text()


def test_both_signals_during_the_start_stop_the_embedded_server(tmp_path: Path) -> None:
    service = support.start(tmp_path)
    while not (tmp_path / ".data" / POSTMASTER).exists() and service.process.poll() is None:
        time.sleep(0.01)
    send_both(service)

    assert service.wait() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()
    assert "Traceback" not in service.log.read_text()


def send_both(service: Service) -> None:
    """Stops the process meanwhile, so that both are pending when it goes on."""
    for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM, signal.SIGCONT):
        service.process.send_signal(number)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("milliseconds", [0, 10, 30])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_at_the_end_of_the_start_stops_the_service(
    database_url: str, tmp_path: Path, workers: int, milliseconds: int
) -> None:
    """The port is open then, and the last steps of the start are still to come."""
    service = support.start(tmp_path, DATABASE_URL=database_url, BETTER_AUTH_SECRET=SECRET, WORKERS=workers)
    wait_until_open(service.port)
    time.sleep(milliseconds / 1000)

    assert service.stop(signal.SIGTERM) == 0
    assert [line for line in service.log.read_text().splitlines() if '"level":"info"' not in line] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["runners._setup_system_signals", "ServerApp.set_serving"])
def test_a_signal_while_the_event_loop_does_not_run_stops_the_service(
    database_url: str, tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    """Sanic runs it for the start, and once more to serve."""
    program = f"""
import os
from sanic.server import runners
from service.cli.main import main
from service.server.sanic_app import ServerApp
def interrupted(*given, go_on={moment}):
    go_on(*given)
    os.kill(os.getpid(), {number:d})
{moment} = interrupted
main([])
"""
    given = support.environment(DATABASE_URL=database_url, BETTER_AUTH_SECRET=SECRET)

    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert [line for line in ended.stdout.splitlines() if '"level":"info"' not in line] == []


@pytest.mark.parametrize("workers", [1, 2])
def test_both_signals_in_the_same_moment_stop_the_service(database_url: str, tmp_path: Path, workers: int) -> None:
    given = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": workers}
    with support.running(tmp_path, **given) as service:
        send_both(service)

        assert service.wait() == 0
        assert [line for line in service.log.read_text().splitlines() if '"level":"info"' not in line] == []


@pytest.mark.parametrize(("error", "is_shown"), [(SystemExit(0), False), (OSError("full"), True), (None, True)])
def test_sanics_report_of_a_signal_during_the_start_is_left_out(error: BaseException | None, is_shown: bool) -> None:
    record = logging.makeLogRecord({"exc_info": error and (type(error), error, None)})

    assert stop_signals.is_no_stop(record) is is_shown


def wait_until_open(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_imports_stops_the_service_without_output(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "asyncpg.py").write_text("import time; time.sleep(60)")
    service = support.start(tmp_path, PYTHONPATH=f"{tmp_path / 'slow'}:{ROOT}")
    status = Path(f"/proc/{service.process.pid}/status")
    deadline = time.monotonic() + 60
    try:
        while not handles(status, signal.SIGTERM):  # Python itself handles SIGINT
            assert time.monotonic() < deadline
    finally:
        ended = service.stop(number)

    assert (ended, service.log.read_text()) == (0, "")


def handles(status: Path, number: signal.Signals) -> bool:
    handled = re.findall(r"^SigCgt:\t(\w+)$", status.read_text(), re.MULTILINE)
    return bool(int(handled[0], 16) >> (number - 1) & 1) and b"service" in (status.parent / "cmdline").read_bytes()


def test_a_start_with_database_url_needs_a_secret(database_url: str, tmp_path: Path) -> None:
    done = command(tmp_path, DATABASE_URL=database_url)

    assert (done.returncode, done.stdout, done.stderr) == (
        2, "", "BETTER_AUTH_SECRET: should be set (32 bytes or more) when DATABASE_URL is\n",
    )  # fmt: skip


def test_a_schema_that_is_behind_stops_the_start_and_one_ahead_does_not(
    empty_database: str, with_roles: bool, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": empty_database, "BETTER_AUTH_SECRET": SECRET}
    behind = command(tmp_path, **settings)
    assert (behind.returncode, behind.stdout) == (1, "")
    assert behind.stderr == (
        f"the schema is behind ({', '.join(migrations.known())}); run: python -m service migrate\n"
    )

    settings["DATABASE_URL"] = databases.migrate(empty_database, with_roles=with_roles).runtime
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) "
            "VALUES ('x', '9999_later', now())"
        )
    with support.running(tmp_path, **settings) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}


@pytest.mark.parametrize("data_dir", ["a,b", 'a"b', "a b/c"])
def test_a_data_directory_may_have_special_characters_in_its_name(tmp_path: Path, data_dir: str) -> None:
    async def asks(url: str) -> object:
        """Connects as the requests do, with arguments made from the URL."""
        connection = await asyncpg.connect(**connect.arguments(load_settings(database_url=url)))
        try:
            return await connection.fetchval("SELECT 1")
        finally:
            await connection.close()

    with embedded_postgres.running(tmp_path / data_dir) as url:
        assert asyncio.run(asks(url)) == 1


@pytest.mark.parametrize("data_dir", ["a file", "a file/below", "/proc/nowhere"])
def test_an_unusable_data_directory_is_refused_in_one_line(tmp_path: Path, data_dir: str) -> None:
    (tmp_path / "a file").touch()

    done = command(tmp_path, DATA_DIR=data_dir)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("DATA_DIR: should be a directory that can be made and written to; ")


def test_objects_loaded_at_start_are_frozen_for_the_garbage_collector(make_app: Callable[[], ServerApp]) -> None:
    thresholds = gc.get_threshold()
    try:
        with ReusableClient(make_app(), port=free_port()) as client:
            client.get("/health/live")
            out_of_sight, in_sight = gc.get_freeze_count(), len(gc.get_objects())
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)

    assert out_of_sight > 10 * in_sight
