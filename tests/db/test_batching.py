"""Batching: concurrent statements share a round trip, and each caller gets only its own rows."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.auth import token_users
from service.db import batching
from service.db.database import Database, Row
from service.domain import tasks
from service.domain.task_lists import SORTS, Filters, ListWanted, PageWanted, read_page
from service.domain.tasks import Changes
from service.errors import Code, Problem
from tests.databases import Urls, patient
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
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

PLANNED = Changes({"due_on": "2026-06-30", "tags": ["home"]})


def start_update(database: Database, owner: Owner) -> "asyncio.Task[Row]":
    return asyncio.create_task(tasks.update_task(database, owner.id, owner.task, DONE))


@pytest.mark.parametrize(
    "ask",
    [
        lambda database, owner: tasks.list_tasks(database, owner.id),
        lambda database, owner: tasks.get_task(database, owner.id, owner.task),
        lambda database, owner: tasks.create_task(database, owner.id, {"title": "third"}),
        lambda database, owner: tasks.update_task(database, owner.id, owner.task, DONE),
        lambda database, owner: tasks.delete_task(database, owner.id, owner.task, 90),
        lambda database, owner: token_users.require_current(database, owner.id, 0),
    ],
    ids=["list", "get", "create", "update", "delete", "token"],
)
def test_concurrent_statements_after_the_first_share_one_round_trip(
    message_counter: MessageCounter, ask: Callable[[Database, Owner], Coroutine[Any, Any, Any]]
) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            for _ in range(2):  # the first pass prepares the statement, and asks whether writes may be batched
                owners = await new_owners(database)
                before = message_counter.sent.copy()
                answers = await gather_all(*(ask(database, owner) for owner in owners))

            assert dict(message_counter.sent - before) == {"Bind": USERS, "Execute": USERS, "Sync": 2}
            assert [type(answer) for answer in answers] == [type(answers[0])] * USERS
            assert not isinstance(answers[0], BaseException)

    run_async(scenario())


@pytest.mark.parametrize(
    ("listed", "is_batched"),
    [
        (ListWanted(SORTS["-created_at"], Filters(is_completed=False)), True),
        (ListWanted(SORTS["created_at"], Filters(priority=0, due_from="2026-01-01", due_to="2026-12-31")), True),
        (ListWanted(SORTS["created_at"], Filters(search="first")), False),
        (ListWanted(SORTS["-created_at"], Filters(tags='["home"]')), False),
        (ListWanted(SORTS["-updated_at"]), False),
        (ListWanted(SORTS["due_on"]), False),
        (ListWanted(SORTS["-priority"]), False),
    ],
)
def test_a_page_that_looks_at_all_tasks_of_its_owner_is_in_no_batch(
    message_counter: MessageCounter, listed: ListWanted, is_batched: bool
) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            for _ in range(2):  # the first pass prepares the statements
                owners = await new_owners(database)
                await gather_all(*(tasks.update_task(database, owner.id, owner.task, PLANNED) for owner in owners))
                before = message_counter.sent.copy()
                wanted = PageWanted(listed, limit=1)
                pages = await gather_all(*(read_page(database, owner.id, wanted, 250) for owner in owners))

            sent = message_counter.sent - before
            assert dict(sent) == {"Bind": USERS, "Execute": USERS, "Sync": 2 if is_batched else USERS}
            for owner, page in zip(owners, pages, strict=True):
                assert [task["user_id"] for task in page.tasks] == [owner.id]

    run_async(scenario())


def test_statements_that_arrive_during_a_batch_are_sent_together_when_it_returns(
    own_database: Urls, message_counter: MessageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 3 * LONG_TIMEOUT_SECONDS)

    async def scenario() -> None:
        async with database_at(patient(message_counter.url)) as database:
            owners = await new_owners(database)

            async with row_locked(own_database.admin, owners[0]), row_locked(own_database.admin, owners[1]) as release:
                asked = [start_update(database, owner) for owner in owners[:2]]
                await wait_for_lock_waiters(own_database.admin, 2)  # the first was sent alone, the second is a batch
                before = message_counter.sent.copy()
                for owner in owners[2:]:
                    asked.append(start_update(database, owner))
                    await asyncio.sleep(0.01)
                assert message_counter.sent == before
                await release()
                answers = await gather_all(*asked[1:])
            answers.insert(0, await asked[0])

            assert dict(message_counter.sent - before) == {"Bind": 3, "Execute": 3, "Sync": 1}
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    run_async(scenario())


def test_a_batch_waits_while_more_statements_keep_arriving(
    own_database: Urls, message_counter: MessageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def scenario() -> None:
        async with database_at(patient(message_counter.url)) as database:
            owners = await new_owners(database)

            await prepare_update_on_two_connections(own_database.admin, database, owners)
            async with row_locked(own_database.admin, owners[0]):
                asked = [start_update(database, owners[0])]
                await wait_for_lock_waiters(own_database.admin, 1)
                before = message_counter.sent.copy()
                for owner in owners[1:]:
                    asked.append(start_update(database, owner))
                    for _ in range(batching.IDLE_ITERATIONS - 1):
                        await asyncio.sleep(0)
                answers = await gather_all(*asked[1:])
            answers.insert(0, await asked[0])

            assert dict(message_counter.sent - before) == {"Bind": 4, "Execute": 4, "Sync": 1}
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    run_async(scenario())


def test_a_full_batch_is_sent_without_waiting(own_database: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 3 * LONG_TIMEOUT_SECONDS)
    monkeypatch.setattr(batching, "MAX_BATCH_SIZE", 3)

    async def scenario() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            owners = await new_owners(database)
            asked = [tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners]
            async with row_locked(own_database.admin, owners[0]), row_locked(own_database.admin, owners[1]):
                late = asyncio.gather(*asked[:2])
                await wait_for_lock_waiters(own_database.admin, 2)
                served = await gather_all(*asked[2:])

                assert [row["user_id"] for row in served] == [owner.id for owner in owners[2:]]
                assert not late.done()
            await late

    run_async(scenario())


def test_a_batch_is_sent_at_once_when_the_previous_one_returns(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 3 * LONG_TIMEOUT_SECONDS)

    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            for _ in range(2):
                async with asyncio.timeout(LONG_TIMEOUT_SECONDS / 2):
                    answers = await gather_all(*(start_update(database, owner) for owner in owners))
                assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    run_async(scenario())


def test_a_batch_never_exceeds_the_maximum_size(message_counter: MessageCounter) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            more = 2 * batching.MAX_BATCH_SIZE
            ids = [owner.task, *(str(uuid4()) for _ in range(more))]
            for _ in range(2):
                before = message_counter.sent.copy()
                # The statement of tasks.get_task, without its check whether the user exists after each miss.
                asked = (database.one(tasks.GET_TASK, user_id=owner.id, task_id=UUID(each)) for each in ids)
                answers = await gather_all(*asked)

            assert dict(message_counter.sent - before) == {"Bind": 1 + more, "Execute": 1 + more, "Sync": 3}
            assert answers == [owner.tasks[0], *[None] * more]

    run_async(scenario())


def test_batches_of_lists_are_larger_when_recent_lists_were_short(
    message_counter: MessageCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "TARGET_BATCH_ROWS", 10)

    async def trips(database: Database, owners: list[Owner]) -> int:
        before = message_counter.sent.copy()
        await gather_all(*(tasks.list_tasks(database, owner.id) for owner in owners))
        return (message_counter.sent - before)["Sync"]

    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            owners = await new_owners(database, 7)
            assert await trips(database, owners[:1]) > 0  # prepares the statement
            assert await trips(database, owners) == 1 + 3  # two at a time, as long as no lengths are known
            for _ in range(50):
                await tasks.list_tasks(database, owners[0].id)
            # Batches of three lists: two tasks each, at most ten rows in all.
            assert await trips(database, owners) == 1 + 2
            for _ in range(3):
                await tasks.create_task(database, owners[0].id, {"title": "third"})
            for _ in range(50):
                await tasks.list_tasks(database, owners[0].id)
            assert await trips(database, owners) == 1 + 3

    run_async(scenario())


def test_other_callbacks_run_between_the_answers_of_long_lists(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def listed(database: Database, owner: Owner) -> None:
        await tasks.list_tasks(database, owner.id)
        seen.append("an answer")
        asyncio.get_running_loop().call_soon(seen.append, "others")

    async def scenario() -> None:
        async with database_at(urls.runtime, pool=1) as database:
            owners = await new_owners(database)
            await gather_all(*(listed(database, owner) for owner in owners))
            await asyncio.sleep(0)
            assert seen == ["an answer", "others", *["an answer"] * 4, *["others"] * 4]  # the first is sent alone

            seen.clear()
            monkeypatch.setattr(batching, "LONG_ANSWER_ROWS", 1)
            await gather_all(*(listed(database, owner) for owner in owners))
            await asyncio.sleep(0)
            assert seen == ["an answer", "others"] * USERS

    run_async(scenario())


def test_batched_statements_return_only_rows_of_their_owner(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database, 2 * batching.MAX_BATCH_SIZE)
            strangers = owners[1:] + owners[:1]
            lists = [tasks.list_tasks(database, owner.id) for owner in owners]
            own = [tasks.get_task(database, owner.id, str(task["id"])) for owner in owners for task in owner.tasks]
            foreign = [
                ask(database, owner.id, other.task, *more)
                for owner, other in zip(owners, strangers, strict=True)
                for ask, *more in ((tasks.get_task,), (tasks.update_task, DONE), (tasks.delete_task, 90))
            ]
            answers = await gather_all(*lists, *own, *foreign)

            assert [[dict(row) for row in rows] for rows in answers[: len(lists)]] == [owner.listed for owner in owners]
            del answers[: len(lists)]
            assert answers[: len(own)] == [task for owner in owners for task in owner.tasks]
            del answers[: len(own)]
            assert [code_of(answer) for answer in answers] == [Code.NOT_FOUND] * len(foreign)

            new = await gather_all(
                *(tasks.create_task(database, owner.id, {"title": str(owner.id)}) for owner in owners)
            )
            assert [(row["user_id"], row["title"]) for row in new] == [(owner.id, str(owner.id)) for owner in owners]
            kept = await gather_all(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert [[dict(row) for row in rows] for rows in kept] == [
                [dict(task) | {"list_version": 3} for task in (row, *owner.tasks)]
                for row, owner in zip(new, owners, strict=True)
            ]

    run_async(scenario())


def test_a_revoked_token_is_refused_in_a_batch_with_valid_tokens_of_its_user(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database, 3)
            asked = [(owner.id, generation) for owner in owners for generation in (0, 1, 0)]
            answers = await gather_all(*(token_users.require_current(database, *each) for each in asked))

            assert [code_of(answer) for answer in answers] == [None, Code.INVALID_TOKEN, None] * len(owners)

    run_async(scenario())


def test_equal_reads_of_one_user_share_one_statement_and_every_write_is_executed(
    message_counter: MessageCounter,
) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            for _ in range(2):
                before = message_counter.sent.copy()
                found = await gather_all(*(tasks.get_task(database, owner.id, owner.task) for _ in range(10)))
            read = message_counter.sent - before
            before = message_counter.sent.copy()
            lists = await gather_all(*(tasks.list_tasks(database, owner.id) for _ in range(10)))
            listed = message_counter.sent - before
            made = await gather_all(*(tasks.create_task(database, owner.id, {"title": "again"}) for _ in range(10)))
            changed = await gather_all(
                *(tasks.update_task(database, owner.id, owner.task, Changes({"title": f"{n}"})) for n in range(10))
            )
            gone = await gather_all(*(tasks.delete_task(database, owner.id, owner.task, 90) for _ in range(10)))

            assert found == [owner.tasks[0]] * 10
            assert dict(read) == {"Bind": 2, "Execute": 2, "Sync": 2}
            assert [[dict(row) for row in rows] for rows in lists] == [owner.listed] * 10
            assert listed["Execute"] == 10
            assert len({row["id"] for row in made}) == 10
            assert sorted(row["title"] for row in changed) == [f"{n}" for n in range(10)]
            assert Counter(type(answer) for answer in gone) == {Problem: 9, type(made[0]): 1}
            kept = await tasks.list_tasks(database, owner.id)
            assert {row["id"] for row in kept} == {row["id"] for row in made} | {owner.tasks[1]["id"]}

    run_async(scenario())
