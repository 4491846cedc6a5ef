"""Connections to the database that die: which statements are sent again, and how dead connections are found."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from service.background import Background
from service.db import pool
from service.db.database import Database
from service.domain import tasks
from service.domain.users import GET_USER
from service.settings.all_settings import load_settings
from tests import support
from tests.db.database_proxy import DatabaseProxy
from tests.support import FEBRUARY, SECRET, Service, User

DATABASE_ERROR = {"error": "A database error occurred", "code": "DATABASE_ERROR"}
CONNECT_DELAY = 4.0  # seconds, as for a database that was suspended


@pytest.fixture
def proxy(database_url: str) -> Iterator[DatabaseProxy]:
    made = DatabaseProxy(database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_proxy(database_url: str) -> Iterator[DatabaseProxy]:
    made = DatabaseProxy(database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def service_behind_proxy(shared_proxy: DatabaseProxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("line")
    settings = {"DATABASE_URL": shared_proxy.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MAX": 3}
    with support.running(directory, **settings) as service:
        yield service


@pytest.fixture
def user(service_behind_proxy: Service, ann: User) -> User:
    """A user whose token has just been checked, so that no request checks it again."""
    moved = User(service_behind_proxy.http, ann.id, ann.email, ann.token)
    moved.get("/api/auth/me")
    return moved


def test_a_write_is_not_sent_again_after_its_connection_died(
    shared_proxy: DatabaseProxy, user: User, database: psycopg.Connection
) -> None:
    first = user.creates(FEBRUARY)["title"]
    shared_proxy.cut_on_bytes, shared_proxy.cuts, shared_proxy.cuts_left = b"only once", 0, 5

    answer = user.post("/api/tasks", {"title": "only once"})

    assert (answer.status_code, answer.json(), shared_proxy.cuts) == (500, DATABASE_ERROR, 1)
    stored = "SELECT title FROM tasks WHERE user_id = %s ORDER BY created_at DESC"
    assert database.execute(stored.encode(), [user.id]).fetchall() == [("only once",), (first,)]
    assert [task["title"] for task in user.get("/api/tasks").json()["tasks"]] == ["only once", first]


@pytest.mark.parametrize(("cuts", "status"), [(1, 200), (2, 500)])
def test_a_read_is_sent_once_more_after_its_connection_died(
    shared_proxy: DatabaseProxy, user: User, cuts: int, status: int
) -> None:
    task = user.post("/api/tasks", {"title": "x"}).json()
    shared_proxy.cut_on_bytes, shared_proxy.cuts, shared_proxy.cuts_left = UUID(task["id"]).bytes, 0, cuts

    answer = user.get(f"/api/tasks/{task['id']}")

    assert (answer.status_code, answer.json()) == (status, task if status == 200 else DATABASE_ERROR)
    assert (shared_proxy.cuts, shared_proxy.cuts_left) == (cuts, 0)


def test_a_request_to_a_suspended_database_waits_and_succeeds(shared_proxy: DatabaseProxy, user: User) -> None:
    shared_proxy.close_all()
    shared_proxy.connect_delay_seconds = CONNECT_DELAY
    try:
        created = user.post("/api/tasks", {"title": "first after the night"})
    finally:
        shared_proxy.connect_delay_seconds = 0.0

    assert created.status_code == 201
    assert user.get("/api/tasks").json() == FEBRUARY.list_of(created.json())
    assert load_settings().pool_timeout > CONNECT_DELAY  # the tests have a longer one


@asynccontextmanager
async def connected(proxy: DatabaseProxy, **settings: object) -> AsyncIterator[Database]:
    background = Background()
    database = await Database.connect(
        load_settings(database_url=proxy.url, better_auth_secret=SECRET, **settings), background
    )
    try:
        yield database
    finally:
        proxy.close_all()
        await background.close()
        await database.close()


def test_a_long_idle_connection_is_checked_before_it_is_used(
    proxy: DatabaseProxy, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write on a dead one would wait for STATEMENT_TIMEOUT, and its outcome would be unknown."""
    monkeypatch.setattr(pool, "TRUST_IDLE_SECONDS", 0.0)

    async def twice() -> list[str]:
        made = []
        async with connected(proxy, pool_max=1) as database:
            for title in ("before the night", "after it"):
                proxy.drop_silently()
                row = await tasks.create_task(database, UUID(ann.id), {"title": title})
                made.append(row["title"])
        return made

    assert asyncio.run(twice()) == ["before the night", "after it"]


def test_of_many_dead_idle_connections_only_one_is_checked(
    proxy: DatabaseProxy, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking each of them would take longer than POOL_TIMEOUT."""
    monkeypatch.setattr(pool, "TRUST_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(pool, "IDLE_CHECK_TIMEOUT_SECONDS", 1.0)

    async def write_after_silence() -> str:
        async with connected(proxy, pool_max=20, pool_timeout=12) as database:
            # 20 users, as one has only a share of the pool.
            await asyncio.gather(*(database.one(GET_USER, user_id=uuid4()) for _ in range(20)))
            assert len(proxy.connections) >= 20
            proxy.drop_silently()
            row = await tasks.create_task(database, UUID(ann.id), {"title": "after it"})
            return str(row["title"])

    assert asyncio.run(write_after_silence()) == "after it"
