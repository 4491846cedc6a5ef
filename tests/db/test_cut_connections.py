"""A connection to the database that dies: what happens to the statement on it, and who notices."""

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
from tests.db.database_proxy import Line
from tests.support import FEBRUARY, SECRET, Service, User

DATABASE_ERROR = {"error": "A database error occurred", "code": "DATABASE_ERROR"}
CONNECT_DELAY = 4.0  # of a database that was suspended


@pytest.fixture
def line(database_url: str) -> Iterator[Line]:
    made = Line(database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared_line(database_url: str) -> Iterator[Line]:
    made = Line(database_url)
    yield made
    made.close()


@pytest.fixture(scope="module")
def behind_line(shared_line: Line, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory: Path = tmp_path_factory.mktemp("line")
    settings = {"DATABASE_URL": shared_line.url, "BETTER_AUTH_SECRET": SECRET, "POOL_MAX": 3}
    with support.running(directory, **settings) as service:
        yield service


@pytest.fixture
def user(behind_line: Service, ann: User) -> User:
    """Whose token was checked a moment ago."""
    moved = User(behind_line.http, ann.id, ann.email, ann.token)
    moved.get("/api/auth/me")
    return moved


def test_a_write_whose_connection_died_before_the_answer_is_not_sent_again(
    shared_line: Line, user: User, database: psycopg.Connection
) -> None:
    first = user.creates(FEBRUARY)["title"]
    shared_line.cut_at, shared_line.cuts, shared_line.cuts_left = b"only once", 0, 5

    answer = user.post("/api/tasks", {"title": "only once"})

    assert (answer.status_code, answer.json(), shared_line.cuts) == (500, DATABASE_ERROR, 1)
    stored = "SELECT title FROM tasks WHERE user_id = %s ORDER BY created_at DESC"
    assert database.execute(stored.encode(), [user.id]).fetchall() == [("only once",), (first,)]
    assert [task["title"] for task in user.get("/api/tasks").json()["tasks"]] == ["only once", first]


@pytest.mark.parametrize(("cuts", "status"), [(1, 200), (2, 500)])
def test_a_read_whose_connection_died_is_sent_once_more(shared_line: Line, user: User, cuts: int, status: int) -> None:
    task = user.post("/api/tasks", {"title": "x"}).json()
    shared_line.cut_at, shared_line.cuts, shared_line.cuts_left = UUID(task["id"]).bytes, 0, cuts

    answer = user.get(f"/api/tasks/{task['id']}")

    assert (answer.status_code, answer.json()) == (status, task if status == 200 else DATABASE_ERROR)
    assert (shared_line.cuts, shared_line.cuts_left) == (cuts, 0)


def test_a_database_that_was_suspended_costs_a_wait_and_no_error(shared_line: Line, user: User) -> None:
    shared_line.close_all()
    shared_line.delay = CONNECT_DELAY
    try:
        created = user.post("/api/tasks", {"title": "first after the night"})
    finally:
        shared_line.delay = 0.0

    assert created.status_code == 201
    assert user.get("/api/tasks").json() == {"tasks": [created.json()]}
    assert load_settings().pool_timeout > CONNECT_DELAY  # that of the tests is longer


@asynccontextmanager
async def connected(line: Line, **settings: object) -> AsyncIterator[Database]:
    background = Background()
    database = await Database.connect(
        load_settings(database_url=line.url, better_auth_secret=SECRET, **settings), background
    )
    try:
        yield database
    finally:
        line.close_all()
        await background.close()
        await database.close()


def test_a_connection_that_was_idle_for_long_is_asked_before_it_is_used(
    line: Line, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write on it would wait for STATEMENT_TIMEOUT, and nobody would know whether it happened."""
    monkeypatch.setattr(pool, "TRUST_IDLE_SECONDS", 0.0)

    async def twice() -> list[str]:
        made = []
        async with connected(line, pool_max=1) as database:
            for title in ("before the night", "after it"):
                line.forget_all()
                row = await tasks.create_task(database, UUID(ann.id), {"title": title})
                made.append(row["title"])
        return made

    assert asyncio.run(twice()) == ["before the night", "after it"]


def test_of_many_that_died_while_they_were_idle_one_is_asked(
    line: Line, ann: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To ask each would take longer than anybody waits."""
    monkeypatch.setattr(pool, "TRUST_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(pool, "IDLE_CHECK_TIMEOUT_SECONDS", 1.0)

    async def after_the_night() -> str:
        async with connected(line, pool_max=20, pool_timeout=12) as database:
            await asyncio.gather(*(database.one(GET_USER, user_id=uuid4()) for _ in range(20)))  # one alone has a share
            assert len(line.connections) >= 20
            line.forget_all()
            row = await tasks.create_task(database, UUID(ann.id), {"title": "after it"})
            return str(row["title"])

    assert asyncio.run(after_the_night()) == "after it"
