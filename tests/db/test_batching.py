"""What is asked in one moment goes to the server together, and nobody gets what is another's."""

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
from service.domain.tasks import Changes
from service.errors import Code, Problem
from tests.databases import Urls, patient
from tests.db.event_loop import GENEROUS, tell
from tests.db.message_counter import Wiretap
from tests.db.owners import (
    DONE,
    USERS,
    Owner,
    at_once,
    code_of,
    database_at,
    held,
    new_owners,
    prepare_update_on_two_connections,
    until_waiting,
)


def updating(database: Database, owner: Owner) -> "asyncio.Task[Row]":
    return asyncio.create_task(tasks.update_task(database, owner.id, owner.task, DONE))


@pytest.mark.parametrize(
    "ask",
    [
        lambda database, owner: tasks.list_tasks(database, owner.id),
        lambda database, owner: tasks.get_task(database, owner.id, owner.task),
        lambda database, owner: tasks.create_task(database, owner.id, {"title": "third"}),
        lambda database, owner: tasks.update_task(database, owner.id, owner.task, DONE),
        lambda database, owner: tasks.delete_task(database, owner.id, owner.task),
        lambda database, owner: token_users.require_current(database, owner.id, 0),
    ],
    ids=["list", "get", "create", "update", "delete", "token"],
)
def test_all_but_the_first_of_a_moment_share_one_round_trip(
    wiretap: Wiretap, ask: Callable[[Database, Owner], Coroutine[Any, Any, Any]]
) -> None:
    async def story() -> None:
        async with database_at(wiretap.url, pool=1) as database:
            for _ in range(2):  # the first time prepares the statement, and asks whether writes may go together
                owners = await new_owners(database)
                before = wiretap.sent.copy()
                answers = await at_once(*(ask(database, owner) for owner in owners))

            assert dict(wiretap.sent - before) == {"Bind": USERS, "Execute": USERS, "Sync": 2}
            assert [type(answer) for answer in answers] == [type(answers[0])] * USERS
            assert not isinstance(answers[0], BaseException)

    tell(story())


def test_who_comes_while_others_are_on_their_way_goes_together_when_they_are_back(
    own_database: Urls, wiretap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 3 * GENEROUS)

    async def story() -> None:
        async with database_at(patient(wiretap.url)) as database:
            owners = await new_owners(database)

            async with held(own_database.admin, owners[0]), held(own_database.admin, owners[1]) as let_go:
                asked = [updating(database, owner) for owner in owners[:2]]
                await until_waiting(own_database.admin, 2)  # the first went alone, the other is a batch
                before = wiretap.sent.copy()
                for owner in owners[2:]:
                    asked.append(updating(database, owner))
                    await asyncio.sleep(0.01)
                assert wiretap.sent == before
                await let_go()
                answers = await at_once(*asked[1:])
            answers.insert(0, await asked[0])

            assert dict(wiretap.sent - before) == {"Bind": 3, "Execute": 3, "Sync": 1}
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    tell(story())


def test_a_batch_waits_for_as_long_as_others_keep_coming(
    own_database: Urls, wiretap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def story() -> None:
        async with database_at(patient(wiretap.url)) as database:
            owners = await new_owners(database)

            await prepare_update_on_two_connections(own_database.admin, database, owners)
            async with held(own_database.admin, owners[0]):
                asked = [updating(database, owners[0])]
                await until_waiting(own_database.admin, 1)
                before = wiretap.sent.copy()
                for owner in owners[1:]:
                    asked.append(updating(database, owner))
                    for _ in range(batching.IDLE_ITERATIONS - 1):
                        await asyncio.sleep(0)
                answers = await at_once(*asked[1:])
            answers.insert(0, await asked[0])

            assert dict(wiretap.sent - before) == {"Bind": 4, "Execute": 4, "Sync": 1}
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    tell(story())


def test_a_batch_that_is_full_waits_for_nobody(own_database: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 3 * GENEROUS)
    monkeypatch.setattr(batching, "MAX_BATCH_SIZE", 3)

    async def story() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            owners = await new_owners(database)
            asked = [tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners]
            async with held(own_database.admin, owners[0]), held(own_database.admin, owners[1]):
                late = asyncio.gather(*asked[:2])
                await until_waiting(own_database.admin, 2)
                served = await at_once(*asked[2:])

                assert [row["user_id"] for row in served] == [owner.id for owner in owners[2:]]
                assert not late.done()
            await late

    tell(story())


def test_a_batch_is_sent_at_once_when_the_one_before_is_back(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_HOLD_SECONDS", 3 * GENEROUS)

    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            for _ in range(2):
                async with asyncio.timeout(GENEROUS / 2):
                    answers = await at_once(*(updating(database, owner) for owner in owners))
                assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

    tell(story())


def test_a_batch_is_never_larger_than_the_most(wiretap: Wiretap) -> None:
    async def story() -> None:
        async with database_at(wiretap.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            more = 2 * batching.MAX_BATCH_SIZE
            ids = [owner.task, *(str(uuid4()) for _ in range(more))]
            for _ in range(2):
                before = wiretap.sent.copy()
                # As what tasks.get_task runs, without the question whether the user exists after each miss.
                asked = (database.one(tasks.GET_TASK, user_id=owner.id, task_id=UUID(each)) for each in ids)
                answers = await at_once(*asked)

            assert dict(wiretap.sent - before) == {"Bind": 1 + more, "Execute": 1 + more, "Sync": 3}
            assert answers == [owner.tasks[0], *[None] * more]

    tell(story())


def test_of_lists_as_many_go_together_as_the_last_ones_were_short(
    wiretap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "TARGET_BATCH_ROWS", 10)

    async def trips(database: Database, owners: list[Owner]) -> int:
        before = wiretap.sent.copy()
        await at_once(*(tasks.list_tasks(database, owner.id) for owner in owners))
        return (wiretap.sent - before)["Sync"]

    async def story() -> None:
        async with database_at(wiretap.url, pool=1) as database:
            owners = await new_owners(database, 7)
            assert await trips(database, owners[:1]) > 0  # which prepares the statement
            assert await trips(database, owners) == 1 + 3  # two at a time: nobody knows yet how long they are
            for _ in range(50):
                await tasks.list_tasks(database, owners[0].id)
            assert await trips(database, owners) == 1 + 2  # three lists of two tasks, of ten rows
            for _ in range(3):
                await tasks.create_task(database, owners[0].id, {"title": "third"})
            for _ in range(50):
                await tasks.list_tasks(database, owners[0].id)
            assert await trips(database, owners) == 1 + 3

    tell(story())


def test_others_are_let_in_between_the_answers_of_long_lists(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def listed(database: Database, owner: Owner) -> None:
        await tasks.list_tasks(database, owner.id)
        seen.append("an answer")
        asyncio.get_running_loop().call_soon(seen.append, "others")

    async def story() -> None:
        async with database_at(urls.runtime, pool=1) as database:
            owners = await new_owners(database)
            await at_once(*(listed(database, owner) for owner in owners))
            await asyncio.sleep(0)
            assert seen == ["an answer", "others", *["an answer"] * 4, *["others"] * 4]  # the first goes alone

            seen.clear()
            monkeypatch.setattr(batching, "LONG_ANSWER_ROWS", 1)
            await at_once(*(listed(database, owner) for owner in owners))
            await asyncio.sleep(0)
            assert seen == ["an answer", "others"] * USERS

    tell(story())


def test_everybody_gets_what_is_theirs_and_nothing_else(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database, 2 * batching.MAX_BATCH_SIZE)
            strangers = owners[1:] + owners[:1]
            lists = [tasks.list_tasks(database, owner.id) for owner in owners]
            own = [tasks.get_task(database, owner.id, str(task["id"])) for owner in owners for task in owner.tasks]
            foreign = [
                ask(database, owner.id, other.task, *more)
                for owner, other in zip(owners, strangers, strict=True)
                for ask, *more in ((tasks.get_task,), (tasks.update_task, DONE), (tasks.delete_task,))
            ]
            answers = await at_once(*lists, *own, *foreign)

            assert answers[: len(lists)] == [owner.tasks for owner in owners]
            del answers[: len(lists)]
            assert answers[: len(own)] == [task for owner in owners for task in owner.tasks]
            del answers[: len(own)]
            assert [code_of(answer) for answer in answers] == [Code.NOT_FOUND] * len(foreign)

            new = await at_once(*(tasks.create_task(database, owner.id, {"title": str(owner.id)}) for owner in owners))
            assert [(row["user_id"], row["title"]) for row in new] == [(owner.id, str(owner.id)) for owner in owners]
            kept = await at_once(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert kept == [[row, *owner.tasks] for row, owner in zip(new, owners, strict=True)]

    tell(story())


def test_a_token_that_was_revoked_is_refused_beside_others_of_its_user(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database, 3)
            asked = [(owner.id, generation) for owner in owners for generation in (0, 1, 0)]
            answers = await at_once(*(token_users.require_current(database, *each) for each in asked))

            assert [code_of(answer) for answer in answers] == [None, Code.INVALID_TOKEN, None] * len(owners)

    tell(story())


def test_one_user_who_asks_for_one_task_is_answered_from_one_read_and_each_write_happens(wiretap: Wiretap) -> None:
    async def story() -> None:
        async with database_at(wiretap.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            for _ in range(2):
                before = wiretap.sent.copy()
                found = await at_once(*(tasks.get_task(database, owner.id, owner.task) for _ in range(10)))
            read = wiretap.sent - before
            before = wiretap.sent.copy()
            lists = await at_once(*(tasks.list_tasks(database, owner.id) for _ in range(10)))
            listed = wiretap.sent - before
            made = await at_once(*(tasks.create_task(database, owner.id, {"title": "again"}) for _ in range(10)))
            changed = await at_once(
                *(tasks.update_task(database, owner.id, owner.task, Changes({"title": f"{n}"})) for n in range(10))
            )
            gone = await at_once(*(tasks.delete_task(database, owner.id, owner.task) for _ in range(10)))

            assert found == [owner.tasks[0]] * 10
            assert dict(read) == {"Bind": 2, "Execute": 2, "Sync": 2}
            assert lists == [owner.tasks] * 10
            assert listed["Execute"] == 10
            assert len({row["id"] for row in made}) == 10
            assert sorted(row["title"] for row in changed) == [f"{n}" for n in range(10)]
            assert Counter(type(answer) for answer in gone) == {Problem: 9, type(made[0]): 1}
            kept = await tasks.list_tasks(database, owner.id)
            assert {row["id"] for row in kept} == {row["id"] for row in made} | {owner.tasks[1]["id"]}

    tell(story())


def test_a_row_that_nobody_asked_for_is_given_to_nobody() -> None:
    async def story() -> None:
        key = tasks.LIST_TASKS.key
        assert key is not None
        batch = batching.Batch(tasks.LIST_TASKS, key, 2)
        answer = batch.join([uuid4(), 10])
        assert answer is not None
        foreign: Any = [{"user_id": uuid4(), "title": "Not yours"}]
        with pytest.raises(KeyError):
            await batch.distribute(foreign)
        assert not answer.done()

    tell(story())
