"""Turns: so many at once, and by user in turn."""

import asyncio
from uuid import UUID, uuid4

import pytest

from service.http.turns import Turns
from tests.operations.stories import tell


async def takes_a_turn(turns: Turns, user_id: UUID, order: list[str], name: str) -> None:
    async with turns.of(user_id):
        order.append(name)
        await asyncio.sleep(0)


def test_as_many_as_there_are_turns_go_at_once_and_the_next_waits() -> None:
    async def story() -> None:
        turns, user_id, order = Turns(2), uuid4(), list[str]()
        async with turns.of(user_id), turns.of(user_id):
            waiting = asyncio.create_task(takes_a_turn(turns, user_id, order, "third"))
            await asyncio.sleep(0.01)
            assert order == []
        await waiting
        assert order == ["third"]

    tell(story())


def test_a_user_with_many_waiting_and_another_user_take_turns() -> None:
    async def story() -> None:
        turns, ann, bob, order = Turns(1), uuid4(), uuid4(), list[str]()
        async with turns.of(ann):
            asked = [(ann, f"ann {number}") for number in range(4)] + [(bob, f"bob {number}") for number in range(2)]
            waiting = [asyncio.create_task(takes_a_turn(turns, user_id, order, name)) for user_id, name in asked]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        assert order == ["ann 0", "bob 0", "ann 1", "bob 1", "ann 2", "ann 3"]

    tell(story())


def test_a_turn_of_a_client_that_has_gone_is_the_next_ones() -> None:
    async def story() -> None:
        turns, ann, bob, order = Turns(1), uuid4(), uuid4(), list[str]()
        async with turns.of(ann):
            waits = asyncio.create_task(takes_a_turn(turns, ann, order, "left while waiting"))
            given = asyncio.create_task(takes_a_turn(turns, ann, order, "left when given"))
            other = asyncio.create_task(takes_a_turn(turns, bob, order, "other"))
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.sleep(0)
        given.cancel()  # its turn has been given to it, and it has not run yet
        await asyncio.gather(waits, given, other, return_exceptions=True)
        assert order == ["other"]
        await asyncio.wait_for(takes_a_turn(turns, ann, order, "after all"), 10)
        assert order == ["other", "after all"]

    tell(story())


def test_an_error_in_a_turn_gives_it_back() -> None:
    async def story() -> None:
        turns, user_id, order = Turns(1), uuid4(), list[str]()
        with pytest.raises(RuntimeError):
            async with turns.of(user_id):
                raise RuntimeError
        await asyncio.wait_for(takes_a_turn(turns, user_id, order, "next"), 10)
        assert order == ["next"]

    tell(story())
