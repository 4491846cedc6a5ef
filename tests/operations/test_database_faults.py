"""Database faults under a steady load: no acknowledged write is lost or done twice, no request hangs, no restart.

The database is killed, stopped, frozen, made read-only, filled and locked."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from service.auth.tokens import Tokens
from tests import databases, support
from tests.databases import Server, Urls
from tests.operations.ledger import CLIENTS, Ledger, load
from tests.support import SECRET, Service, User, new_email

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="a server's processes are found in /proc")

# Short, so that each fault can be short.
SHORT_TIMEOUTS = {"POOL_TIMEOUT": 1, "STATEMENT_TIMEOUT": 1, "TOKEN_RECHECK": 1, "WORKERS": 1}
SLOTS = 20


class Setup(NamedTuple):
    """A database server, a service on it and its users, shared by every fault except the full disk."""

    server: Server
    urls: Urls
    service: Service
    users: list[User]


@contextmanager
def started_setup(directory: Path) -> Iterator[Setup]:
    with databases.own_server(directory, [f"max_connections={SLOTS}", "max_wal_size=32MB"]) as server:
        urls = databases.migrate(server.url, with_roles=True)
        settings = {"DATABASE_URL": urls.runtime, "BETTER_AUTH_SECRET": SECRET} | SHORT_TIMEOUTS
        with support.running(directory, **settings) as service:
            yield Setup(server, urls, service, [new_user(urls, service) for _ in range(CLIENTS)])


def new_user(urls: Urls, service: Service) -> User:
    """Inserts a user, as hashing the password of a sign-up could exceed the short timeouts."""
    email = new_email()
    with psycopg.connect(urls.admin) as connection:
        [[user_id]] = connection.execute(
            "INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id", [email]
        )
    return User(service.http, str(user_id), email, Tokens(SECRET, None, 1).issue(user_id, email, 0))


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with started_setup(tmp_path_factory.mktemp("faults")) as setup:
        yield setup


def wait_for_health(service: Service, status: int, said: str) -> None:
    deadline = time.monotonic() + 60
    while (answer := service.http.get("/health")).status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.json() == {"status": said}


@contextmanager
def killed(setup: Setup) -> Iterator[None]:
    setup.server.kill()
    yield
    setup.server.start()


@contextmanager
def shut_down(setup: Setup) -> Iterator[None]:
    setup.server.stop("fast")
    yield
    setup.server.start()


@contextmanager
def frozen(setup: Setup) -> Iterator[None]:
    setup.server.freeze()
    yield
    setup.server.thaw()


@contextmanager
def read_only(setup: Setup) -> Iterator[None]:
    with psycopg.connect(setup.urls.admin, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
    yield
    with psycopg.connect(
        setup.urls.admin, autocommit=True, options="-c default_transaction_read_only=off"
    ) as connection:
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def without_slots(setup: Setup) -> Iterator[None]:
    """Other clients hold every connection that an ordinary role may have."""
    with ExitStack() as stack:
        others = 1
        admin = stack.enter_context(psycopg.connect(setup.urls.admin, autocommit=True))
        while others < SLOTS - 3:  # superuser_reserved_connections
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'todo'")
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(setup.urls.owner))
                    others += 1
        yield


@contextmanager
def locked(setup: Setup) -> Iterator[None]:
    with psycopg.connect(setup.urls.admin) as connection:
        connection.execute("LOCK TABLE tasks")
        yield


def check_recovery(setup: Setup, fault: Callable[[Setup], object], ledger: Ledger) -> None:
    with fault(setup):  # type: ignore[attr-defined]  # it is a context manager
        wait_for_health(setup.service, 503, "unhealthy")
        ledger.wait_until_all_were_refused()
        alive = setup.service.http.get("/health/live")
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    ended = time.monotonic()
    ledger.wait_until_all_are_served()
    print(f"\nserved again after {time.monotonic() - ended:.2f} s")  # noqa: T201 - shown with -s
    wait_for_health(setup.service, 200, "healthy")


def check(ledger: Ledger, setup: Setup, fault: str) -> None:
    counts = ledger.compare(setup.urls.admin)
    print(fault, counts, dict(ledger.reads))  # noqa: T201 - shown with -s
    assert ledger.unexpected == []
    assert ledger.wrong_replicas() == []
    assert {name: counts[name] for name in ("lost", "doubled", "out of nothing")} == {
        "lost": 0, "doubled": 0, "out of nothing": 0,
    }  # fmt: skip
    assert counts["acknowledged"] > 0


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (killed, "unknown"),
        (shut_down, "unknown"),
        (frozen, "unknown"),
        (read_only, "unknown"),
        (without_slots, "refused"),
        (locked, "unknown"),
    ],
)
def test_a_database_fault_is_reported_and_no_acknowledged_write_is_lost(
    setup: Setup, fault: Callable[[Setup], object], outcome: str
) -> None:
    with load(setup.users) as ledger:
        check_recovery(setup, fault, ledger)

    check(ledger, setup, fault.__name__)
    assert (ledger.writes + ledger.reads)[outcome] > 0


def restart(setup: Setup) -> None:
    setup.server.stop("fast")
    setup.server.start()


def terminate_connections(setup: Setup) -> None:
    with psycopg.connect(setup.urls.admin, autocommit=True) as connection:
        for _ in range(5):
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'todo'")
            time.sleep(0.1)


@pytest.mark.parametrize("fault", [restart, terminate_connections])
def test_a_short_database_fault_needs_no_restart_of_the_service(setup: Setup, fault: Callable[[Setup], None]) -> None:
    with load(setup.users) as ledger:
        fault(setup)
        ledger.wait_until_all_are_served()

    check(ledger, setup, fault.__name__)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a small disk")
def test_a_full_disk_is_reported_and_no_acknowledged_write_is_lost(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m,mode=0700", "todo-test", disk], check=True)  # noqa: S607 - a program of the system
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk may be mounted here")
    try:
        with started_setup(disk) as setup:
            with load(setup.users) as ledger:
                check_recovery(setup, full, ledger)
            check(ledger, setup, "full")
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607 - a program of the system


@contextmanager
def full(setup: Setup) -> Iterator[None]:
    waste = setup.server.data.parent / "waste"
    with waste.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0" * 4096)
    yield
    waste.unlink()
