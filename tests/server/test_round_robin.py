"""Turns for connections that always have more work: one per iteration of the event loop."""

import asyncio
from itertools import pairwise

from service.server.round_robin import RoundRobin


def test_round_robin_resumes_one_task_per_iteration_of_the_event_loop_in_turn() -> None:
    async def scenario() -> list[str]:
        went_on: list[str] = []
        round_robin = RoundRobin(asyncio.get_running_loop())

        async def greedy(name: str) -> None:
            while True:
                await round_robin.wait_for_turn()
                went_on.append(name)

        many = [asyncio.create_task(greedy(name)) for name in "abcd"]
        counts = [0]
        for iteration in range(30):
            await asyncio.sleep(0)
            counts.append(len(went_on))
            if iteration == 10:
                many[1].cancel()
        for each in many:
            each.cancel()
        assert {after - before for before, after in pairwise(counts)} <= {0, 1}
        return went_on

    went_on = "".join(asyncio.run(scenario()))

    assert len(went_on) > 20
    assert went_on.startswith("abcdabcd")
    assert went_on[-6:] in {"acdacd", "cdacda", "dacdac"}


def test_round_robin_gives_turns_again_after_it_was_idle() -> None:
    async def scenario() -> None:
        round_robin = RoundRobin(asyncio.get_running_loop())
        for _ in range(3):
            await asyncio.wait_for(round_robin.wait_for_turn(), 60)
            await asyncio.sleep(0.01)
        gone = round_robin.wait_for_turn()
        gone.cancel()
        await asyncio.wait_for(round_robin.wait_for_turn(), 60)

    asyncio.run(scenario())
