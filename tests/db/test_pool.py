"""The connection pool alone: order of waiters, timeouts, dead connections; no slot is lost or counted twice."""

import asyncio
import gc
import threading
import weakref
from typing import Any

import asyncpg
import pytest

from service.background import Background
from service.db import pool as pools
from service.db.connect import DatabaseConnection
from service.db.pool import Pool
from service.errors import Code, Problem
from service.settings.all_settings import load_settings
from tests.databases import Urls
from tests.db.database_proxy import DatabaseProxy, ProxiedConnection
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.pools import (
    check_slots,
    hold_connection,
    pid,
    pool_to,
    pool_with_short_timeout,
    sends,
    start_waiting,
    wait_until,
)
from tests.support import SECRET

SLEEP = "SELECT pg_sleep(120)"
TERMINATE = b"X\x00\x00\x00\x04"


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


def test_an_idle_connection_that_answers_is_used_again(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TRUST_IDLE_SECONDS", 0.0)

    async def scenario() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            before = await pool.run(pid)
            assert [await pool.run(pid) for _ in range(3)] == [before] * 3

    run_async(scenario())


def test_a_dead_idle_connection_is_closed_and_released(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TRUST_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(pools, "IDLE_CHECK_TIMEOUT_SECONDS", 0.2)

    async def scenario() -> None:
        opened: list[DatabaseConnection] = []

        async def connect() -> DatabaseConnection:
            opened.append(await asyncpg.connect(proxy.url))
            return opened[-1]

        async with pool_to(proxy.url, 1, connect=connect) as pool:
            before = await pool.run(pid)
            proxy.drop_silently()
            assert await pool.run(pid) != before
            assert [connection.is_closed() for connection in opened] == [True, False]
            dead = weakref.ref(opened.pop(0))
            await wait_until(lambda: gc.collect() >= 0 and dead() is None)
            await check_slots(pool, 1)

    proxy = DatabaseProxy(urls.runtime)
    try:
        run_async(scenario())
    finally:
        proxy.close()


def test_idle_connections_older_than_a_dead_one_are_dropped_without_a_check(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_CHECK_TIMEOUT_SECONDS", 0.2)

    async def scenario() -> None:
        asked: list[None] = []

        class Asked(asyncpg.Connection):
            async def execute(self, *arguments: Any, **named: Any) -> Any:
                asked.append(None)
                return await super().execute(*arguments, **named)

        async def connect() -> DatabaseConnection:
            opened: DatabaseConnection = await asyncpg.connect(proxy.url, connection_class=Asked)
            return opened

        async with pool_to(proxy.url, 3, connect=connect) as pool:
            all_have_one = asyncio.Barrier(3)
            before = await asyncio.gather(*(pool.run(lambda used: used_with(all_have_one, used)) for _ in range(3)))
            monkeypatch.setattr(pools, "TRUST_IDLE_SECONDS", 0.0)
            proxy.drop_silently()
            assert await pool.run(pid) not in before
            assert len(asked) == 1

    async def used_with(others: asyncio.Barrier, connection: DatabaseConnection) -> int:
        await others.wait()
        return await pid(connection)

    proxy = DatabaseProxy(urls.runtime)
    try:
        run_async(scenario())
    finally:
        proxy.close()


@pytest.mark.parametrize("least", [0, 1])
def test_idle_connections_after_a_burst_are_closed_down_to_pool_min(
    urls: Urls, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(pools, "CLOSE_IDLE_SECONDS", 0.1)

    async def scenario() -> None:
        background = Background()
        settings = load_settings(database_url=urls.runtime, better_auth_secret=SECRET, pool_min=least, pool_max=3)
        pool = await Pool.open(settings, background)
        burst: list[DatabaseConnection] = []
        all_have_one = asyncio.Barrier(3)

        async def use(connection: DatabaseConnection) -> None:
            burst.append(connection)
            await all_have_one.wait()

        for _ in range(2):  # idle connections are closed after every burst
            burst.clear()
            await asyncio.gather(*(pool.run(use) for _ in range(3)))
            await wait_until(lambda: sum(connection.is_closed() for connection in burst) == 3 - least)
            await asyncio.sleep(0.3)
            assert (len(set(burst)), sum(connection.is_closed() for connection in burst)) == (3, 3 - least)
        await check_slots(pool, 3)
        await background.close()
        await pool.close()

    run_async(scenario())


class SlowToHangUp(DatabaseProxy):
    """The server gets a connection's last message, Terminate, when the test allows it."""

    def __init__(self, server_url: str) -> None:
        super().__init__(server_url)
        self.is_asked = threading.Event()
        self.is_allowed = threading.Event()

    def before_forwarding(self, connection: ProxiedConnection, data: bytes) -> None:  # noqa: ARG002 - as named there
        if data.startswith(TERMINATE):
            self.is_asked.set()
            self.is_allowed.wait(LONG_TIMEOUT_SECONDS)


def test_while_an_idle_connection_is_closed_it_counts_for_pool_max(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CLOSE_IDLE_SECONDS", 0.1)
    monkeypatch.setattr(pools, "CANCEL_TIMEOUT_SECONDS", LONG_TIMEOUT_SECONDS)

    async def scenario() -> None:
        background = Background()
        limits = {"pool_min": 0, "pool_max": 1, "prepared_statements": "on"}
        settings = load_settings(database_url=proxy.url, better_auth_secret=SECRET, **limits)
        pool = await Pool.open(settings, background)
        before = await pool.run(pid)
        await wait_until(proxy.is_asked.is_set)
        waiting = await start_waiting(pool.run(pid))
        await asyncio.sleep(0.1)  # a slot too many would open a connection
        assert (waiting.done(), len(proxy.connections)) == (False, 1)
        proxy.is_allowed.set()
        assert await waiting != before
        await background.close()
        await pool.close()

    proxy = SlowToHangUp(urls.runtime)
    try:
        run_async(scenario())
    finally:
        proxy.is_allowed.set()
        proxy.close()


def test_the_last_used_connection_of_a_burst_is_kept_longest(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CLOSE_IDLE_SECONDS", 0.1)

    async def scenario() -> None:
        background = Background()
        settings = load_settings(database_url=urls.runtime, better_auth_secret=SECRET, pool_min=1, pool_max=2)
        pool = await Pool.open(settings, background)
        used: list[DatabaseConnection] = []
        all_have_one = asyncio.Barrier(2)

        async def use(connection: DatabaseConnection) -> None:
            used.append(connection)
            if len(used) <= 2:
                await all_have_one.wait()

        await asyncio.gather(pool.run(use), pool.run(use))
        await pool.run(use)
        await wait_until(lambda: any(connection.is_closed() for connection in used))
        assert {connection for connection in used if not connection.is_closed()} == {used[2]}
        await background.close()
        await pool.close()

    run_async(scenario())
