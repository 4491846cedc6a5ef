"""What is asked in one moment goes to the server together, and nobody gets, loses or waits for what is another's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from service import batches, tasks
from service.accounts import CREATE_USER
from service.auth import users
from service.background import Background
from service.database import Database, Row
from service.errors import Code, Problem
from service.settings import load_settings
from service.tasks import Changes
from tests.databases import Urls, patient
from tests.operations.line import Line
from tests.operations.stories import GENEROUS, tell
from tests.operations.wiretap import Wiretap
from tests.support import SECRET, new_email

USERS = 5
DONE = Changes({"is_completed": True})
TITLES = ["zeroth", *["third"] * (USERS - 1)]


@pytest.fixture
def wiretap(own_database: Urls) -> Iterator[Wiretap]:
    tap = Wiretap(own_database.runtime)
    yield tap
    tap.close()


class Owner(NamedTuple):
    id: UUID
    tasks: list[Row]  # two, the newest first

    @property
    def task(self) -> str:
        return str(self.tasks[0]["id"])


@asynccontextmanager
async def database_at(url: str, pool: int = 4, **settings: object) -> AsyncIterator[Database]:
    background = Background()
    given = {"pool_min": 1, "pool_max": pool, "statement_timeout": 30} | settings
    database = await Database.connect(load_settings(database_url=url, better_auth_secret=SECRET, **given), background)
    yield database
    await background.close()
    await database.close()


async def new_owners(database: Database, number: int = USERS) -> list[Owner]:
    found = []
    for _ in range(number):
        user = await database.must(CREATE_USER, email=new_email(), password_hash="no hash")
        made = [await tasks.create_task(database, user["id"], title, None) for title in ("first", "second")]
        found.append(Owner(user["id"], made[::-1]))
    return found


async def at_once(*asked: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*asked, return_exceptions=True)


def code_of(answer: object) -> object:
    return answer.code if isinstance(answer, Problem) else answer


@asynccontextmanager
async def held(url: str, owner: Owner) -> AsyncIterator[Callable[[], Coroutine[Any, Any, None]]]:
    """Somebody in psql is at the first task of this owner, until the context or a call ends it."""
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


async def until_waiting(url: str, number: int) -> None:
    """So many sessions of this database wait for a lock."""
    connection = await asyncpg.connect(url)
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await connection.fetchval(query) < number:  # noqa: ASYNC110 - the server says it to nobody who does not ask
        await asyncio.sleep(0.02)
    await connection.close()


def with_option(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options=-c%20{option}"


@pytest.mark.parametrize(
    "ask",
    [
        lambda database, owner: tasks.list_tasks(database, owner.id),
        lambda database, owner: tasks.get_task(database, owner.id, owner.task),
        lambda database, owner: tasks.create_task(database, owner.id, "third", None),
        lambda database, owner: tasks.update_task(database, owner.id, owner.task, DONE),
        lambda database, owner: tasks.delete_task(database, owner.id, owner.task),
        lambda database, owner: users.require_current(database, owner.id, 0),
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


def test_a_batch_is_never_larger_than_the_most(wiretap: Wiretap) -> None:
    async def story() -> None:
        async with database_at(wiretap.url, pool=1) as database:
            [owner] = await new_owners(database, 1)
            more = 2 * batches.MOST
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
    monkeypatch.setattr(batches, "ROWS", 10)

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
                await tasks.create_task(database, owners[0].id, "third", None)
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
            monkeypatch.setattr(batches, "LONG", 1)
            await at_once(*(listed(database, owner) for owner in owners))
            await asyncio.sleep(0)
            assert seen == ["an answer", "others"] * USERS

    tell(story())


def test_everybody_gets_what_is_theirs_and_nothing_else(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database, 2 * batches.MOST)
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

            new = await at_once(*(tasks.create_task(database, owner.id, str(owner.id), None) for owner in owners))
            assert [(row["user_id"], row["title"]) for row in new] == [(owner.id, str(owner.id)) for owner in owners]
            kept = await at_once(*(tasks.list_tasks(database, owner.id) for owner in owners))
            assert kept == [[row, *owner.tasks] for row, owner in zip(new, owners, strict=True)]

    tell(story())


def test_a_token_that_was_revoked_is_refused_beside_others_of_its_user(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database, 3)
            asked = [(owner.id, generation) for owner in owners for generation in (0, 1, 0)]
            answers = await at_once(*(users.require_current(database, *each) for each in asked))

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
            made = await at_once(*(tasks.create_task(database, owner.id, "again", None) for _ in range(10)))
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


def test_a_write_that_is_refused_takes_no_other_with_it(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            owners = await new_owners(database)
            await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            owners[3] = Owner(uuid4(), [])
            answers = await at_once(*(tasks.create_task(database, owner.id, "third", None) for owner in owners))

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
                asked = (tasks.create_task(database, each, "third", None) for each in (owner.id, uuid4()))
                answers = await at_once(*asked)

            assert (wiretap.sent - before)["Execute"] == 2
            assert [code_of(answer) for answer in answers[1:]] == [Code.INVALID_TOKEN]

    tell(story())


def test_where_the_server_ends_a_wait_for_a_lock_only_that_write_is_refused(own_database: Urls) -> None:
    async def story() -> None:
        async with database_at(with_option(own_database.runtime, "lock_timeout%3D100")) as database:
            owners = await new_owners(database)
            async with held(own_database.admin, owners[3]):
                answers = await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))

            assert [code_of(answer) for answer in answers[3:4]] == [Code.DATABASE_ERROR]
            del answers[3], owners[3]
            assert [(row["id"], row["is_completed"]) for row in answers] == [(o.tasks[0]["id"], True) for o in owners]

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


def test_nobody_joins_in_any_more_while_a_write_waits_for_a_lock(
    own_database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "A_WAIT", 0.0)

    async def story() -> None:
        async with database_at(patient(own_database.runtime)) as database:
            owners = await new_owners(database)
            await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
            async with held(own_database.admin, owners[3]) as let_go:
                stuck = asyncio.gather(
                    *(tasks.delete_task(database, owner.id, owner.task) for owner in owners[2:4]),
                    tasks.delete_task(database, owners[4].id, owners[4].task),
                )
                await until_waiting(own_database.admin, 1)
                more = [owners[0], owners[3], owners[1]]
                late = [asyncio.create_task(tasks.update_task(database, o.id, o.task, DONE)) for o in more]
                served = [await late[0], await late[2]]  # though the one between them waits
                assert [row["user_id"] for row in served] == [owners[0].id, owners[1].id]
                assert not late[1].done()
                await let_go()
                assert [row["user_id"] for row in await stuck] == [owner.id for owner in owners[2:5]]
                assert [code_of(answer) for answer in await at_once(*late[1:2])] == [Code.NOT_FOUND]

    tell(story())


def test_two_batches_that_meet_do_not_wait_for_each_other(
    own_database: Urls, wiretap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "A_WAIT", GENEROUS)

    async def story() -> None:
        url = patient(wiretap.url)
        async with database_at(url) as one, database_at(url) as other:
            owners = sorted(await new_owners(one, 3), key=lambda owner: owner.id)
            for database in (one, other):
                await at_once(*(tasks.update_task(database, owner.id, owner.task, DONE) for owner in owners))
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
                answers = await at_once(*(tasks.create_task(database, owner.id, "third", None) for owner in owners))
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
            asked = [asyncio.create_task(tasks.create_task(database, owner.id, "third", None)) for owner in owners]
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
                    tasks.create_task(database, owner.id, title, None)
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


def test_a_row_that_nobody_asked_for_is_given_to_nobody() -> None:
    async def story() -> None:
        key = tasks.LIST_TASKS.key
        assert key is not None
        batch = batches.Batch(tasks.LIST_TASKS, key, 2)
        answer = batch.join([uuid4(), 10])
        assert answer is not None
        foreign: Any = [{"user_id": uuid4(), "title": "Not yours"}]
        with pytest.raises(KeyError):
            await batch.distribute(foreign)
        assert not answer.done()

    tell(story())
