"""Batches in which one statement fails, waits or is cancelled: the others are neither lost nor delayed."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from service.db.database import Database
from service.domain import tasks
from service.errors import Code
from tests.databases import Urls, patient
from tests.db.database_proxy import DatabaseProxy
from tests.db.event_loop import run_async
from tests.db.message_counter import MessageCounter
from tests.db.owners import (
    DONE,
    USERS,
    Owner,
    code_of,
    database_at,
    gather_all,
    new_owners,
    prepare_update_on_two_connections,
    row_locked,
    wait_for_lock_waiters,
)

THIRD = {"title": "third"}
TITLES = ["zeroth", *["third"] * (USERS - 1)]


def test_a_refused_write_in_a_batch_leaves_the_other_writes_done(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            await gather_all(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            owners[3] = Owner(uuid4(), [])
            answers = await gather_all(*(tasks.create_task(database, owner.id, THIRD) for owner in owners))

            assert [code_of(answer) for answer in answers[3:4]] == [Code.INVALID_TOKEN]
            del answers[3], owners[3]
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]
            kept = await gather_all(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert [[row["title"] for row in rows] for rows in kept] == [["third", "second", "first"]] * len(owners)

    run_async(scenario())


def test_a_refused_write_alone_in_its_batch_is_not_sent_again(message_counter: MessageCounter) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            for _ in range(2):  # the first pass asks whether writes may be batched
                before = message_counter.sent.copy()
                asked = (tasks.create_task(database, each, THIRD) for each in (owner.id, uuid4()))
                answers = await gather_all(*asked)

            assert (message_counter.sent - before)["Execute"] == 2
            assert [code_of(answer) for answer in answers[1:]] == [Code.INVALID_TOKEN]

    run_async(scenario())


def test_a_user_whose_write_undid_a_batch_undoes_no_other(message_counter: MessageCounter) -> None:
    alone = tasks.Changes({"due_time": "09:30"})  # the tasks have no due date

    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            owners = await new_owners(database)
            sent = []
            for _ in range(3):  # the first pass asks whether writes may be batched
                before = message_counter.sent.copy()
                changes = [DONE, DONE, DONE, alone, DONE]
                answers = await gather_all(
                    *(
                        tasks.update_task(database, owner.id, owner.task, change)
                        for owner, change in zip(owners, changes, strict=True)
                    )
                )
                sent.append((message_counter.sent - before)["Execute"])
                assert [code_of(answer) for answer in answers[3:4]] == [Code.VALIDATION_ERROR]
                assert [row["user_id"] for row in answers[:3] + answers[4:]] == [
                    owner.id for owner in owners[:3] + owners[4:]
                ]

            assert sent[1:] == [USERS] * 2

    run_async(scenario())


def test_a_batch_beyond_statement_timeout_is_a_database_error_for_every_statement(own_database: Urls) -> None:
    async def scenario() -> None:
        url = patient(own_database.runtime)
        async with database_at(url) as database, database_at(url, statement_timeout=1) as hasty:
            owners = await new_owners(database)
            # Two rows are locked, as the first write is sent alone. The answers do not depend on what else is late.
            async with row_locked(own_database.admin, owners[0]), row_locked(own_database.admin, owners[3]):
                answers = await gather_all(*(tasks.update_task(hasty, owner.id, owner.task, DONE) for owner in owners))

            assert [code_of(answer) for answer in answers] == [Code.DATABASE_ERROR] * len(owners)

    run_async(scenario())


def test_statements_do_not_wait_for_a_late_batch(own_database: Urls, monkeypatch: pytest.MonkeyPatch) -> None:

    async def scenario() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            owners = await new_owners(database)
            async with row_locked(own_database.admin, owners[0]), row_locked(own_database.admin, owners[1]):
                late = [asyncio.create_task(tasks.update_task(database, o.id, o.task, DONE)) for o in owners[:2]]
                await wait_for_lock_waiters(own_database.admin, 2)  # the first was sent alone, the second is a batch
                served = await gather_all(*(tasks.update_task(database, o.id, o.task, DONE) for o in owners[2:]))

                assert [row["user_id"] for row in served] == [owner.id for owner in owners[2:]]
                assert [task.done() for task in late] == [False, False]
            assert [row["user_id"] for row in await gather_all(*late)] == [owner.id for owner in owners[:2]]

    run_async(scenario())


def test_two_batches_that_write_the_same_rows_do_not_deadlock(
    own_database: Urls, message_counter: MessageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def scenario() -> None:
        url = patient(message_counter.url)
        async with database_at(url) as one, database_at(url) as other:
            owners = sorted(await new_owners(one, 3), key=lambda owner: owner.id)
            for database in (one, other):
                await prepare_update_on_two_connections(own_database.admin, database, owners)
            first, *pair = owners[2], owners[0], owners[1]

            def update(database: Database, order: list[Owner]) -> "asyncio.Future[list[Any]]":
                """The first write is sent alone; no other session uses its row."""
                asked = [tasks.update_task(database, owner.id, owner.task, DONE) for owner in [first, *order]]
                return asyncio.gather(*asked)

            before = message_counter.sent.copy()
            async with row_locked(own_database.admin, pair[0]) as release:
                waits = update(one, pair)
                await wait_for_lock_waiters(own_database.admin, 1)
                meets = update(other, pair[::-1])
                await wait_for_lock_waiters(own_database.admin, 2)
                await release()
                answers = await waits + await meets

            # After a deadlock the statements of one batch would have been sent again, one by one.
            assert dict(message_counter.sent - before)["Execute"] == 2 * len(owners)
            assert [row["user_id"] for row in answers] == [owner.id for owner in [first, *pair, first, *pair[::-1]]]

    run_async(scenario())


def test_on_citus_every_write_is_sent_alone(own_database: Urls) -> None:
    """On Citus a failed batch is not rolled back as a whole. The server is recognised by a setting of that name."""
    counter = MessageCounter(own_database.runtime)

    async def scenario() -> None:
        url = f"{counter.url}&options=-c%20citus.version%3D13.0"
        async with database_at(url, pool=1) as database:
            for _ in range(2):
                owners = await new_owners(database)
                before = counter.sent.copy()
                answers = await gather_all(*(tasks.create_task(database, owner.id, THIRD) for owner in owners))
            assert dict(counter.sent - before) == {"Bind": USERS, "Execute": USERS, "Sync": USERS}
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

            before = counter.sent.copy()
            await gather_all(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert (counter.sent - before)["Execute"] == USERS

    run_async(scenario())
    counter.close()


@pytest.mark.parametrize("cancelled", [0, 1, 2], ids=["alone", "first", "follower"])
def test_a_cancelled_statement_leaves_the_others_of_its_batch_served(
    urls: Urls, cancelled: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            await gather_all(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            asked = [asyncio.create_task(tasks.create_task(database, owner.id, THIRD)) for owner in owners]
            await asyncio.sleep(0)  # all statements are queued, and only the first has been sent
            asked[cancelled].cancel()
            answers = await gather_all(*asked)

            assert type(answers.pop(cancelled)) is asyncio.CancelledError
            del owners[cancelled]
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]
            assert [row["title"] for row in answers] == ["third"] * len(owners)

    run_async(scenario())
    assert caplog.messages == []


def test_after_a_lost_connection_reads_are_sent_again_and_writes_are_not(own_database: Urls) -> None:
    proxy = DatabaseProxy(own_database.runtime)

    async def scenario() -> None:
        async with database_at(proxy.url, pool=1) as database:
            owners = await new_owners(database)
            await gather_all(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            proxy.cut_on_bytes, proxy.cuts_left = b"third", 1
            answers = await gather_all(
                *(
                    tasks.create_task(database, owner.id, {"title": title})
                    for owner, title in zip(owners, TITLES, strict=True)
                )
            )
            assert [code_of(answer) for answer in answers[1:]] == [Code.DATABASE_ERROR] * (USERS - 1)
            assert answers[0]["title"] == TITLES[0]

            proxy.close_all()
            lists = await gather_all(*(tasks.list_tasks(database, owner.id) for owner in owners))
            # The statements that were cut off have been executed once, all of them.
            assert [[row["title"] for row in rows] for rows in lists] == [[t, "second", "first"] for t in TITLES]

    run_async(scenario())
    proxy.close()
