"""Transactions of several statements: they happen once or not at all, whatever they meet, and leave nothing behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.db.connect import GET_SERVER_PID
from service.db.database import Database, Row, Transaction
from service.domain import tasks
from service.domain.tasks import CREATE_TASK, NO_CHANGES, NO_FIELDS, NO_QUOTA, UPDATE_TASK
from service.errors import Code, Problem
from tests.databases import Urls, patient
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.owners import Owner, code_of, database_at, new_owners, row_locked, wait_for_lock_waiters

PATIENT: dict[str, Any] = {"statement_timeout": LONG_TIMEOUT_SECONDS, "pool_timeout": LONG_TIMEOUT_SECONDS}
COUNTER = "SELECT version FROM task_counters WHERE user_id = $1 FOR UPDATE"
USER = "SELECT FROM users WHERE id = $1 FOR UPDATE"  # the foreign key of a new task waits for it


@asynccontextmanager
async def locked(url: str, statement: str, owner: Owner) -> AsyncIterator[None]:
    """Another session holds a lock of this owner."""
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(statement, owner.id)
        yield
    await connection.close()


async def create_in(transaction: Transaction, owner: Owner, task_id: UUID) -> Row:
    fields = {"user_id": owner.id, "task_id": task_id, "title": "third", "max_tasks": NO_QUOTA}
    return await transaction.require_one(CREATE_TASK, **NO_FIELDS | fields)


def start_create(database: Database, owner: Owner, task_id: UUID) -> "asyncio.Task[Row]":
    return asyncio.create_task(tasks.create_task_with_id(database, owner.id, str(task_id), {"title": "third"}))


async def listed(database: Database, owner: Owner) -> list[tuple[Any, int, int]]:
    rows = await tasks.list_tasks(database, owner.id)
    return [(row["id"], row["version"], row["list_version"]) for row in rows]


async def is_counter_free(url: str, owner: Owner) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetch(f"{COUNTER} SKIP LOCKED", owner.id))
    finally:
        await connection.close()


def test_a_create_under_an_own_id_waits_for_a_locked_counter_without_a_connection_and_happens_once(
    own_database: Urls,
) -> None:
    async def scenario() -> None:
        async with database_at(own_database.runtime, pool=1, **PATIENT) as database:
            owner, other = await new_owners(database, 2)
            task_id = uuid4()
            async with locked(own_database.admin, COUNTER, owner):
                waits = start_create(database, owner, task_id)
                await asyncio.sleep(0.5)  # five times the lock_timeout
                assert await listed(database, other) == [(task["id"], task["version"], 2) for task in other.tasks]
                assert not waits.done()

            assert (await waits)["id"] == task_id
            first, second = owner.tasks
            assert await listed(database, owner) == [(task_id, 3, 3), (first["id"], 2, 3), (second["id"], 1, 3)]

    run_async(scenario())


def test_a_begin_that_is_cancelled_on_the_server_spoils_no_later_transaction(
    own_database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver takes its connection for one inside a transaction from then on."""
    execute = asyncpg.Connection.execute

    async def begin_slowly(connection: Any, query: str, *arguments: object, **options: Any) -> str:
        sent = f"SELECT pg_sleep(60);{query}" if query == "BEGIN;" else query
        return await execute(connection, sent, *arguments, **options)

    async def scenario() -> None:
        async with database_at(own_database.runtime, pool=1, **PATIENT) as database:
            [owner] = await new_owners(database, 1)
            with monkeypatch.context() as patch:
                patch.setattr(asyncpg.Connection, "execute", begin_slowly)
                create = start_create(database, owner, uuid4())
                await wait_for_sleep(own_database.admin)
                create.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await create

            task_ids = [uuid4(), uuid4()]
            assert [(await start_create(database, owner, each))["id"] for each in task_ids] == task_ids

    run_async(scenario())


async def wait_for_sleep(url: str) -> None:
    connection = await asyncpg.connect(url)
    query = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    while not await connection.fetch(query):  # noqa: ASYNC110 - PostgreSQL has no event for it
        await asyncio.sleep(0.01)
    await connection.close()


def test_a_transaction_that_a_lock_has_undone_is_begun_again_and_happens_once(own_database: Urls) -> None:
    """The lock is that of its third statement, when a task was created already."""
    attempts = []

    async def scenario() -> None:
        async with database_at(own_database.runtime, pool=1, **PATIENT) as database:
            [owner] = await new_owners(database, 1)
            new, task_id = uuid4(), owner.tasks[0]["id"]
            change = NO_CHANGES | {"set_title": True, "title": "changed", "versions": None}

            async def work(transaction: Transaction) -> Row:
                attempts.append(await create_in(transaction, owner, new))
                return await transaction.require_one(UPDATE_TASK, **change, user_id=owner.id, task_id=task_id)

            async with row_locked(own_database.admin, owner):
                waits = asyncio.create_task(database.in_locked_transaction(owner.id, work))
                while len(attempts) < 3:
                    assert not waits.done()
                    await asyncio.sleep(0.01)

            assert (await waits)["version"] == 4
            assert {row["version"] for row in attempts} == {3}
            second = owner.tasks[1]["id"]
            assert await listed(database, owner) == [(new, 3, 4), (task_id, 4, 4), (second, 1, 4)]

    run_async(scenario())


def test_a_problem_in_a_transaction_undoes_it_and_keeps_the_connection(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime, pool=1) as database:
            [owner] = await new_owners(database, 1)
            before = await database.require_one(GET_SERVER_PID)

            async def work(transaction: Transaction) -> Row:
                await create_in(transaction, owner, uuid4())
                raise Problem(Code.GONE)

            with pytest.raises(Problem) as refused:
                await database.in_locked_transaction(owner.id, work)

            assert code_of(refused.value) is Code.GONE
            assert await database.require_one(GET_SERVER_PID) == before
            assert [dict(row) for row in await tasks.list_tasks(database, owner.id)] == owner.listed
            assert await is_counter_free(urls.admin, owner)
            assert (await tasks.create_task(database, owner.id, {"title": "third"}))["version"] == 3

    run_async(scenario())


def test_a_transaction_cancelled_while_it_waits_in_the_server_leaves_neither_a_task_nor_a_lock(
    own_database: Urls,
) -> None:
    async def scenario() -> None:
        async with database_at(patient(own_database.runtime), pool=1) as database:
            [owner] = await new_owners(database, 1)
            async with locked(own_database.admin, USER, owner):
                waits = start_create(database, owner, uuid4())
                await wait_for_lock_waiters(own_database.admin, 1)
                assert not await is_counter_free(own_database.admin, owner)
                waits.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waits

                assert await is_counter_free(own_database.admin, owner)
                assert [dict(row) for row in await tasks.list_tasks(database, owner.id)] == owner.listed

    run_async(scenario())


def test_a_transaction_cancelled_between_two_statements_leaves_neither_a_task_nor_a_lock(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime, pool=1) as database:
            [owner] = await new_owners(database, 1)
            is_created = asyncio.Event()

            async def work(transaction: Transaction) -> None:
                await create_in(transaction, owner, uuid4())
                is_created.set()
                await asyncio.Event().wait()

            waits = asyncio.create_task(database.in_locked_transaction(owner.id, work))
            await is_created.wait()
            assert not await is_counter_free(urls.admin, owner)
            waits.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waits

            assert await is_counter_free(urls.admin, owner)
            assert [dict(row) for row in await tasks.list_tasks(database, owner.id)] == owner.listed
            assert (await tasks.create_task(database, owner.id, {"title": "third"}))["version"] == 3

    run_async(scenario())


def test_a_transaction_cancelled_at_any_moment_happens_as_a_whole_or_not_at_all(own_database: Urls) -> None:
    """And the next statement on its connection is in no transaction: what it writes is seen by another session."""

    async def scenario() -> None:
        async with database_at(own_database.runtime, pool=1) as database:
            [owner] = await new_owners(database, 1)
            other = await asyncpg.connect(own_database.admin)
            found = "SELECT version FROM tasks WHERE user_id = $1 AND id = ANY($2::uuid[])"
            steps = 0
            while True:
                task_id = uuid4()
                begun = start_create(database, owner, task_id)
                for _ in range(steps):
                    await asyncio.sleep(0)
                if begun.done():
                    break
                begun.cancel()
                with suppress(asyncio.CancelledError):
                    await begun
                after = await tasks.create_task(database, owner.id, {"title": "after"})

                versions = [row["version"] for row in await other.fetch(found, owner.id, [task_id, after["id"]])]
                assert (steps, sorted(versions)[-1:]) == (steps, [after["version"]])
                assert await is_counter_free(own_database.admin, owner)
                steps += 1 + steps // 20  # a create takes some hundred steps, and on a busy machine thousands
            await other.close()
            assert steps > 10

    run_async(scenario())
