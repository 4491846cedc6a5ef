"""The slots of a fair queue as a context manager: a limited number at once, in turn between users."""

import asyncio
from uuid import UUID, uuid4

import pytest

from service.fair_queue import FairQueue
from tests.db.event_loop import run_async


async def takes_a_slot(slots: FairQueue[None], user_id: UUID, order: list[str], name: str) -> None:
    async with slots.slot(user_id):
        order.append(name)
        await asyncio.sleep(0)


def test_a_task_beyond_the_number_of_slots_waits() -> None:
    async def scenario() -> None:
        slots, user_id, order = FairQueue[None](2, 2), uuid4(), list[str]()
        async with slots.slot(user_id), slots.slot(user_id):
            waiting = asyncio.create_task(takes_a_slot(slots, user_id, order, "third"))
            await asyncio.sleep(0.01)
            assert order == []
        await waiting
        assert order == ["third"]

    run_async(scenario())


def test_users_with_many_and_few_waiting_tasks_take_turns() -> None:
    async def scenario() -> None:
        slots, ann, bob, order = FairQueue[None](1, 1), uuid4(), uuid4(), list[str]()
        async with slots.slot(ann):
            asked = [(ann, f"ann {number}") for number in range(4)] + [(bob, f"bob {number}") for number in range(2)]
            waiting = [asyncio.create_task(takes_a_slot(slots, user_id, order, name)) for user_id, name in asked]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert order == ["bob 0", "ann 0", "bob 1", "ann 1", "ann 2", "ann 3"]

    run_async(scenario())


def test_a_slot_of_a_cancelled_task_is_passed_on() -> None:
    async def scenario() -> None:
        slots, ann, bob, order = FairQueue[None](1, 1), uuid4(), uuid4(), list[str]()
        async with slots.slot(ann):
            waits = asyncio.create_task(takes_a_slot(slots, ann, order, "left while waiting"))
            given = asyncio.create_task(takes_a_slot(slots, ann, order, "left when given"))
            other = asyncio.create_task(takes_a_slot(slots, bob, order, "other"))
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.sleep(0)
        given.cancel()  # it has been given the slot, and has not run yet
        await asyncio.gather(waits, given, other, return_exceptions=True)
        assert order == ["other"]
        await asyncio.wait_for(takes_a_slot(slots, ann, order, "after all"), 10)
        assert order == ["other", "after all"]

    run_async(scenario())


def test_a_slot_is_free_again_after_an_error() -> None:
    async def scenario() -> None:
        slots, user_id, order = FairQueue[None](1, 1), uuid4(), list[str]()
        with pytest.raises(RuntimeError):
            async with slots.slot(user_id):
                raise RuntimeError
        await asyncio.wait_for(takes_a_slot(slots, user_id, order, "next"), 10)
        assert order == ["next"]

    run_async(scenario())
