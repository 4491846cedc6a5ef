"""The connection pool: the order of waiters, their timeout and their cancellation."""

import asyncio

import pytest

from service.db.connect import DatabaseConnection
from service.errors import Code, Problem
from tests.databases import Urls
from tests.db.event_loop import run_async
from tests.db.pools import check_slots, hold_connection, pid, pool_to, pool_with_short_timeout, start_waiting


def test_waiters_are_served_in_the_order_of_arrival(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            served: list[str] = []

            async def use(name: str) -> None:
                async def send(connection: DatabaseConnection) -> None:
                    await pid(connection)
                    served.append(name)

                await pool.run(send)

            hold, _ = await hold_connection(pool)
            waiting = [await start_waiting(use(name)) for name in ("1", "2", "3")]
            hold.release.set()
            await asyncio.gather(*waiting)
            assert served == ["1", "2", "3"]

    run_async(scenario())


def test_a_newcomer_does_not_overtake_while_a_connection_is_handed_over(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            served: list[str] = []
            release = asyncio.Event()

            async def send(connection: DatabaseConnection, name: str) -> None:
                await release.wait()
                await pid(connection)
                served.append(name)

            async def comes_twice() -> None:
                await pool.run(lambda connection: send(connection, "first"))
                await pool.run(lambda connection: send(connection, "again"))

            twice = await start_waiting(comes_twice())
            waiting = await start_waiting(pool.run(lambda connection: send(connection, "in line")))
            release.set()
            await asyncio.gather(twice, waiting)
            assert served == ["first", "in line", "again"]

    run_async(scenario())


def test_a_waiter_is_refused_after_pool_timeout_and_a_later_one_is_served(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1, timeout_seconds=2.5) as pool:
            hold, task = await hold_connection(pool)
            early = await start_waiting(pool.run(pid))
            gone = await start_waiting(pool.run(pid))
            await asyncio.sleep(2)
            late = await start_waiting(pool.run(pid))
            gone.cancel()
            with pytest.raises(Problem) as refused:
                await early
            hold.release.set()
            assert refused.value.code is Code.OVERLOADED
            assert await late == await task
            await check_slots(pool, 1)

    run_async(scenario())


def test_every_waiter_beyond_pool_timeout_is_refused(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_with_short_timeout(urls.runtime) as pool:
            hold, task = await hold_connection(pool)
            for _ in range(3):
                with pytest.raises(Problem):
                    await pool.run(pid)
            hold.release.set()
            assert await task == await pool.run(pid)

    run_async(scenario())


@pytest.mark.parametrize("most", [1, 3])
def test_a_waiter_cancelled_while_it_gets_a_connection_passes_it_on(urls: Urls, most: int) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, most) as pool:
            held = [await hold_connection(pool) for _ in range(most - 1)]
            release = asyncio.Event()

            async def gives_and_calls_off() -> None:
                await pool.run(lambda _: release.wait())
                cancelled.cancel()  # it has been given a connection, and has not run yet

            await pool.run(pid)  # opens a connection that is free at once
            giver = await start_waiting(gives_and_calls_off())
            cancelled = await start_waiting(pool.run(pid))
            stays = await start_waiting(pool.run(pid))
            release.set()
            await giver
            assert await stays
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            for hold, task in held:
                hold.release.set()
                await task
            await check_slots(pool, most)

    run_async(scenario())


def test_a_waiter_cancelled_while_it_is_refused_leaves_no_state(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_with_short_timeout(urls.runtime) as pool:
            hold, task = await hold_connection(pool)

            async def is_refused_and_calls_off() -> None:
                with pytest.raises(Problem):
                    await pool.run(pid)
                cancelled.cancel()  # it has been refused too, and has not run yet

            refused = await start_waiting(is_refused_and_calls_off())
            cancelled = await start_waiting(pool.run(pid))
            await refused
            with pytest.raises(asyncio.CancelledError):
                await cancelled
            hold.release.set()
            assert await task == await pool.run(pid)

    run_async(scenario())
