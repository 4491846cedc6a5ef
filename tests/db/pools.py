"""Pools of connections for tests, and tasks that hold a connection or wait for one."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from service.background import Background
from service.db.connect import DatabaseConnection
from service.db.pool import Pool
from tests.db.event_loop import LONG_TIMEOUT_SECONDS


@asynccontextmanager
async def pool_to(
    url: str,
    size: int,
    timeout_seconds: float = LONG_TIMEOUT_SECONDS,
    connect: Callable[[], Awaitable[DatabaseConnection]] | None = None,
) -> AsyncIterator[Pool]:
    background = Background()

    async def connect_to_it() -> DatabaseConnection:
        opened: DatabaseConnection = await asyncpg.connect(url, command_timeout=LONG_TIMEOUT_SECONDS)
        return opened

    pool = Pool(connect or connect_to_it, size, timeout_seconds, background)
    yield pool
    await pool.close()
    await background.close()


@asynccontextmanager
async def pool_with_short_timeout(url: str) -> AsyncIterator[Pool]:
    """One connection, which is open from the start, and a short timeout."""
    opened: list[DatabaseConnection] = [await asyncpg.connect(url)]

    async def connect() -> DatabaseConnection:
        return opened.pop()

    async with pool_to(url, 1, timeout_seconds=0.2, connect=connect) as pool:
        yield pool


def sends(text: str) -> Callable[[DatabaseConnection], Awaitable[str]]:
    return lambda connection: connection.execute(text)


async def pid(connection: DatabaseConnection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))


class Hold:
    """Uses a connection until `release` is set."""

    def __init__(self) -> None:
        self.is_acquired = asyncio.Event()
        self.release = asyncio.Event()

    async def __call__(self, connection: DatabaseConnection) -> int:
        found = await pid(connection)
        self.is_acquired.set()
        await self.release.wait()
        return found


async def hold_connection(pool: Pool) -> tuple[Hold, "asyncio.Task[int]"]:
    hold = Hold()
    task = asyncio.create_task(pool.run(hold))
    await hold.is_acquired.wait()
    return hold, task


async def start_waiting(work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
    task = asyncio.create_task(work)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def wait_until(happened: Callable[[], bool]) -> None:
    """Polls, where the driver has no event."""
    async with asyncio.timeout(LONG_TIMEOUT_SECONDS / 2):
        while not happened():  # noqa: ASYNC110 - the driver has no event for it
            await asyncio.sleep(0.01)


async def check_slots(pool: Pool, number: int) -> None:
    """Exactly this number of connections can be used at the same time."""
    held = [await hold_connection(pool) for _ in range(number)]
    one_more = await start_waiting(pool.run(pid))
    await asyncio.sleep(0.1)  # with a slot too many, a connection would be opened
    assert not one_more.done()
    for hold, _ in held:
        hold.release.set()
    pids = {await task for _, task in held}
    assert len(pids) == number
    assert await one_more in pids
