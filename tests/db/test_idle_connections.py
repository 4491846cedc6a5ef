"""The connection pool: idle connections are checked, reused, and closed when unused."""

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
from service.settings.all_settings import load_settings
from tests.databases import Urls
from tests.db.database_proxy import DatabaseProxy, ProxiedConnection
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.pools import check_slots, pid, pool_to, start_waiting, wait_until
from tests.support import SECRET

TERMINATE = b"X\x00\x00\x00\x04"


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
