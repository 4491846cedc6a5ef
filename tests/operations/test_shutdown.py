"""SIGTERM: unhealthy at once, serving during the drain, then running requests are finished; no request is lost."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.domain.services import CLOSE_TIMEOUT_SECONDS
from service.server.places import JUST_CAME_SECONDS
from service.server.sanic_app import ServerApp
from service.settings.all_settings import load_settings
from tests import databases, support
from tests.databases import Urls
from tests.operations.load_balancer import load_balancer_for
from tests.support import FEBRUARY, PASSWORD, SECRET, Service, User, sign_up

FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat('x', 2000) FROM generate_series(1, 5000) AS n
"""
LAST_CHUNK = b"]}\r\n0\r\n\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def own_urls(server_url: str, with_roles: bool) -> Iterator[Urls]:
    """A separate database, so that only this test's sessions are counted."""
    with databases.new_database(server_url) as url:
        yield databases.migrate(url, with_roles=with_roles)


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def settings(request: pytest.FixtureRequest, own_urls: Urls) -> dict[str, object]:
    return {"DATABASE_URL": databases.patient(own_urls.runtime), "BETTER_AUTH_SECRET": SECRET, "WORKERS": request.param}


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_all_are_up(service: Service, settings: dict[str, object]) -> None:
    wait_for(lambda: service.log.read_text().count('"ready: ') == settings["WORKERS"])


def connect(stack: ExitStack, service: Service, sent: bytes = b"", *, reads_little: bool = False) -> socket.socket:
    connection = stack.enter_context(socket.socket())
    if reads_little:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", service.port))
    connection.sendall(sent)
    return connection


def export_of(user: User) -> bytes:
    return f"GET /api/auth/me/export HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n\r\n".encode()


def everything(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(65536):
            received += more
    return received


def refuses_connections(service: Service) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", service.port)) != 0


def is_waiting_for_a_lock(urls: Urls) -> bool:
    with psycopg.connect(urls.admin) as connection:
        found = connection.execute(
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return found.rowcount == 1


def complaints(service: Service) -> list[str]:
    """Warnings and errors, except those of a drain and of the long lock_timeout of `databases.patient`."""
    lines = [line for line in service.lines() if line["level"] != "info" and line.get("reason") != "draining"]
    return [line["message"] for line in lines if not line["message"].startswith("lock_timeout is 60000 ms")]


def lost_sessions(urls: Urls) -> int:
    """The number of sessions of this database that ended without Terminate."""
    with psycopg.connect(urls.admin) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            "SELECT sessions_abandoned + sessions_fatal + sessions_killed FROM pg_stat_database "
            "WHERE datname = current_database()"
        ).fetchone()
        assert row is not None
        return int(row[0])


def test_sigterm_makes_health_503_serves_on_during_drain_and_finishes_running_requests(
    settings: dict[str, object], own_urls: Urls, tmp_path: Path
) -> None:
    lost = lost_sessions(own_urls)
    with ExitStack() as stack:
        service = stack.enter_context(support.running(tmp_path, **settings, DRAIN=5, STATEMENT_TIMEOUT=60))
        threads = stack.enter_context(ThreadPoolExecutor())
        blocker = stack.enter_context(psycopg.connect(own_urls.admin))
        wait_until_all_are_up(service, settings)
        user, other = sign_up(service.http), sign_up(service.http)  # the writes of one user wait for each other
        task = user.creates(FEBRUARY)
        blocker.execute(FILL, [user.id])
        blocker.commit()
        kept = stack.enter_context(httpx.Client(base_url=service.url, timeout=60))
        assert kept.get("/health").status_code == 200
        silent, pipelining = connect(stack, service), connect(stack, service, LIVE)
        exporting = connect(stack, service, export_of(user), reads_little=True)
        exported = exporting.recv(1000)
        blocker.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        written = threads.submit(user.put, f"/api/tasks/{task['id']}", {"title": "written"})
        wait_for(lambda: is_waiting_for_a_lock(own_urls))

        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: service.http.get("/health").status_code == 503)
        wait_for(lambda: {service.http.get("/health").status_code for _ in range(10)} == {503})
        health = service.http.get("/health")
        logged_in = threads.submit(
            service.http.post, "/api/auth/login", json={"email": user.email, "password": PASSWORD}
        )
        on_kept = User(kept, other.id, other.email, other.token).post("/api/tasks", {"title": "in time"})
        pipelining.sendall(LIVE + LIVE)

        assert health.json() == {"status": "unhealthy"}
        assert (on_kept.status_code, on_kept.headers["Connection"]) == (201, "close")
        assert logged_in.result().status_code == 200
        assert everything(pipelining).count(b'{"status":"alive"}') == 3
        assert everything(silent) == b""
        wait_for(lambda: refuses_connections(service))
        os.killpg(service.process.pid, signal.SIGTERM)  # a second SIGTERM, to all processes, changes nothing
        time.sleep(0.5)
        assert service.process.poll() is None
        blocker.commit()
        assert (written.result().status_code, written.result().json()["title"]) == (200, "written")
        exported += everything(exporting)
        assert exported.endswith(LAST_CHUNK)
        assert exported.count(b'"title"') == 5001

        assert service.wait() == 0
        assert complaints(service) == []
    assert lost_sessions(own_urls) == lost


def test_requests_that_do_not_end_in_time_are_visibly_cut_off_at_shutdown(
    settings: dict[str, object], own_urls: Urls, tmp_path: Path
) -> None:
    lost = lost_sessions(own_urls)
    with ExitStack() as stack:
        patience = {"STATEMENT_TIMEOUT": 3, "HEADER_TIMEOUT": 60, "BODY_TIMEOUT": 60}
        service = stack.enter_context(support.running(tmp_path, **settings, **patience))
        blocker = stack.enter_context(psycopg.connect(own_urls.admin))
        wait_until_all_are_up(service, settings)
        user = sign_up(service.http)
        blocker.execute(FILL, [user.id])
        blocker.commit()
        exporting = connect(stack, service, export_of(user), reads_little=True)
        assert exporting.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        head = f"POST /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
        half_a_head = connect(stack, service, head.encode())
        half_a_body = connect(stack, service, f"{head}Content-Length: 100\r\n\r\n{{".encode())

        came = time.monotonic()
        newcomer = connect(stack, service)

        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: refuses_connections(service))
        with suppress(ConnectionError):
            newcomer.sendall(LIVE)
        was_too_slow = time.monotonic() - came > JUST_CAME_SECONDS / 2
        answered = everything(newcomer).endswith(b'{"status":"alive"}')

        assert answered or was_too_slow
        assert service.process.wait(60) == 0
        assert not everything(exporting).endswith(LAST_CHUNK)
        assert everything(half_a_head) == everything(half_a_body) == b""
        assert complaints(service) == []
    assert lost_sessions(own_urls) == lost


def test_shutdown_takes_less_than_ten_seconds_by_default(make_app: Callable[[], ServerApp]) -> None:
    grace = make_app().config.GRACEFUL_SHUTDOWN_TIMEOUT

    assert load_settings().drain + grace + CLOSE_TIMEOUT_SECONDS <= 9


class Load:
    """A client that reads and writes in a loop, and records its writes and errors."""

    def __init__(self, port: int, user: User, pause: float, *, keep_alive: bool = True) -> None:
        self.written: list[str] = []
        self.wrong: list[str] = []
        self._url, self._user, self._pause = f"http://127.0.0.1:{port}", user, pause
        self._limits = httpx.Limits(max_keepalive_connections=None if keep_alive else 0)

    def run(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=self._url, timeout=60, limits=self._limits, verify=support.TRUST) as http:
            user = User(http, self._user.id, self._user.email, self._user.token)
            while not stop.wait(self._pause):
                title = uuid4().hex
                try:
                    written = user.post("/api/tasks", {"title": title})
                    read = user.get("/api/auth/me")
                except httpx.TransportError as error:
                    self.wrong.append(repr(error))
                    return
                if (written.status_code, read.status_code) != (201, 200):
                    self.wrong.append(f"{written.text} {read.text}")
                self.written.append(title)


def wait_for_load(copy: Service) -> None:
    before = copy.log.read_text().count("/api/")
    wait_for(lambda: copy.log.read_text().count("/api/") > before + 10)


@pytest.mark.parametrize("settings", [1], indirect=True)
def test_a_rolling_restart_under_load_loses_no_request(
    settings: dict[str, object], own_urls: Urls, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        copies = [stack.enter_context(support.running(tmp_path, **settings, DRAIN=5)) for _ in range(2)]
        user = sign_up(copies[0].http)
        balancer = stack.enter_context(load_balancer_for(*(copy.port for copy in copies)))
        wait_for(lambda: len(balancer.healthy) == 2)
        stop = threading.Event()
        load = [Load(balancer.port, user, pause) for pause in (0.01, 0.03, 0.5)]
        load.append(Load(balancer.port, user, 0.03, keep_alive=False))
        threads = stack.enter_context(ThreadPoolExecutor(len(load)))
        stack.callback(stop.set)
        ended = [threads.submit(each.run, stop) for each in load]

        for copy in copies:
            wait_for_load(copy)
            assert copy.stop() == 0
            again = stack.enter_context(support.running(tmp_path, **settings, DRAIN=5, PORT=copy.port))
            wait_for(lambda: len(balancer.healthy) == 2)
            wait_for_load(again)
        stop.set()
        for each in ended:
            each.result()

    assert [each.wrong for each in load] == [[]] * len(load)
    with psycopg.connect(own_urls.admin) as connection:
        stored = connection.execute("SELECT title FROM tasks WHERE user_id = %s ORDER BY title", [user.id]).fetchall()
    assert [title for (title,) in stored] == sorted(title for each in load for title in each.written)
