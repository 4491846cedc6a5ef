"""The fair queue for connections: owners take turns, and none has more than its share."""

import asyncio
from collections.abc import Hashable
from typing import Any
from uuid import uuid4

import pytest

from service.auth.token_users import FIND_OUTSIDE_USER
from service.db.connect import DatabaseConnection
from service.domain import tasks
from service.domain.rate_limits import COUNT_ATTEMPT
from service.errors import Code
from service.fair_queue import FairQueue
from service.http.health import CHECK_SERVER
from tests.databases import Urls
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.message_counter import MessageCounter
from tests.db.owners import DONE, code_of, database_at, gather_all, new_owners, row_locked
from tests.db.pools import hold_connection, pid, pool_to, start_waiting


class Slots:
    """A fair queue whose slots a test gives back, and the order in which they were given."""

    def __init__(self, slots: int, share: int, timeout: float = LONG_TIMEOUT_SECONDS) -> None:
        self.unused: list[int | None] = []
        self.queue: FairQueue[int] = FairQueue(slots, share, timeout, self.unused.append)
        self.given: list[Hashable] = []

    async def takes(self, owner: str) -> None:
        if not self.queue.try_take(owner):
            await self.queue.wait(owner)
        self.given.append(owner)

    async def all_take(self, owners: str) -> "list[asyncio.Task[None]]":
        found = [asyncio.create_task(self.takes(owner)) for owner in owners]
        await asyncio.sleep(0)
        return found

    async def give_back(self, owners: str) -> str:
        """Give a slot back for each owner. Returns the owners that got one."""
        before = len(self.given)
        for owner in owners:
            self.queue.release(owner, None)
            for _ in range(3):
                await asyncio.sleep(0)
        return "".join(map(str, self.given[before:]))


def test_waiting_owners_get_slots_in_turn() -> None:
    async def scenario() -> None:
        slots = Slots(1, 1)
        await slots.all_take("aaaabbc")
        assert slots.given == ["a"]
        assert await slots.give_back("abcaba") == "bcabaa"

    run_async(scenario())


def test_a_new_waiter_has_at_most_as_many_of_each_other_owner_before_it_as_of_its_own_and_one() -> None:
    async def scenario() -> None:
        slots = Slots(1, 1)
        await slots.all_take("aaaabbc")
        assert [slots.queue.ahead_of(owner) for owner in "dcba"] == [3, 1 + 2 + 2, 2 + 3 + 1, 3 + 2 + 1]

        await slots.all_take("d")
        assert await slots.give_back("abcd") == "bcda"  # the owner that had the slot comes after the newcomer

    run_async(scenario())


def test_the_oldest_waiter_of_an_owner_is_served_first() -> None:
    async def scenario() -> None:
        slots, served = Slots(1, 1), []

        async def takes(number: int) -> None:
            await slots.takes("a")
            served.append(number)
            slots.queue.release("a", None)

        await slots.takes("a")
        waiting = [asyncio.create_task(takes(number)) for number in range(3)]
        await asyncio.sleep(0)
        slots.queue.release("a", None)
        await asyncio.gather(*waiting)
        assert served == [0, 1, 2]

    run_async(scenario())


def test_an_owner_gets_no_more_than_its_share_while_slots_are_free() -> None:
    async def scenario() -> None:
        slots = Slots(4, 2)
        await slots.all_take("aaaa")
        assert (slots.given, slots.queue.free) == (["a", "a"], 2)
        await slots.all_take("bc")
        assert slots.given == ["a", "a", "b", "c"]
        assert await slots.give_back("bc") == ""  # only an owner with its full share is waiting
        assert slots.queue.free == 2
        assert await slots.give_back("a") == "a"
        assert await slots.give_back("aa") == "a"
        assert await slots.give_back("a") == ""
        assert slots.queue.free == 4

    run_async(scenario())


def test_slots_given_after_a_wait_count_in_the_share_of_the_owner() -> None:
    async def scenario() -> None:
        slots = Slots(3, 2)
        await slots.all_take("bcdaaa")
        assert await slots.give_back("bcd") == "aa"
        assert slots.queue.free == 1
        assert await slots.give_back("aaa") == "a"
        assert slots.queue.free == 3
        assert not slots.queue._in_use

    run_async(scenario())


def test_a_returned_slot_goes_to_a_waiter_before_a_newcomer() -> None:
    async def scenario() -> None:
        slots = Slots(1, 1)
        await slots.all_take("ab")
        slots.queue.release("a", None)
        assert not slots.queue.try_take("c")
        await asyncio.sleep(0)
        assert slots.given == ["a", "b"]

    run_async(scenario())


def test_waiters_are_refused_after_the_timeout_and_leave_no_state() -> None:
    async def scenario() -> None:
        slots = Slots(2, 1, timeout=0.05)
        waiting = await slots.all_take("aabcbc")
        answers = await gather_all(*waiting)
        assert [code_of(answer) for answer in answers] == [
            None, Code.OVERLOADED, None, Code.OVERLOADED, Code.OVERLOADED, Code.OVERLOADED,
        ]  # fmt: skip
        assert await slots.give_back("ab") == ""
        assert slots.queue.free == 2
        assert not any((slots.queue._in_use, slots.queue._below_share, slots.queue._at_share))

    run_async(scenario())


@pytest.mark.parametrize("has_run", [False, True])
def test_a_cancelled_waiter_passes_its_slot_on(has_run: bool) -> None:
    async def scenario() -> None:
        slots = Slots(1, 1)
        _, cancelled, _ = await slots.all_take("abc")
        if not has_run:
            cancelled.cancel()
            await asyncio.sleep(0)
        slots.queue.release("a", None)
        if has_run:
            cancelled.cancel()  # it has been given the slot, and has not run yet
        for _ in range(3):
            await asyncio.sleep(0)
        assert slots.given == ["a", "c"]
        assert await slots.give_back("c") == ""
        assert (slots.queue.free, slots.unused) == (1, [None])

    run_async(scenario())


def test_with_one_connection_the_statement_of_another_user_is_served_second(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            served: list[str] = []

            async def use(user: str) -> None:
                async def send(connection: DatabaseConnection) -> None:
                    await pid(connection)
                    served.append(user)

                await pool.run(send, user)

            hold, holder = await hold_connection(pool)
            queued = [await start_waiting(use("hot")) for _ in range(20)]
            queued.append(await start_waiting(use("other")))
            hold.release.set()
            await asyncio.gather(holder, *queued)
            assert served == ["hot", "other", *["hot"] * 19]

    run_async(scenario())


def test_statements_of_one_user_leave_connections_for_other_users(own_database: Urls) -> None:
    """Each waits for the locked row on the server, as the URL has a long lock_timeout."""

    async def scenario() -> None:
        url = f"{own_database.runtime}{'&' if '?' in own_database.runtime else '?'}options=-c%20lock_timeout%3D60s"
        async with database_at(url, pool=4, pool_timeout=LONG_TIMEOUT_SECONDS) as database:
            hot, *others = await new_owners(database)
            async with row_locked(own_database.admin, hot):
                writes = [asyncio.create_task(tasks.update_task(database, hot.id, hot.task, DONE)) for _ in range(20)]
                await asyncio.sleep(0)
                served = await gather_all(*(tasks.get_task(database, owner.id, owner.task) for owner in others))

                assert [row["user_id"] for row in served] == [owner.id for owner in others]
                assert not any(write.done() for write in writes)
            assert [row["user_id"] for row in await gather_all(*writes)] == [hot.id] * 20

    run_async(scenario())


def test_a_batch_of_one_user_counts_in_its_share_and_a_mixed_batch_has_its_own(message_counter: MessageCounter) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=4) as database:
            owners = await new_owners(database, 2)
            taken: list[Any] = []
            take = database._pool._queue.try_take

            def seen(owner: Hashable) -> bool:
                taken.append(owner)
                return take(owner)

            database._pool._queue.try_take = seen  # type: ignore[method-assign]
            one, two = owners
            both = [each["id"] for each in one.tasks]
            reads = [tasks.get_task(database, one.id, str(task_id)) for task_id in (both[0], *both)]
            await gather_all(*reads)
            assert taken == [one.id, one.id]

            taken.clear()
            await gather_all(*(tasks.get_task(database, owner.id, owner.task) for owner in (one, one, two)))
            assert taken[0] == one.id
            assert taken[1] not in {one.id, two.id}

    run_async(scenario())


def test_the_owner_of_a_statement_is_its_user_or_its_first_arguments() -> None:
    user = uuid4()
    assert tasks.GET_TASK.owner([user, uuid4()]) == user
    assert COUNT_ATTEMPT.owner([b"bucket", 1, None]) == (b"bucket", 1)
    assert FIND_OUTSIDE_USER.owner(["issuer", "subject"]) == ("issuer", "subject")
    assert CHECK_SERVER.owner([["0001"]]) == "health/check_server"
