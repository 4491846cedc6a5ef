"""The connection pool alone: interrupted statements, failed connects, a close; no slot is lost or counted twice."""

import asyncio

import asyncpg
import pytest

from service.db import pool as pools
from service.db.connect import DatabaseConnection
from service.errors import Code, Problem
from tests.databases import Urls
from tests.db.database_proxy import DatabaseProxy
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.pools import check_slots, hold_connection, pid, pool_to, sends, start_waiting

SLEEP = "SELECT pg_sleep(120)"


def test_a_cancelled_statement_returns_its_connection_if_the_server_answers(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            before = await pool.run(pid)
            sleeper = await start_waiting(pool.run(lambda connection: connection.execute(SLEEP)))
            await asyncio.sleep(0.2)
            sleeper.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeper
            assert await pool.run(pid) == before
            await check_slots(pool, 1)

    run_async(scenario())


def test_a_failed_statement_returns_its_connection(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            before = await pool.run(pid)
            for wrong in ("SELECT 1 / 0", "no SQL"):
                with pytest.raises(asyncpg.PostgresError):
                    await pool.run(sends(wrong))
            assert await pool.run(pid) == before
            await check_slots(pool, 1)

    run_async(scenario())


def test_a_connection_that_does_not_answer_a_cancellation_is_replaced(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CANCEL_TIMEOUT_SECONDS", 0.2)

    async def scenario() -> None:
        async with pool_to(proxy.url, 1) as pool:
            before = await pool.run(pid)
            sleeper = await start_waiting(pool.run(lambda connection: connection.execute(SLEEP)))
            await asyncio.sleep(0.2)
            proxy.drop_silently()
            sleeper.cancel()
            assert await pool.run(pid) != before
            await check_slots(pool, 1)

    proxy = DatabaseProxy(urls.runtime)
    try:
        run_async(scenario())
    finally:
        proxy.close()


def test_a_closed_connection_is_not_handed_to_a_waiter(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            release = asyncio.Event()

            async def ends(connection: DatabaseConnection) -> None:
                await release.wait()
                connection.terminate()

            before = await pool.run(pid)
            ending = await start_waiting(pool.run(ends))
            waiting = await start_waiting(pool.run(pid))
            release.set()
            await ending
            assert await waiting != before
            await check_slots(pool, 1)

    run_async(scenario())


def test_a_failed_connect_frees_its_slot(urls: Urls) -> None:
    async def scenario() -> None:
        is_away, let_fail = True, asyncio.Event()

        async def connect() -> DatabaseConnection:
            if is_away:
                await let_fail.wait()
                raise ConnectionRefusedError
            opened: DatabaseConnection = await asyncpg.connect(urls.runtime)
            return opened

        async with pool_to(urls.runtime, 2, connect=connect) as pool:
            tries = [await start_waiting(pool.run(pid)) for _ in range(5)]
            let_fail.set()
            failed = await asyncio.gather(*tries, return_exceptions=True)
            assert [type(error) for error in failed] == [ConnectionRefusedError] * 5
            let_fail.clear()
            cancelled = await start_waiting(pool.run(pid))
            cancelled.cancel()
            await asyncio.wait([cancelled])
            is_away = False
            await check_slots(pool, 2)

    run_async(scenario())


def test_a_connect_that_takes_longer_than_the_timeout_counts_as_a_failure(urls: Urls) -> None:
    async def hangs() -> DatabaseConnection:
        raise AssertionError(await asyncio.Event().wait())

    async def scenario() -> None:
        async with pool_to(urls.runtime, 1, timeout_seconds=0.1, connect=hangs) as pool:
            with pytest.raises(Problem) as refused:
                await pool.run(pid)
            assert (refused.value.code, pool.connect_failures) == (Code.OVERLOADED, 1)

    run_async(scenario())


def test_connecting_to_a_full_server_is_retried_at_a_steady_pace_for_all_waiters(urls: Urls) -> None:
    async def scenario() -> None:
        tries: list[None] = []

        async def connect() -> DatabaseConnection:
            tries.append(None)
            await asyncio.sleep(0)
            raise asyncpg.TooManyConnectionsError

        async with pool_to(urls.runtime, 5, timeout_seconds=1, connect=connect) as pool:
            refused = await asyncio.gather(*(pool.run(pid) for _ in range(5)), return_exceptions=True)
            assert [error.code for error in refused if isinstance(error, Problem)] == [Code.OVERLOADED] * 5
            assert len(tries) < 100  # one in 50 ms, for a second

    run_async(scenario())


def test_close_waits_for_running_statements_that_end_at_the_same_time(urls: Urls) -> None:
    async def scenario() -> None:
        used: list[DatabaseConnection] = []
        release = asyncio.Event()

        async def use(connection: DatabaseConnection) -> int:
            used.append(connection)
            await release.wait()
            return await pid(connection)

        async with pool_to(urls.runtime, 3) as pool:
            await check_slots(pool, 3)
            tasks = [await start_waiting(pool.run(use)) for _ in range(2)]
            closing = await start_waiting(pool.close())
            assert not any(connection.is_closed() for connection in used)
            release.set()
            await closing
            assert len({await task for task in tasks}) == 2
            assert all(connection.is_closed() for connection in used)

    run_async(scenario())


def test_connections_that_were_idle_when_another_was_ended_are_not_used(urls: Urls) -> None:
    """A failover ends all of them. A read that is sent again would meet the next dead one."""

    async def scenario() -> None:
        async with pool_to(urls.runtime, 3) as pool:
            held = [await hold_connection(pool) for _ in range(2)]
            before = []
            for hold, task in held:
                hold.release.set()
                before.append(await task)
            with pytest.raises(pools.CONNECTION_ENDED_ERRORS):
                await pool.run(sends("SELECT pg_terminate_backend(pg_backend_pid())"))
            assert await pool.run(pid) not in before
            await check_slots(pool, 3)

    run_async(scenario())


def test_a_cancelled_close_aborts_running_statements(urls: Urls) -> None:
    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            await pool.run(pid)
            sleeper = await start_waiting(pool.run(lambda connection: connection.execute(SLEEP)))
            closing = await start_waiting(pool.close())
            closing.cancel()
            with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError)):
                await asyncio.wait_for(sleeper, LONG_TIMEOUT_SECONDS)
            assert closing.cancelled()

    run_async(scenario())
