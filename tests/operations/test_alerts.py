"""Each alert fires under a real fault and clears after it: the rules of deploy/prometheus/ in a real Prometheus.

A minute of the rules is a second here. Their expressions are the same otherwise."""

import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests import databases, prometheus, support
from tests.databases import Server, Urls
from tests.issuers import PATH, Publisher, claims_of, ed_key, publishing
from tests.operations.test_alert_rules import NAMES
from tests.operations.test_database_faults import new_user
from tests.operations.test_workers import workers_of
from tests.outages import wait_for
from tests.prometheus import Prometheus
from tests.support import PASSWORD, SECRET, TRUST, Service, User, new_email

pytestmark = [
    prometheus.needs_prometheus,
    pytest.mark.skipif(sys.platform != "linux", reason="finds the processes of servers and workers in /proc"),
]

USERS = 8
# Short time limits, so that each fault can be short; few connections, so that a few users use all of them.
SETTINGS = {
    "WORKERS": 3, "POOL_MAX": 1, "POOL_TIMEOUT": 1.5, "STATEMENT_TIMEOUT": 2, "HASH_THREADS": 1, "BCRYPT_ROUNDS": 12,
}  # fmt: skip
PAUSE_SECONDS = 0.1  # between two requests of a client
SLOW_SECONDS = 1.3  # more than the p99 at which the alert fires, less than the time limits

Send: TypeAlias = Callable[[User], object]


class LogReader(threading.Thread):
    """Copies the log of a service from a pipe to a file, but not while it is stalled."""

    def __init__(self, pipe: int, file: Path) -> None:
        super().__init__(daemon=True)
        self._pipe, self._file = pipe, file
        self.is_stalled, self.has_ended = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self._file.open("ab", buffering=0) as copy:
            while not self.has_ended.is_set():
                if self.is_stalled.is_set() or not select.select([self._pipe], [], [], 0.1)[0]:
                    time.sleep(0.05)
                else:
                    copy.write(os.read(self._pipe, 65536))
        os.close(self._pipe)


class Setup(NamedTuple):
    """A service with a separate database server, and a Prometheus, shared by all faults."""

    server: Server
    urls: Urls
    service: Service
    log: LogReader
    issuer: Publisher
    users: list[User]
    prometheus: Prometheus


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    directory, metrics_port = tmp_path_factory.mktemp("alerts"), support.free_port()
    with ExitStack() as stack:
        server = stack.enter_context(databases.own_server(directory))
        urls = databases.migrate(server.url, with_roles=True)
        issuer = stack.enter_context(publishing(ed_key().jwk))
        # Without a lock_timeout a statement that meets a lock keeps its connection: a database that is slow.
        given = {"DATABASE_URL": f"{urls.runtime}&options=-c%20lock_timeout%3D0", "METRICS_PORT": metrics_port,
                 "AUTH_ISSUERS": issuer.url}  # fmt: skip
        service, log = stack.enter_context(started(directory, **given, **SETTINGS))
        users = [new_user(urls, service) for _ in range(USERS)]
        rules = a_minute_as_a_second(prometheus.RULES.read_text())
        found = stack.enter_context(prometheus.running(directory, metrics_port, rules))
        yield Setup(server, urls, service, log, issuer, users, found)


@contextmanager
def started(directory: Path, **settings: object) -> Iterator[tuple[Service, LogReader]]:
    port, file = support.free_port(), directory / "service.log"
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=directory, stdout=writer, stderr=subprocess.STDOUT,
        env=support.environment(PORT=port, BETTER_AUTH_SECRET=SECRET, **settings), start_new_session=True,
    )  # fmt: skip
    os.close(writer)
    log, service = LogReader(reader, file), Service(port, process, file)
    try:
        service.wait_until_ready()
        yield service, log
    finally:
        process.terminate()
        service.wait()
        log.has_ended.set()
        log.join()


def a_minute_as_a_second(rules: str) -> str:
    return re.sub(r"\b(\d+)m\b", r"\1s", rules).replace("* 60", "* 1")


@contextmanager
def sending(setup: Setup, *sends: Send) -> Iterator[None]:
    """Each user sends these requests all the time, each kind on a separate connection."""
    has_ended = threading.Event()

    def run(user: User, send: Send) -> None:
        with httpx.Client(base_url=setup.service.url, timeout=60, verify=TRUST) as http:
            while not has_ended.wait(PAUSE_SECONDS):
                with suppress(httpx.TransportError):  # the fault has ended the connection
                    send(User(http, user.id, user.email, user.token))

    with ExitStack() as stack:
        for user in setup.users:
            for send in sends:
                stack.enter_context(in_the_background(partial(run, user, send), has_ended))
        stack.callback(has_ended.set)
        yield


@contextmanager
def in_the_background(run: Callable[[], object], has_ended: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


def list_tasks(user: User) -> object:
    return user.get("/api/tasks")


def create_once(user: User) -> object:
    """Several statements in a transaction."""
    return user.put(f"/api/tasks/{uuid4()}", {"title": "x"}, headers={"If-None-Match": "*"})


def log_in(user: User) -> object:
    return user.http.post("/api/auth/login", json={"email": new_email(), "password": PASSWORD})


@contextmanager
def hanging(setup: Setup) -> Iterator[None]:
    os.killpg(setup.service.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(setup.service.process.pid, signal.SIGCONT)


@contextmanager
def database_away(setup: Setup) -> Iterator[None]:
    setup.server.stop("fast")
    yield
    setup.server.start()


@contextmanager
def long_lock(setup: Setup) -> Iterator[None]:
    with sending(setup, create_once), psycopg.connect(setup.urls.admin) as connection:
        connection.execute("LOCK TABLE tasks")
        yield


@contextmanager
def many_logins(setup: Setup) -> Iterator[None]:
    with sending(setup, log_in, log_in):
        yield


@contextmanager
def short_locks(setup: Setup) -> Iterator[None]:
    has_ended = threading.Event()

    def lock() -> None:
        with psycopg.connect(setup.urls.admin, autocommit=True) as connection:
            while not has_ended.wait(PAUSE_SECONDS):
                with connection.transaction():
                    connection.execute("LOCK TABLE tasks")
                    time.sleep(SLOW_SECONDS)

    with in_the_background(lock, has_ended):
        yield


@contextmanager
def read_only(setup: Setup) -> Iterator[None]:
    def change(setting: str) -> None:
        may_write = "-c default_transaction_read_only=off"
        with psycopg.connect(setup.urls.admin, autocommit=True, options=may_write) as connection:
            connection.execute(f"ALTER SYSTEM {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")

    change("SET default_transaction_read_only = on")
    with sending(setup, create_once):
        yield
    change("RESET default_transaction_read_only")


@contextmanager
def issuer_away(setup: Setup) -> Iterator[None]:
    """While users come with tokens of a key that the service does not know yet."""
    key = ed_key()
    setup.issuer.keys.append(key.jwk)
    setup.issuer.answers[PATH] = lambda: (503, {}, b"")

    def list_as_outside_user(user: User) -> object:
        token = key.sign(claims_of(setup.issuer.url))
        return user.http.get("/api/tasks", headers={"Authorization": f"Bearer {token}"})

    with sending(setup, list_as_outside_user):
        yield
    del setup.issuer.answers[PATH]


@contextmanager
def dying_workers(setup: Setup) -> Iterator[None]:
    """The oldest is killed, each time that Prometheus has seen the start of another one."""
    has_ended = threading.Event()

    def starts() -> float:
        return sum(value for series in setup.prometheus.query("todo_worker_starts_total") for _, value in series.points)

    def kill() -> None:
        seen = 0.0
        while not has_ended.wait(PAUSE_SECONDS):
            if (now := starts()) > seen:
                os.kill(workers_of(setup.service)[0], signal.SIGKILL)
                seen = now

    with in_the_background(kill, has_ended):
        yield


@contextmanager
def stalled_log(setup: Setup) -> Iterator[None]:
    setup.log.is_stalled.set()
    try:
        yield
    finally:
        setup.log.is_stalled.clear()


FAULTS: dict[str, Callable[[Setup], AbstractContextManager[None]]] = {
    "TodoDown": hanging,
    "TodoDatabaseAway": database_away,
    "TodoPoolExhausted": long_lock,
    "TodoHashingQueueFull": many_logins,
    "TodoRequestsSlow": short_locks,
    "TodoServerErrors": read_only,
    "TodoIssuerKeysTooOld": issuer_away,
    "TodoWorkerKeepsDying": dying_workers,
    "TodoLogLinesDropped": stalled_log,
}


def test_each_alert_has_a_real_fault() -> None:
    assert list(FAULTS) == NAMES


@pytest.mark.parametrize("alert", FAULTS)
def test_an_alert_fires_during_a_real_fault_and_clears_after_it(setup: Setup, alert: str) -> None:
    with sending(setup, list_tasks):
        wait_for(lambda: alert not in setup.prometheus.firing())

        with FAULTS[alert](setup):
            wait_for(lambda: alert in setup.prometheus.firing())

        wait_for(lambda: alert not in setup.prometheus.firing())
