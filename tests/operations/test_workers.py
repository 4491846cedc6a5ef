"""Several workers: they share one database, end together, however and whenever they are told to, and come back."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkProcess
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg import sql

from service.server import listen_socket, supervisor
from service.settings.all_settings import SettingsError, load_settings
from tests import support
from tests.databases import Urls
from tests.support import FEBRUARY, POSTMASTER, SECRET, Service, User, sign_up


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
            assert User(http, user.id, user.email, user.token).get("/api/tasks").json() == FEBRUARY.list_of()

    assert service.stop() == 0
    assert not (tmp_path / ".data" / POSTMASTER).exists()


@pytest.mark.skipif(not listen_socket.CAN_BE_DIVIDED, reason="elsewhere all workers wait at one socket")
def test_each_worker_listens_for_itself_so_that_the_system_divides_the_connections(
    database_url: str, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2}
    with support.running(tmp_path, **settings) as service:
        wait_for(lambda: is_ready(service, 2))
        assert listening_sockets(service.port) == 2

        os.kill(workers_of(service)[0], signal.SIGKILL)
        wait_for(lambda: is_ready(service, 3))

        # No other process held that of the killed one: what waits in it would never be answered.
        assert listening_sockets(service.port) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_the_process_that_forks_has_one_thread(tmp_path: Path) -> None:
    """A lock that another thread holds at that moment would stay locked in the worker for good."""
    with support.running(tmp_path, WORKERS=2) as service:
        wait_for(lambda: is_ready(service, 2))

        status = Path(f"/proc/{service.process.pid}/status").read_text()

        assert "\nThreads:\t1\n" in status


def listening_sockets(number: int) -> int:
    listens = "0A"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(own.endswith(f":{number:04X}") and state == listens for _, own, _, state, *_ in sockets)


def test_a_port_is_taken_before_any_worker_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", str(support.free_port()))
    address = listen_socket.of_api(load_settings(_env_file=None))

    with listen_socket.taken(address, divided=True):
        for divided in (True, False):
            with pytest.raises(SettingsError, match="a free port"), listen_socket.taken(address, divided=divided):
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


def workers_of(service: Service) -> list[int]:
    """The oldest first: worker 1, worker 2, and those that were started again."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if int(fields[1]) == service.process.pid and fields[0] != "Z":
            found.append((int(fields[19]), int(stat.parent.name)))
    return [pid for _, pid in sorted(found)]


@pytest.mark.skipif(sys.platform != "linux", reason="finds the workers in /proc")
def test_a_worker_that_is_killed_comes_back_also_while_the_database_is_away(
    server_url: str, own_database: Urls, tmp_path: Path
) -> None:
    name = sql.Identifier(own_database.admin.rpartition("/")[2].partition("?")[0])
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2}
    expected: list[str] = []

    def kill(place: int) -> str:
        pid = workers_of(service)[place]
        os.kill(pid, signal.SIGKILL)
        return f"worker 1 ({pid}) was ended by signal 9 (Killed); it is started again"

    def all_serve() -> None:
        for _ in range(10):
            answer = httpx.get(f"{service.url}/health", timeout=60, verify=support.TRUST)
            assert answer.json() == {"status": "healthy"}

    def let_in(connection: psycopg.Connection, *, allowed: bool) -> None:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(name, sql.Literal(allowed)))

    with psycopg.connect(server_url, autocommit=True) as connection, support.running(tmp_path, **settings) as service:
        wait_for(lambda: is_ready(service, 2))

        expected.append(f"{kill(0)} at once")
        wait_for(lambda: said(service) == expected)  # what it had not taken in yet went with it
        all_serve()
        wait_for(lambda: is_ready(service, 3))

        let_in(connection, allowed=False)
        expected.append(f"{kill(-1)} in 1 s")
        wait_for(lambda: is_ready(service, 4))
        assert said(service)[:2] == expected
        assert said(service)[2].startswith("starting without a database connection: ")
        let_in(connection, allowed=True)
        all_serve()

        again = f"{kill(-1)} in 2 s"
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
        wait_for(lambda: len(workers_of(service)) == 2)
        hangs, killed = workers_of(service)
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: said(service))
        wait_for(lambda: is_ready(service, 2))
        os.kill(hangs, signal.SIGSTOP)

        assert service.stop() == 0
        assert said(service) == [
            f"worker 2 ({killed}) was ended by signal 9 (Killed); it is started again at once",
            f"worker 1 ({hangs}) does not end, and is killed",
        ]


@pytest.mark.parametrize("to_all", [False, True], ids=["to the supervisor", "to all"])
@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_workers_that_are_stopped_while_they_start_end_at_once_and_quietly(
    own_database: Urls, tmp_path: Path, told: signal.Signals, *, to_all: bool
) -> None:
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "WORKERS": 2}
    service = support.start(tmp_path, **settings)
    wait_for(lambda: len(workers_of(service)) == 2)

    if to_all:
        os.killpg(service.process.pid, told)
    else:
        service.process.send_signal(told)

    assert service.wait() == 0
    assert said(service) == []
    assert "Traceback" not in service.log.read_text()


def test_a_worker_that_cannot_be_started_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(ForkProcess, "start", fails)
    worker = supervisor.Worker(0, lambda: None)

    for _ in range(7):
        worker.start()

    assert [message.rpartition("again ")[2] for message in caplog.messages] == [
        "at once", "in 1 s", "in 2 s", "in 4 s", "in 8 s", "in 15 s", "in 15 s",
    ]  # fmt: skip
    assert caplog.messages[0] == (
        "worker 1 cannot be started: Resource temporarily unavailable; it is tried again at once"
    )
