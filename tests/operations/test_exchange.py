"""Who waits for the bytes of a request."""

import asyncio

from service.exchange import Arrival


def test_bytes_that_come_in_two_pieces_wake_who_waits_once() -> None:
    async def arrive() -> None:
        arrival = Arrival()
        waiting = arrival.wait(asyncio.get_running_loop())
        arrival.set()
        arrival.set()
        await waiting

    asyncio.run(arrive())


def test_bytes_that_come_when_nobody_waits_any_more_wake_nobody() -> None:
    async def arrive() -> asyncio.Future[None]:
        arrival = Arrival()
        arrival.set()
        waiting = arrival.wait(asyncio.get_running_loop())
        waiting.cancel()
        arrival.set()
        return waiting

    assert asyncio.run(arrive()).cancelled()
