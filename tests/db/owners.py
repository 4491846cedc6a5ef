"""Users with two tasks each, a Database in this process, and row locks held by another session."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from service.background import Background
from service.db.database import Database, Row
from service.domain import tasks
from service.domain.accounts import CREATE_USER
from service.domain.tasks import Changes
from service.errors import Problem
from service.settings.all_settings import load_settings
from service.traces.tracer import Tracer
from tests.support import SECRET, new_email

USERS = 5
DONE = Changes({"is_completed": True})


class Owner(NamedTuple):
    id: UUID
    tasks: list[Row]  # two, the newest first

    @property
    def task(self) -> str:
        return str(self.tasks[0]["id"])

    @property
    def listed(self) -> list[dict[str, Any]]:
        """The tasks as a list returns them, before any other write: the second create took the number 2."""
        return [dict(task) | {"list_version": len(self.tasks)} for task in self.tasks]


@asynccontextmanager
async def database_at(
    url: str, pool: int = 4, tracer: Tracer | None = None, **settings: object
) -> AsyncIterator[Database]:
    background = Background()
    given = {"pool_min": 1, "pool_max": pool, "statement_timeout": 30} | settings
    loaded = load_settings(database_url=url, better_auth_secret=SECRET, **given)
    database = await Database.connect(loaded, background, tracer=tracer)
    yield database
    await background.close()
    await database.close()


async def new_owners(database: Database, number: int = USERS) -> list[Owner]:
    found = []
    for _ in range(number):
        user = await database.require_one(CREATE_USER, email=new_email(), password_hash="no hash", network=b"")
        made = [await tasks.create_task(database, user["id"], {"title": title}) for title in ("first", "second")]
        found.append(Owner(user["id"], made[::-1]))
    return found


async def gather_all(*asked: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*asked, return_exceptions=True)


def code_of(answer: object) -> object:
    return answer.code if isinstance(answer, Problem) else answer


@asynccontextmanager
async def row_locked(url: str, owner: Owner) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Another session locks this owner's first task, until the context ends or the yielded function is called."""
    connection = await asyncpg.connect(url)
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(
        "SELECT FROM tasks WHERE user_id = $1 AND id = $2 FOR UPDATE", owner.id, owner.tasks[0]["id"]
    )
    try:
        yield transaction.rollback
    finally:
        await connection.close()


async def prepare_update_on_two_connections(admin_url: str, database: Database, owners: list[Owner]) -> None:
    """Prepares the update statement on two connections of the pool.

    The first owner's update waits for a lock while the batch of the others is sent, so each uses another connection,
    however slow the machine is. Needs a URL of `databases.patient`."""
    async with row_locked(admin_url, owners[0]):
        first = asyncio.create_task(tasks.update_task(database, owners[0].id, owners[0].task, DONE))
        await wait_for_lock_waiters(admin_url, 1)
        others = await gather_all(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners[1:]))
    answers = [await first, *others]
    assert [row["user_id"] for row in answers] == [owner.id for owner in owners]


async def wait_for_lock_waiters(url: str, number: int) -> None:
    """Returns when this number of sessions of the database wait for a lock."""
    connection = await asyncpg.connect(url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await connection.fetchval(query) < number:  # noqa: ASYNC110 - PostgreSQL has no event for it
        await asyncio.sleep(0.02)
    await connection.close()
