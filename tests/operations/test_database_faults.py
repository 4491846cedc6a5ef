"""The database is killed, stopped, frozen, filled and locked under a steady load: nothing acknowledged is lost, nothing
is done twice, nobody hangs, and the service needs no restart."""

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

# Short, so that a fault need not last for long.
PATIENCE = {"POOL_TIMEOUT": 1, "STATEMENT_TIMEOUT": 1, "TOKEN_RECHECK": 1, "WORKERS": 1}
SLOTS = 20


class Place(NamedTuple):
    """A server and a service on it, which every fault but the last meets."""

    server: Server
    urls: Urls
    service: Service
    users: list[User]


@contextmanager
def made(directory: Path) -> Iterator[Place]:
    with databases.own_server(directory, [f"max_connections={SLOTS}", "max_wal_size=32MB"]) as server:
        urls = databases.migrate(server.url, with_roles=True)
        settings = {"DATABASE_URL": urls.runtime, "BETTER_AUTH_SECRET": SECRET} | PATIENCE
        with support.running(directory, **settings) as service:
            yield Place(server, urls, service, [new_user(urls, service) for _ in range(CLIENTS)])


def new_user(urls: Urls, service: Service) -> User:
    """Past the sign-up, whose hash may take longer than anybody waits here."""
    email = new_email()
    with psycopg.connect(urls.admin) as connection:
        [[user_id]] = connection.execute(
            "INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id", [email]
        )
    return User(service.http, str(user_id), email, Tokens(SECRET, None, 1).issue(user_id, email, 0))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with made(tmp_path_factory.mktemp("faults")) as place:
        yield place


def wait_for_health(service: Service, status: int, said: str) -> None:
    deadline = time.monotonic() + 60
    while (answer := service.http.get("/health")).status_code != status:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert answer.json() == {"status": said}


@contextmanager
def killed(place: Place) -> Iterator[None]:
    place.server.kill()
    yield
    place.server.start()


@contextmanager
def shut_down(place: Place) -> Iterator[None]:
    place.server.stop("fast")
    yield
    place.server.start()


@contextmanager
def frozen(place: Place) -> Iterator[None]:
    place.server.freeze()
    yield
    place.server.thaw()


@contextmanager
def read_only(place: Place) -> Iterator[None]:
    with psycopg.connect(place.urls.admin, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
    yield
    with psycopg.connect(
        place.urls.admin, autocommit=True, options="-c default_transaction_read_only=off"
    ) as connection:
        connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
        connection.execute("SELECT pg_reload_conf()")


@contextmanager
def without_slots(place: Place) -> Iterator[None]:
    """Others hold every connection that an ordinary role may have."""
    with ExitStack() as stack:
        others = 1
        admin = stack.enter_context(psycopg.connect(place.urls.admin, autocommit=True))
        while others < SLOTS - 3:  # superuser_reserved_connections
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'todo'")
            with suppress(psycopg.OperationalError):
                while True:
                    stack.enter_context(psycopg.connect(place.urls.owner))
                    others += 1
        yield


@contextmanager
def locked(place: Place) -> Iterator[None]:
    with psycopg.connect(place.urls.admin) as connection:
        connection.execute("LOCK TABLE tasks")
        yield


def survives(place: Place, fault: Callable[[Place], object], ledger: Ledger) -> None:
    with fault(place):  # type: ignore[attr-defined]  # a context manager
        wait_for_health(place.service, 503, "unhealthy")
        ledger.wait_until_nobody_is_spared()
        alive = place.service.http.get("/health/live")
        assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    ended = time.monotonic()
    ledger.wait_until_all_are_served()
    print(f"\nserved again after {time.monotonic() - ended:.2f} s")  # noqa: T201 - seen with -s
    wait_for_health(place.service, 200, "healthy")


def check(ledger: Ledger, place: Place, fault: str) -> None:
    counts = ledger.compare(place.urls.admin)
    print(fault, counts, dict(ledger.reads))  # noqa: T201 - seen with -s
    assert ledger.odd == []
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
def test_a_fault_is_said_and_nothing_acknowledged_is_lost(
    place: Place, fault: Callable[[Place], object], outcome: str
) -> None:
    with load(place.users) as ledger:
        survives(place, fault, ledger)

    check(ledger, place, fault.__name__)
    assert (ledger.writes + ledger.reads)[outcome] > 0


def restart(place: Place) -> None:
    place.server.stop("fast")
    place.server.start()


def terminate_connections(place: Place) -> None:
    with psycopg.connect(place.urls.admin, autocommit=True) as connection:
        for _ in range(5):
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'todo'")
            time.sleep(0.1)


@pytest.mark.parametrize("blow", [restart, terminate_connections])
def test_a_blow_that_is_over_at_once_needs_no_restart_either(place: Place, blow: Callable[[Place], None]) -> None:
    with load(place.users) as ledger:
        blow(place)
        ledger.wait_until_all_are_served()

    check(ledger, place, blow.__name__)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a small disk")
def test_a_full_disk_is_said_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=192m,mode=0700", "todo-test", disk], check=True)  # noqa: S607 - of the system
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no disk may be mounted here")
    try:
        with made(disk) as place:
            with load(place.users) as ledger:
                survives(place, full, ledger)
            check(ledger, place, "full")
    finally:
        subprocess.run(["umount", disk], check=True)  # noqa: S607 - of the system


@contextmanager
def full(place: Place) -> Iterator[None]:
    waste = place.server.data.parent / "waste"
    with waste.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"0" * 4096)
    yield
    waste.unlink()
