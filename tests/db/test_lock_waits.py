"""Lock waits: a blocked statement gives its connection back, others are served, and it is retried."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import psycopg
import pytest

from service.db import admin_session, lock_waits
from service.db.connect import Connector, DatabaseConnection
from service.db.database import Database
from service.db.lock_waits import LockWaits
from service.domain import tasks
from service.domain.account_changes import DELETE_USER
from service.domain.users import get_user
from service.errors import Code
from service.settings.all_settings import load_settings
from tests.databases import Urls, patient
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.message_counter import MessageCounter
from tests.db.owners import DONE, Owner, code_of, database_at, gather_all, new_owners, row_locked
from tests.support import SECRET

PUTS = 12

PATIENT: dict[str, Any] = {"statement_timeout": LONG_TIMEOUT_SECONDS, "pool_timeout": LONG_TIMEOUT_SECONDS}


def start_update(database: Database, owner: Owner) -> "asyncio.Task[Any]":
    return asyncio.create_task(tasks.update_task(database, owner.id, owner.task, DONE))


async def use_tasks(database: Database, owner: Owner) -> list[Any]:
    """A read, an update and a new task."""
    return [
        await tasks.get_task(database, owner.id, owner.task),
        await tasks.update_task(database, owner.id, owner.task, DONE),
        await tasks.create_task(database, owner.id, {"title": "third"}),
    ]


def owners_of(answers: list[Any]) -> list[Any]:
    return [row["user_id"] for rows in answers for row in rows]


async def wait_for_attempts(message_counter: MessageCounter, times: int) -> None:
    """Returns when this many more statements have been sent."""
    before = message_counter.sent["Execute"]
    while message_counter.sent["Execute"] < before + times:  # noqa: ASYNC110 - another thread counts them
        await asyncio.sleep(0.01)


def test_writes_that_wait_for_a_locked_row_delay_no_other_user(own_database: Urls) -> None:
    async def scenario() -> None:
        # With one connection no other request would be answered if a lock wait held it.
        async with database_at(own_database.admin, pool=1, **PATIENT) as database:
            locked, *others = await new_owners(database)
            async with row_locked(own_database.admin, locked):
                waiting = [start_update(database, locked) for _ in range(PUTS)]
                served = [await gather_all(*(use_tasks(database, owner) for owner in others)) for _ in range(3)]

                assert [task.done() for task in waiting] == [False] * PUTS
            for answers in served:
                assert owners_of(answers) == [owner.id for owner in others for _ in range(3)]
            assert [row["is_completed"] for row in await gather_all(*waiting)] == [True] * PUTS

    run_async(scenario())


def test_only_the_locked_write_of_a_batch_waits(own_database: Urls) -> None:
    async def scenario() -> None:
        async with database_at(own_database.runtime, **PATIENT) as database:
            owners = await new_owners(database)
            async with row_locked(own_database.admin, owners[3]):
                asked = [start_update(database, owner) for owner in owners]
                waits = asked.pop(3)
                done = await gather_all(*asked)

                assert [row["user_id"] for row in done] == [owner.id for owner in owners[:3] + owners[4:]]
                assert not waits.done()
            assert (await waits)["user_id"] == owners[3].id

    run_async(scenario())


def test_a_lock_held_beyond_statement_timeout_is_a_database_error_and_changes_nothing(
    own_database: Urls,
) -> None:
    async def scenario() -> None:
        async with database_at(own_database.runtime, statement_timeout=3) as database:
            owners = await new_owners(database)
            async with row_locked(own_database.admin, owners[3]):
                answers = await gather_all(
                    *(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners)
                )

            assert [code_of(answer) for answer in answers[3:4]] == [Code.DATABASE_ERROR]
            assert answers[3].reason == lock_waits.LOCK_TIMEOUT_REASON
            assert [dict(row) for row in await tasks.list_tasks(database, owners[3].id)] == owners[3].listed
            del answers[3], owners[3]
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    run_async(scenario())


def test_writes_of_an_owner_are_sent_alone_for_a_while_after_a_lock_wait(
    own_database: Urls, message_counter: MessageCounter
) -> None:
    async def trips(database: Database, owners: list[Owner]) -> int:
        before = message_counter.sent.copy()
        await gather_all(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
        return (message_counter.sent - before)["Sync"]

    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1, **PATIENT) as database:
            owners = await new_owners(database)
            await trips(database, owners)
            assert await trips(database, owners) == 2  # the first alone, and a batch of all others
            async with row_locked(own_database.admin, owners[3]):
                waits = start_update(database, owners[3])
                await wait_for_attempts(message_counter, 2)
            await waits
            assert await trips(database, owners) == 3

    run_async(scenario())


@asynccontextmanager
async def table_locked(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            yield
    finally:
        await connection.close()


def test_a_locked_table_leaves_a_connection_for_statements_on_other_tables(own_database: Urls) -> None:
    async def scenario() -> None:
        async with database_at(own_database.runtime, pool=1, **PATIENT) as database:
            owners = await new_owners(database)
            async with table_locked(own_database.admin):
                waiting = [
                    asyncio.create_task(ask)
                    for owner in owners
                    for ask in (
                        tasks.get_task(database, owner.id, owner.task),
                        tasks.list_tasks(database, owner.id),
                        tasks.update_task(database, owner.id, owner.task, DONE),
                        tasks.create_task(database, owner.id, {"title": "third"}),
                    )
                ]
                users = [await get_user(database, owner.id) for owner in owners]

                assert [user["id"] for user in users] == [owner.id for owner in owners]
                assert not any(task.done() for task in waiting)
            answers = await gather_all(*waiting)
            assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == []

    run_async(scenario())


def test_a_write_undone_by_a_deadlock_is_sent_again(own_database: Urls) -> None:
    """The URL has a long lock_timeout, so that the server finds the deadlock first, which takes it a second. It may
    undo the other transaction instead, on a busy machine; the test tries again then."""

    async def deadlock(database: Database, first: Owner, pair: list[Owner]) -> bool:
        """Whether the server undid the batch, and not the other transaction."""
        other = await asyncpg.connect(own_database.admin)
        lock = "SELECT FROM tasks WHERE user_id = $1 AND id = $2 FOR UPDATE"
        is_batch_undone = False
        with suppress(asyncpg.DeadlockDetectedError):
            async with other.transaction():
                await other.execute(lock, pair[1].id, pair[1].tasks[0]["id"])
                # The batch locks the row of pair[0], and waits.
                batch = [start_update(database, owner) for owner in (first, *pair)]
                await batch[0]
                while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - PostgreSQL has no event for it
                    await asyncio.sleep(0.02)
                await other.execute(lock, pair[0].id, pair[0].tasks[0]["id"])
                is_batch_undone = True
        await other.close()
        assert [row["user_id"] for row in await gather_all(*batch)] == [owner.id for owner in (first, *pair)]
        return is_batch_undone

    async def scenario() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            first, *pair = sorted(await new_owners(database, 3), key=lambda owner: owner.id)
            await gather_all(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in (first, *pair)))
            while not await deadlock(database, first, pair):
                pass

    run_async(scenario())


def lock_timeout(url: str) -> str:
    async def shown() -> str:
        settings = load_settings(database_url=url, better_auth_secret=SECRET)
        connection: DatabaseConnection = await Connector(settings, 100)()
        try:
            return str(await connection.fetchval("SHOW lock_timeout"))
        finally:
            await connection.close()

    return asyncio.run(shown())


def test_a_direct_connection_has_a_lock_timeout_for_every_role_and_the_urls_own_wins(urls: Urls) -> None:
    assert [lock_timeout(url) for url in (urls.admin, urls.runtime, patient(urls.admin))] == ["100ms", "100ms", "1min"]


def test_a_command_of_an_operator_waits_for_a_lock_beyond_the_lock_timeout_of_the_role(
    own_database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(own_database.admin) as admin, admin_session.connected(own_database.runtime) as connection:
        insert = "INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x') RETURNING id"
        [[user_id]] = admin.execute(insert).fetchall()
        admin.commit()
        admin.execute("SELECT FROM users FOR UPDATE")
        monkeypatch.setattr(time, "sleep", lambda _: admin.rollback())

        assert admin_session.rows(connection, DELETE_USER, user_id=user_id, token_generation=0)
        assert admin.execute("SELECT count(*) FROM users").fetchone() == (0,)


@pytest.mark.parametrize(
    "error", [asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError]
)
def test_a_statement_undone_by_the_server_is_sent_again(error: type[Exception]) -> None:
    """A single statement: those of a batch are sent again one by one after any error."""
    answers: list[Exception | str] = [error(), "done"]

    async def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert asyncio.run(LockWaits(1, LONG_TIMEOUT_SECONDS).retry("row", attempt)) == "done"
