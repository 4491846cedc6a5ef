"""Of what goes to the server together one fails, waits or goes away: the others lose nothing and wait for nobody."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from service.db.database import Database
from service.domain import tasks
from service.errors import Code
from tests.databases import Urls, patient
from tests.db.database_proxy import Line
from tests.db.event_loop import tell
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

THIRD = {"title": "third"}
TITLES = ["zeroth", *["third"] * (USERS - 1)]


def test_a_write_that_is_refused_takes_no_other_with_it(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            owners[3] = Owner(uuid4(), [])
            answers = await at_once(*(tasks.create_task(database, owner.id, THIRD) for owner in owners))

            assert [code_of(answer) for answer in answers[3:4]] == [Code.INVALID_TOKEN]
            del answers[3], owners[3]
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]
            kept = await at_once(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert [[row["title"] for row in rows] for rows in kept] == [["third", "second", "first"]] * len(owners)

    tell(story())


def test_a_write_that_found_no_company_is_refused_the_first_time(wiretap: Wiretap) -> None:
    async def story() -> None:
        async with database_at(wiretap.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            for _ in range(2):  # the first time asks whether writes may go together
                before = wiretap.sent.copy()
                asked = (tasks.create_task(database, each, THIRD) for each in (owner.id, uuid4()))
                answers = await at_once(*asked)

            assert (wiretap.sent - before)["Execute"] == 2
            assert [code_of(answer) for answer in answers[1:]] == [Code.INVALID_TOKEN]

    tell(story())


def test_a_batch_that_takes_too_long_is_given_up_for_all_of_it(own_database: Urls) -> None:
    async def story() -> None:
        url = patient(own_database.runtime)
        async with database_at(url) as database, database_at(url, statement_timeout=1) as hasty:
            owners = await new_owners(database)
            # The first goes alone, so two are held: whatever makes the others late as well, the answer is the same.
            async with held(own_database.admin, owners[0]), held(own_database.admin, owners[3]):
                answers = await at_once(*(tasks.update_task(hasty, owner.id, owner.task, DONE) for owner in owners))

            assert [code_of(answer) for answer in answers] == [Code.DATABASE_ERROR] * len(owners)

    tell(story())


def test_nobody_waits_for_a_batch_that_is_late(own_database: Urls, monkeypatch: pytest.MonkeyPatch) -> None:

    async def story() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            owners = await new_owners(database)
            async with held(own_database.admin, owners[0]), held(own_database.admin, owners[1]):
                late = [asyncio.create_task(tasks.update_task(database, o.id, o.task, DONE)) for o in owners[:2]]
                await until_waiting(own_database.admin, 2)  # the first went alone, the other is a batch
                served = await at_once(*(tasks.update_task(database, o.id, o.task, DONE) for o in owners[2:]))

                assert [row["user_id"] for row in served] == [owner.id for owner in owners[2:]]
                assert [task.done() for task in late] == [False, False]
            assert [row["user_id"] for row in await at_once(*late)] == [owner.id for owner in owners[:2]]

    tell(story())


def test_two_batches_that_meet_do_not_wait_for_each_other(
    own_database: Urls, wiretap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def story() -> None:
        url = patient(wiretap.url)
        async with database_at(url) as one, database_at(url) as other:
            owners = sorted(await new_owners(one, 3), key=lambda owner: owner.id)
            for database in (one, other):
                await prepare_update_on_two_connections(own_database.admin, database, owners)
            first, *pair = owners[2], owners[0], owners[1]

            def update(database: Database, order: list[Owner]) -> "asyncio.Future[list[Any]]":
                """The first goes alone, and what it is about is nobody else's."""
                asked = [tasks.update_task(database, owner.id, owner.task, DONE) for owner in [first, *order]]
                return asyncio.gather(*asked)

            before = wiretap.sent.copy()
            async with held(own_database.admin, pair[0]) as let_go:
                waits = update(one, pair)
                await until_waiting(own_database.admin, 1)
                meets = update(other, pair[::-1])
                await until_waiting(own_database.admin, 2)
                await let_go()
                answers = await waits + await meets

            # A deadlock would be found, and the batch of one of them asked again, one by one.
            assert dict(wiretap.sent - before)["Execute"] == 2 * len(owners)
            assert [row["user_id"] for row in answers] == [owner.id for owner in [first, *pair, first, *pair[::-1]]]

    tell(story())


def test_on_citus_every_write_goes_alone(own_database: Urls) -> None:
    """There a batch that fails is not undone as a whole. A setting of its name is what tells it from others."""
    tap = Wiretap(own_database.runtime)

    async def story() -> None:
        url = f"{tap.url}&options=-c%20citus.version%3D13.0"
        async with database_at(url, pool=1) as database:
            for _ in range(2):
                owners = await new_owners(database)
                before = tap.sent.copy()
                answers = await at_once(*(tasks.create_task(database, owner.id, THIRD) for owner in owners))
            assert dict(tap.sent - before) == {"Bind": USERS, "Execute": USERS, "Sync": USERS}
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]

            before = tap.sent.copy()
            await at_once(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert (tap.sent - before)["Execute"] == USERS

    tell(story())
    tap.close()


@pytest.mark.parametrize("goes", [0, 1, 2], ids=["alone", "first", "follower"])
def test_who_goes_leaves_the_others_served(urls: Urls, goes: int, caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            asked = [asyncio.create_task(tasks.create_task(database, owner.id, THIRD)) for owner in owners]
            await asyncio.sleep(0)  # all have asked, and nothing is on its way but what the first of them wants
            asked[goes].cancel()
            answers = await at_once(*asked)

            assert type(answers.pop(goes)) is asyncio.CancelledError
            del owners[goes]
            assert [row["user_id"] for row in answers] == [owner.id for owner in owners]
            assert [row["title"] for row in answers] == ["third"] * len(owners)

    tell(story())
    assert caplog.messages == []


def test_reads_that_are_cut_off_are_asked_again_and_writes_are_not(own_database: Urls) -> None:
    line = Line(own_database.runtime)

    async def story() -> None:
        async with database_at(line.url, pool=1) as database:
            owners = await new_owners(database)
            await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            line.cut_at, line.cuts_left = b"third", 1
            answers = await at_once(
                *(
                    tasks.create_task(database, owner.id, {"title": title})
                    for owner, title in zip(owners, TITLES, strict=True)
                )
            )
            assert [code_of(answer) for answer in answers[1:]] == [Code.DATABASE_ERROR] * (USERS - 1)
            assert answers[0]["title"] == TITLES[0]

            line.close_all()
            lists = await at_once(*(tasks.list_tasks(database, owner.id) for owner in owners))
            # What was cut off was done, once, and all of it: nobody was told otherwise.
            assert [[row["title"] for row in rows] for rows in lists] == [[t, "second", "first"] for t in TITLES]

    tell(story())
    line.close()
