"""Several workers: they share one database, end together, however and whenever they are told to, and come back."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from service.server import listen_socket, workers
from service.settings.all_settings import SettingsError, load_settings
from tests import support
from tests.databases import Urls
from tests.support import SECRET, Service, User, sign_up

POSTMASTER = Path("postgresql") / "postmaster.pid"


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_several_workers_end_though_they_were_stopped_during_their_start(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    wait_for(lambda: "embedded PostgreSQL" in service.log.read_text())
    time.sleep(0.5)

    assert service.stop() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


def test_a_second_ctrl_c_harms_nothing(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    wait_for(lambda: is_ready(service, 2))

    for _ in range(3):
        os.killpg(service.process.pid, signal.SIGINT)
        time.sleep(0.2)

    assert service.wait() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


def test_several_workers_share_one_database_and_end_together(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    service.wait_until_ready()
    user = sign_up(service.http)
    for _ in range(10):
        with httpx.Client(base_url=service.url, timeout=60, verify=support.TRUST) as http:
            assert User(http, user.id, user.email, user.token).get("/api/tasks").json() == {"tasks": []}

    assert service.stop() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


@pytest.mark.skipif(not listen_socket.CAN_BE_DIVIDED, reason="elsewhere all workers wait at one socket")
def test_each_worker_listens_for_itself_so_that_the_system_divides_the_connections(tmp_path: Path) -> None:
    with support.running(tmp_path, WORKERS=2) as service:
        wait_for(lambda: is_ready(service, 2))

        assert listening_sockets(service.port) == 2


def listening_sockets(number: int) -> int:
    listens = "0A"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(own.endswith(f":{number:04X}") and state == listens for _, own, _, state, *_ in sockets)


def test_a_port_is_taken_before_any_worker_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", str(support.free_port()))
    settings = load_settings(_env_file=None)

    with listen_socket.taken(settings, divided=True):
        for divided in (True, False):
            with pytest.raises(SettingsError, match="a free port"), listen_socket.taken(settings, divided=divided):
                pass


def has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    service = support.start(tmp_path, WORKERS=2)
    service.wait_until_ready()
    service.stop(signal.SIGKILL)

    wait_for(lambda: not is_listening(service.port))
    wait_for(lambda: not has_processes(service.process.pid))
    with support.running(tmp_path, PORT=service.port) as again:
        assert again.http.get("/health").status_code == 200


def test_a_signal_for_all_processes_stops_them_in_order(database_url: str, tmp_path: Path) -> None:
    """As systemd sends it. Once is enough, and more often does no harm."""
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2, "DRAIN": 1}
    with support.running(tmp_path, **settings) as service:
        wait_for(lambda: is_ready(service, 2))

        while service.process.poll() is None:
            os.killpg(service.process.pid, signal.SIGTERM)
            time.sleep(0.3)

        assert service.wait() == 0
        assert [line["message"] for line in service.lines() if line["level"] != "info"] == []


def is_ready(service: Service, times: int) -> bool:
    return [str(line["message"])[:7] for line in service.lines()].count("ready: ") >= times


def said(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["level"] == "warning"]


def pid_of(service: Service, worker: str) -> int:
    """Of the process that Sanic gave this name."""
    name = f"SANIC_WORKER_NAME={worker}\0".encode()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            parent = (environment.parent / "stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == service.process.pid and name in environment.read_bytes():
                return int(environment.parent.name)
        except OSError:  # it has just ended
            continue
    raise AssertionError(f"no {worker}")


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_that_is_killed_comes_back_also_while_the_database_is_away(
    server_url: str, own_database: Urls, tmp_path: Path
) -> None:
    worker = "Sanic-Server-0-0"
    name = sql.Identifier(own_database.admin.rpartition("/")[2].partition("?")[0])
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2}
    expected: list[str] = []

    def kill() -> str:
        pid = pid_of(service, worker)
        os.kill(pid, signal.SIGKILL)
        return f"worker {worker} ({pid}) was ended by signal 9 (Killed); it is started again"

    def all_serve() -> None:
        for _ in range(10):
            answer = httpx.get(f"{service.url}/health", timeout=60, verify=support.TRUST)
            assert answer.json() == {"status": "healthy"}

    def let_in(connection: psycopg.Connection, *, allowed: bool) -> None:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(allowed)))

    with psycopg.connect(server_url, autocommit=True) as connection, support.running(tmp_path, **settings) as service:
        wait_for(lambda: is_ready(service, 2))

        expected.append(f"{kill()} at once")
        wait_for(lambda: said(service) == expected)  # what it had not taken in yet went with it
        all_serve()
        wait_for(lambda: is_ready(service, 3))

        let_in(connection, allowed=False)
        expected.append(f"{kill()} in 1 s")
        wait_for(lambda: is_ready(service, 4))
        assert said(service)[:2] == expected
        assert said(service)[2].startswith("starting without a database connection: ")
        let_in(connection, allowed=True)
        all_serve()

        again = f"{kill()} in 2 s"
        wait_for(lambda: len(said(service)) == 4)
        assert said(service)[3] == again
        assert service.stop() == 0
        assert "Traceback" not in service.log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_that_is_killed_before_it_served_comes_back_and_one_that_hangs_does_not_hold_the_stop(
    database_url: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2}
    with support.running(tmp_path, **settings) as service:
        wait_for(lambda: has_worker(service, "Sanic-Server-1-0"))
        killed = pid_of(service, "Sanic-Server-1-0")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: said(service))
        wait_for(lambda: is_ready(service, 2))
        hangs = pid_of(service, "Sanic-Server-0-0")
        os.kill(hangs, signal.SIGSTOP)

        assert service.stop() == 0
        assert said(service) == [
            f"worker Sanic-Server-1-0 ({killed}) was ended by signal 9 (Killed); it is started again at once",
            f"worker Sanic-Server-0-0 ({hangs}) does not end, and is killed",
        ]


def has_worker(service: Service, worker: str) -> bool:
    try:
        return pid_of(service, worker) > 0
    except AssertionError:
        return False


def start_slowly(started: Event) -> None:
    workers.end_quietly_while_starting()
    started.set()
    time.sleep(60)


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_that_is_told_to_stop_while_it_starts_ends_at_once_and_quietly(told: signal.Signals) -> None:
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    worker = context.Process(target=start_slowly, args=[started])
    worker.start()
    assert started.wait(60)
    assert worker.pid is not None

    os.kill(worker.pid, told)
    worker.join(60)

    assert worker.exitcode == 0
    worker.close()
