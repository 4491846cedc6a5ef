"""A statement that meets a lock: its connection goes back, others are served, and it is sent again."""

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
from tests.db.event_loop import GENEROUS, tell
from tests.db.message_counter import Wiretap
from tests.db.owners import (
    DONE,
    Owner,
    at_once,
    code_of,
    database_at,
    held,
    new_owners,
)
from tests.support import SECRET

PUTS = 12
PATIENT: dict[str, Any] = {"statement_timeout": GENEROUS, "pool_timeout": GENEROUS}


def updating(database: Database, owner: Owner) -> "asyncio.Task[Any]":
    return asyncio.create_task(tasks.update_task(database, owner.id, owner.task, DONE))


async def uses(database: Database, owner: Owner) -> list[Any]:
    """A read, an update and a new task."""
    return [
        await tasks.get_task(database, owner.id, owner.task),
        await tasks.update_task(database, owner.id, owner.task, DONE),
        await tasks.create_task(database, owner.id, {"title": "third"}),
    ]


def owners_of(answers: list[Any]) -> list[Any]:
    return [row["user_id"] for rows in answers for row in rows]


async def tried(wiretap: Wiretap, times: int) -> None:
    """Until so many more statements were sent."""
    before = wiretap.sent["Execute"]
    while wiretap.sent["Execute"] < before + times:  # noqa: ASYNC110 - another thread counts them
        await asyncio.sleep(0.01)


def test_writes_to_a_locked_row_hold_up_no_other_user(own_database: Urls) -> None:
    async def story() -> None:
        # One connection: were it held by a wait for the lock, no other request would be answered.
        async with database_at(own_database.admin, pool=1, **PATIENT) as database:
            locked, *others = await new_owners(database)
            async with held(own_database.admin, locked):
                waiting = [updating(database, locked) for _ in range(PUTS)]
                served = [await at_once(*(uses(database, owner) for owner in others)) for _ in range(3)]

                assert [task.done() for task in waiting] == [False] * PUTS
            for answers in served:
                assert owners_of(answers) == [owner.id for owner in others for _ in range(3)]
            assert [row["is_completed"] for row in await at_once(*waiting)] == [True] * PUTS

    tell(story())


def test_a_write_that_meets_a_lock_in_a_batch_is_the_only_one_that_waits(own_database: Urls) -> None:
    async def story() -> None:
        async with database_at(own_database.runtime, **PATIENT) as database:
            owners = await new_owners(database)
            async with held(own_database.admin, owners[3]):
                asked = [updating(database, owner) for owner in owners]
                waits = asked.pop(3)
                done = await at_once(*asked)

                assert [row["user_id"] for row in done] == [owner.id for owner in owners[:3] + owners[4:]]
                assert not waits.done()
            assert (await waits)["user_id"] == owners[3].id

    tell(story())


def test_a_lock_that_outlives_statement_timeout_is_a_database_error_and_nothing_has_happened(
    own_database: Urls,
) -> None:
    async def story() -> None:
        async with database_at(own_database.runtime, statement_timeout=3) as database:
            owners = await new_owners(database)
            async with held(own_database.admin, owners[3]):
                answers = await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))

            assert [code_of(answer) for answer in answers[3:4]] == [Code.DATABASE_ERROR]
            assert answers[3].reason == lock_waits.LOCK_TIMEOUT_REASON
            assert await tasks.list_tasks(database, owners[3].id) == owners[3].tasks
            del answers[3], owners[3]
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    tell(story())


def test_the_writes_of_a_user_that_met_a_lock_are_sent_alone_for_a_while(own_database: Urls, wiretap: Wiretap) -> None:
    async def trips(database: Database, owners: list[Owner]) -> int:
        before = wiretap.sent.copy()
        await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
        return (wiretap.sent - before)["Sync"]

    async def story() -> None:
        async with database_at(wiretap.url, pool=1, **PATIENT) as database:
            owners = await new_owners(database)
            await trips(database, owners)
            assert await trips(database, owners) == 2  # the first, and a batch of all others
            async with held(own_database.admin, owners[3]):
                waits = updating(database, owners[3])
                await tried(wiretap, 2)
            await waits
            assert await trips(database, owners) == 3

    tell(story())


@asynccontextmanager
async def table_locked(url: str) -> AsyncIterator[None]:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE tasks")
            yield
    finally:
        await connection.close()


def test_a_lock_on_a_table_leaves_a_connection_to_statements_on_others(own_database: Urls) -> None:
    async def story() -> None:
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
            answers = await at_once(*waiting)
            assert [type(answer) for answer in answers if isinstance(answer, BaseException)] == []

    tell(story())


def test_a_write_that_a_deadlock_has_undone_is_sent_again(own_database: Urls) -> None:
    """The URL's own lock_timeout counts, so that the server finds the deadlock first, which takes it a second. On a
    busy machine it may undo the other transaction instead: then there is another try."""

    async def deadlock(database: Database, first: Owner, pair: list[Owner]) -> bool:
        """Whether the batch was undone, and not the transaction beside it."""
        other = await asyncpg.connect(own_database.admin)
        lock = "SELECT FROM tasks WHERE user_id = $1 AND id = $2 FOR UPDATE"
        is_batch_undone = False
        with suppress(asyncpg.DeadlockDetectedError):
            async with other.transaction():
                await other.execute(lock, pair[1].id, pair[1].tasks[0]["id"])
                batch = [updating(database, owner) for owner in (first, *pair)]  # it has the row of pair[0], and waits
                await batch[0]
                while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - the server says it only when asked
                    await asyncio.sleep(0.02)
                await other.execute(lock, pair[0].id, pair[0].tasks[0]["id"])
                is_batch_undone = True
        await other.close()
        assert [row["user_id"] for row in await at_once(*batch)] == [owner.id for owner in (first, *pair)]
        return is_batch_undone

    async def story() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            first, *pair = sorted(await new_owners(database, 3), key=lambda owner: owner.id)
            await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in (first, *pair)))
            while not await deadlock(database, first, pair):
                pass

    tell(story())


class Asks:
    """Statements in this process, each for some lock: who has asked, and what the server is to say."""

    def __init__(self, waits: LockWaits) -> None:
        self._waits = waits
        self.asked: list[str] = []
        self.now = 0
        self.most = 0
        self.locked = {"row", "other row", "third row"}

    def retrying(self, name: str, lock: str) -> "asyncio.Task[str]":
        async def attempt() -> str:
            self.asked.append(name)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            if lock in self.locked:
                raise asyncpg.LockNotAvailableError
            return name

        return asyncio.create_task(self._waits.retry(lock, attempt))


async def rounds(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_of_statements_that_wait_for_one_row_only_the_first_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "RETRY_PAUSE_SECONDS", 0)

    async def story() -> None:
        waits = LockWaits(4, GENEROUS)
        asks = Asks(waits)
        line = [asks.retrying(name, "row") for name in "abc"]
        await rounds()
        assert set(asks.asked) == {"a"}
        assert waits.is_waited_for("row")

        asks.locked.clear()
        asks.asked.clear()
        assert await asyncio.gather(*line) == ["a", "b", "c"]
        assert asks.asked[-3:] == ["a", "b", "c"]
        assert not waits.is_waited_for("row")

    tell(story())


def test_a_line_that_has_got_its_lock_is_closed_to_newcomers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "RETRY_PAUSE_SECONDS", 0)

    async def story() -> None:
        waits = LockWaits(4, GENEROUS)
        asks = Asks(waits)
        first, second = asks.retrying("a", "row"), asks.retrying("b", "row")
        await rounds()
        asks.locked.clear()
        await first

        assert not second.done()
        assert not waits.is_waited_for("row")
        await second

    tell(story())


def test_over_all_rows_no_more_ask_at_once_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "RETRY_PAUSE_SECONDS", 0)

    async def story() -> None:
        asks = Asks(LockWaits(2, GENEROUS))
        all_rows = [asks.retrying(row, row) for row in sorted(asks.locked)]
        await rounds()
        assert asks.most == 2
        assert set(asks.asked) == asks.locked
        asks.locked = set()
        await asyncio.gather(*all_rows)

    tell(story())


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_statement_that_waited_in_a_line_for_too_long_leaves_no_trace(names: str) -> None:
    async def story() -> None:
        waits = LockWaits(1, 0.05)
        asks = Asks(waits)
        answers = await at_once(*(asks.retrying(name, "row") for name in names))

        assert [code_of(answer) for answer in answers] == [Code.DATABASE_ERROR] * len(names)
        assert not waits.is_waited_for("row")

    tell(story())


def test_another_failure_of_a_statement_that_waited_is_its_own() -> None:
    async def fails() -> None:
        raise TimeoutError

    async def story() -> None:
        with pytest.raises(TimeoutError):
            await LockWaits(1, GENEROUS).retry("row", fails)

    tell(story())


def test_owners_that_met_a_lock_are_forgotten_in_time_and_beyond_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = LockWaits(1, GENEROUS)
    monkeypatch.setattr(lock_waits, "MAX_REMEMBERED_OWNERS", 2)
    for owner in "abca":
        waits.remember(owner)
    assert [waits.has_met_a_lock(owner) for owner in "abc"] == [True, False, True]

    monkeypatch.setattr(lock_waits, "ALONE_SECONDS", 0.0)
    waits.remember("a")
    assert [waits.has_met_a_lock(owner) for owner in "abc"] == [False, False, True]


def test_an_owner_that_met_a_lock_again_is_remembered_longer_than_one_that_met_it_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = LockWaits(1, GENEROUS)
    monkeypatch.setattr(lock_waits, "MAX_REMEMBERED_OWNERS", 2)
    for owner in "abac":
        waits.remember(owner)
    assert [waits.has_met_a_lock(owner) for owner in "abc"] == [True, False, True]


def lock_timeout(url: str) -> str:
    async def shown() -> str:
        settings = load_settings(database_url=url, better_auth_secret=SECRET)
        connection: DatabaseConnection = await Connector(settings, 100)()
        try:
            return str(await connection.fetchval("SHOW lock_timeout"))
        finally:
            await connection.close()

    return asyncio.run(shown())


def test_a_direct_connection_has_a_lock_timeout_whatever_its_role_and_the_urls_own_counts_more(urls: Urls) -> None:
    assert [lock_timeout(url) for url in (urls.admin, urls.runtime, patient(urls.admin))] == ["100ms", "100ms", "1min"]


def test_a_command_of_an_operator_waits_for_a_lock_longer_than_its_role_does(
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
def test_a_statement_that_the_server_has_undone_is_sent_again_by_itself(error: type[Exception]) -> None:
    """Outside a batch, whose statements are sent again one by one after any error."""
    answers: list[Exception | str] = [error(), "done"]

    async def attempt() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert asyncio.run(LockWaits(1, GENEROUS).retry("row", attempt)) == "done"
