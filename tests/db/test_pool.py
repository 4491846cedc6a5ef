"""The pool alone: who gets a connection and when, and that no slot is ever lost or counted twice."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
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
from tests.db.database_proxy import Connection as LineConnection
from tests.db.database_proxy import Line
from tests.db.event_loop import GENEROUS, tell
from tests.support import SECRET

SLEEP = "SELECT pg_sleep(120)"
TERMINATE = b"X\x00\x00\x00\x04"


@asynccontextmanager
async def pool_to(
    url: str, most: int, patience: float = GENEROUS, connect: Callable[[], Awaitable[DatabaseConnection]] | None = None
) -> AsyncIterator[Pool]:
    background = Background()

    async def connect_to_it() -> DatabaseConnection:
        opened: DatabaseConnection = await asyncpg.connect(url, command_timeout=GENEROUS)
        return opened

    pool = Pool(connect or connect_to_it, most, patience, background)
    yield pool
    await pool.close()
    await background.close()


@asynccontextmanager
async def impatient_pool(url: str) -> AsyncIterator[Pool]:
    """Its one connection is there before anybody waits for it."""
    opened: list[DatabaseConnection] = [await asyncpg.connect(url)]

    async def connect() -> DatabaseConnection:
        return opened.pop()

    async with pool_to(url, 1, patience=0.2, connect=connect) as pool:
        yield pool


def sends(text: str) -> Callable[[DatabaseConnection], Awaitable[str]]:
    return lambda connection: connection.execute(text)


async def pid(connection: DatabaseConnection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


class Hold:
    """Uses a connection until it is told to let go."""

    def __init__(self) -> None:
        self.has_it = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, connection: DatabaseConnection) -> int:
        found = await pid(connection)
        self.has_it.set()
        await self.let_go.wait()
        return found


async def holding(pool: Pool) -> tuple[Hold, "asyncio.Task[int]"]:
    hold = Hold()
    task = asyncio.create_task(pool.run(hold))
    await hold.has_it.wait()
    return hold, task


async def in_line(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def until(happened: Callable[[], bool]) -> None:
    """For what the driver has no event for."""
    async with asyncio.timeout(GENEROUS / 2):
        while not happened():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


async def has_slots(pool: Pool, number: int) -> None:
    """So many at once, and not one more."""
    held = [await holding(pool) for _ in range(number)]
    one_more = await in_line(pool.run(pid))
    await asyncio.sleep(0.1)  # a slot too many would open a connection
    assert not one_more.done()
    for hold, _ in held:
        hold.let_go.set()
    pids = {await task for _, task in held}
    assert len(pids) == number
    assert await one_more in pids


def test_who_waits_is_served_in_the_order_of_coming(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            served: list[str] = []

            async def use(name: str) -> None:
                async def send(connection: DatabaseConnection) -> None:
                    await pid(connection)
                    served.append(name)

                await pool.run(send)

            hold, _ = await holding(pool)
            line = [await in_line(use(name)) for name in ("1", "2", "3")]
            hold.let_go.set()
            await asyncio.gather(*line)
            assert served == ["1", "2", "3"]

    tell(story())


def test_who_comes_in_the_moment_in_which_a_slot_is_passed_on_stands_behind(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            served: list[str] = []
            let_go = asyncio.Event()

            async def send(connection: DatabaseConnection, name: str) -> None:
                await let_go.wait()
                await pid(connection)
                served.append(name)

            async def comes_twice() -> None:
                await pool.run(lambda connection: send(connection, "first"))
                await pool.run(lambda connection: send(connection, "again"))

            twice = await in_line(comes_twice())
            line = await in_line(pool.run(lambda connection: send(connection, "in line")))
            let_go.set()
            await asyncio.gather(twice, line)
            assert served == ["first", "in line", "again"]

    tell(story())


def test_who_has_waited_for_pool_timeout_is_refused_and_who_came_later_is_not(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1, patience=2.5) as pool:
            hold, task = await holding(pool)
            early = await in_line(pool.run(pid))
            gone = await in_line(pool.run(pid))
            await asyncio.sleep(2)
            late = await in_line(pool.run(pid))
            gone.cancel()
            with pytest.raises(Problem) as refused:
                await early
            hold.let_go.set()
            assert refused.value.code is Code.OVERLOADED
            assert await late == await task
            await has_slots(pool, 1)

    tell(story())


def test_each_who_waits_for_too_long_is_refused(urls: Urls) -> None:
    async def story() -> None:
        async with impatient_pool(urls.runtime) as pool:
            hold, task = await holding(pool)
            for _ in range(3):
                with pytest.raises(Problem):
                    await pool.run(pid)
            hold.let_go.set()
            assert await task == await pool.run(pid)

    tell(story())


@pytest.mark.parametrize("most", [1, 3])
def test_who_goes_in_the_moment_in_which_it_is_given_a_connection_gives_it_on(urls: Urls, most: int) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, most) as pool:
            held = [await holding(pool) for _ in range(most - 1)]
            let_go = asyncio.Event()

            async def gives_and_calls_off() -> None:
                await pool.run(lambda _: let_go.wait())
                goes.cancel()  # its connection is there, and it has not run since

            await pool.run(pid)  # so that there is one to take at once
            giver = await in_line(gives_and_calls_off())
            goes = await in_line(pool.run(pid))
            stays = await in_line(pool.run(pid))
            let_go.set()
            await giver
            assert await stays
            with pytest.raises(asyncio.CancelledError):
                await goes
            for hold, task in held:
                hold.let_go.set()
                await task
            await has_slots(pool, most)

    tell(story())


def test_who_goes_in_the_moment_in_which_it_is_refused_leaves_no_trace(urls: Urls) -> None:
    async def story() -> None:
        async with impatient_pool(urls.runtime) as pool:
            hold, task = await holding(pool)

            async def is_refused_and_calls_off() -> None:
                with pytest.raises(Problem):
                    await pool.run(pid)
                goes.cancel()  # it is refused too, and has not run since

            refused = await in_line(is_refused_and_calls_off())
            goes = await in_line(pool.run(pid))
            await refused
            with pytest.raises(asyncio.CancelledError):
                await goes
            hold.let_go.set()
            assert await task == await pool.run(pid)

    tell(story())


def test_a_statement_that_is_broken_off_gives_its_connection_back_where_it_answers(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            before = await pool.run(pid)
            sleeper = await in_line(pool.run(lambda connection: connection.execute(SLEEP)))
            await asyncio.sleep(0.2)
            sleeper.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sleeper
            assert await pool.run(pid) == before
            await has_slots(pool, 1)

    tell(story())


def test_a_statement_that_fails_gives_its_connection_back(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            before = await pool.run(pid)
            for wrong in ("SELECT 1 / 0", "no SQL"):
                with pytest.raises(asyncpg.PostgresError):
                    await pool.run(sends(wrong))
            assert await pool.run(pid) == before
            await has_slots(pool, 1)

    tell(story())


def test_a_connection_that_says_nothing_is_dropped_and_replaced(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CANCEL_TIMEOUT_SECONDS", 0.2)

    async def story() -> None:
        async with pool_to(line.url, 1) as pool:
            before = await pool.run(pid)
            sleeper = await in_line(pool.run(lambda connection: connection.execute(SLEEP)))
            await asyncio.sleep(0.2)
            line.forget_all()
            sleeper.cancel()
            assert await pool.run(pid) != before
            await has_slots(pool, 1)

    line = Line(urls.runtime)
    try:
        tell(story())
    finally:
        line.close()


def test_a_connection_that_is_closed_is_not_passed_on(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            let_go = asyncio.Event()

            async def ends(connection: DatabaseConnection) -> None:
                await let_go.wait()
                connection.terminate()

            before = await pool.run(pid)
            ending = await in_line(pool.run(ends))
            waiting = await in_line(pool.run(pid))
            let_go.set()
            await ending
            assert await waiting != before
            await has_slots(pool, 1)

    tell(story())


def test_what_cannot_be_opened_leaves_no_slot_behind(urls: Urls) -> None:
    async def story() -> None:
        is_away, let_fail = True, asyncio.Event()

        async def connect() -> DatabaseConnection:
            if is_away:
                await let_fail.wait()
                raise ConnectionRefusedError
            opened: DatabaseConnection = await asyncpg.connect(urls.runtime)
            return opened

        async with pool_to(urls.runtime, 2, connect=connect) as pool:
            tries = [await in_line(pool.run(pid)) for _ in range(5)]
            let_fail.set()
            failed = await asyncio.gather(*tries, return_exceptions=True)
            assert [type(error) for error in failed] == [ConnectionRefusedError] * 5
            let_fail.clear()
            goes = await in_line(pool.run(pid))
            goes.cancel()
            await asyncio.wait([goes])
            is_away = False
            await has_slots(pool, 2)

    tell(story())


def test_a_server_without_a_free_slot_is_asked_at_a_steady_pace_however_many_wait(urls: Urls) -> None:
    async def story() -> None:
        tries: list[None] = []

        async def connect() -> DatabaseConnection:
            tries.append(None)
            await asyncio.sleep(0)
            raise asyncpg.TooManyConnectionsError

        async with pool_to(urls.runtime, 5, patience=1, connect=connect) as pool:
            refused = await asyncio.gather(*(pool.run(pid) for _ in range(5)), return_exceptions=True)
            assert [error.code for error in refused if isinstance(error, Problem)] == [Code.OVERLOADED] * 5
            assert len(tries) < 100  # each 50 ms, for a second

    tell(story())


def test_closing_waits_for_what_is_under_way_though_it_ends_all_at_once(urls: Urls) -> None:
    async def story() -> None:
        used: list[DatabaseConnection] = []
        let_go = asyncio.Event()

        async def use(connection: DatabaseConnection) -> int:
            used.append(connection)
            await let_go.wait()
            return await pid(connection)

        async with pool_to(urls.runtime, 3) as pool:
            await has_slots(pool, 3)
            tasks = [await in_line(pool.run(use)) for _ in range(2)]
            closing = await in_line(pool.close())
            assert not any(connection.is_closed() for connection in used)
            let_go.set()
            await closing
            assert len({await task for task in tasks}) == 2
            assert all(connection.is_closed() for connection in used)

    tell(story())


def test_closing_that_is_cancelled_cuts_off(urls: Urls) -> None:
    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            await pool.run(pid)
            sleeper = await in_line(pool.run(lambda connection: connection.execute(SLEEP)))
            closing = await in_line(pool.close())
            closing.cancel()
            with pytest.raises((asyncpg.InterfaceError, asyncpg.PostgresConnectionError, ConnectionError)):
                await asyncio.wait_for(sleeper, GENEROUS)
            assert closing.cancelled()

    tell(story())


def test_an_idle_connection_that_answers_is_used_again(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "TRUST_IDLE_SECONDS", 0.0)

    async def story() -> None:
        async with pool_to(urls.runtime, 1) as pool:
            before = await pool.run(pid)
            assert [await pool.run(pid) for _ in range(3)] == [before] * 3

    tell(story())


def test_an_idle_connection_that_is_found_dead_is_cut_off_and_forgotten(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "TRUST_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(pools, "IDLE_CHECK_TIMEOUT_SECONDS", 0.2)

    async def story() -> None:
        opened: list[DatabaseConnection] = []

        async def connect() -> DatabaseConnection:
            opened.append(await asyncpg.connect(line.url))
            return opened[-1]

        async with pool_to(line.url, 1, connect=connect) as pool:
            before = await pool.run(pid)
            line.forget_all()
            assert await pool.run(pid) != before
            assert [connection.is_closed() for connection in opened] == [True, False]
            dead = weakref.ref(opened.pop(0))
            await until(lambda: gc.collect() >= 0 and dead() is None)
            await has_slots(pool, 1)

    line = Line(urls.runtime)
    try:
        tell(story())
    finally:
        line.close()


def test_idle_connections_are_dropped_unasked_where_one_used_after_them_was_found_dead(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "IDLE_CHECK_TIMEOUT_SECONDS", 0.2)

    async def story() -> None:
        asked: list[None] = []

        class Asked(asyncpg.Connection):
            async def execute(self, *arguments: Any, **named: Any) -> Any:
                asked.append(None)
                return await super().execute(*arguments, **named)

        async def connect() -> DatabaseConnection:
            opened: DatabaseConnection = await asyncpg.connect(line.url, connection_class=Asked)
            return opened

        async with pool_to(line.url, 3, connect=connect) as pool:
            all_have_one = asyncio.Barrier(3)
            before = await asyncio.gather(*(pool.run(lambda used: used_with(all_have_one, used)) for _ in range(3)))
            monkeypatch.setattr(pools, "TRUST_IDLE_SECONDS", 0.0)
            line.forget_all()
            assert await pool.run(pid) not in before
            assert len(asked) == 1

    async def used_with(others: asyncio.Barrier, connection: DatabaseConnection) -> int:
        await others.wait()
        return await pid(connection)

    line = Line(urls.runtime)
    try:
        tell(story())
    finally:
        line.close()


@pytest.mark.parametrize("least", [0, 1])
def test_the_connections_of_a_rush_are_closed_when_nobody_uses_them_but_for_pool_min(
    urls: Urls, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(pools, "CLOSE_IDLE_SECONDS", 0.1)

    async def story() -> None:
        background = Background()
        settings = load_settings(database_url=urls.runtime, better_auth_secret=SECRET, pool_min=least, pool_max=3)
        pool = await Pool.open(settings, background)
        rush: list[DatabaseConnection] = []
        all_have_one = asyncio.Barrier(3)

        async def use(connection: DatabaseConnection) -> None:
            rush.append(connection)
            await all_have_one.wait()

        for _ in range(2):  # what closes them goes on after the first rush
            rush.clear()
            await asyncio.gather(*(pool.run(use) for _ in range(3)))
            await until(lambda: sum(connection.is_closed() for connection in rush) == 3 - least)
            await asyncio.sleep(0.3)
            assert (len(set(rush)), sum(connection.is_closed() for connection in rush)) == (3, 3 - least)
        await has_slots(pool, 3)
        await background.close()
        await pool.close()

    tell(story())


class SlowToHangUp(Line):
    """The server gets a connection's last message, Terminate, when the test allows it."""

    def __init__(self, server_url: str) -> None:
        super().__init__(server_url)
        self.is_asked = threading.Event()
        self.is_allowed = threading.Event()

    def sends(self, connection: LineConnection, data: bytes) -> None:  # noqa: ARG002 - the name is Line's
        if data.startswith(TERMINATE):
            self.is_asked.set()
            self.is_allowed.wait(GENEROUS)


def test_while_an_idle_connection_is_closed_it_counts_for_pool_max(urls: Urls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "CLOSED_WHEN_IDLE", 0.1)
    monkeypatch.setattr(pools, "CALL_OFF_TIMEOUT", GENEROUS)

    async def story() -> None:
        background = Background()
        limits = {"pool_min": 0, "pool_max": 1, "prepared_statements": "on"}
        settings = load_settings(database_url=line.url, better_auth_secret=SECRET, **limits)
        pool = await Pool.open(settings, background)
        before = await pool.run(pid)
        await until(line.is_asked.is_set)
        waiting = await in_line(pool.run(pid))
        await asyncio.sleep(0.1)  # a slot too many would open a connection
        assert (waiting.done(), len(line.connections)) == (False, 1)
        line.is_allowed.set()
        assert await waiting != before
        await background.close()
        await pool.close()

    line = SlowToHangUp(urls.runtime)
    try:
        tell(story())
    finally:
        line.is_allowed.set()
        line.close()


def test_a_connection_that_was_used_last_outlives_the_others_of_a_rush(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "CLOSE_IDLE_SECONDS", 0.1)

    async def story() -> None:
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
        await until(lambda: any(connection.is_closed() for connection in used))
        assert {connection for connection in used if not connection.is_closed()} == {used[2]}
        await background.close()
        await pool.close()

    tell(story())
