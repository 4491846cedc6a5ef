"""Connections to PostgreSQL: one within POOL_TIMEOUT or none, and none that died while nobody used it."""

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeAlias, cast

import asyncpg

from service import connecting
from service.background import Background
from service.connecting import GET_SERVER_PID
from service.errors import Code, Problem
from service.settings import Settings

# A connection that is cut while a statement is on its way to it shows as InternalClientError.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# A server that was suspended, or a firewall on the way, forgets connections without a word. One that was idle for so
# long is asked first: the alternative is a write of which nobody knows whether it happened.
TRUSTED_WHEN_IDLE = 30.0
PATIENCE_WITH_IDLE = 0.5

SLOT_RETRY = 0.05
CALL_OFF_TIMEOUT = 1.0  # a slot of the pool is not to be had until then

_log = logging.getLogger("service.pool")


Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"


class _Connection(asyncpg.Connection):
    __slots__ = ("idle_since",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.idle_since = time.monotonic()


class Pool:
    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", patience: float, background: Background) -> None:
        self._pool = pool
        self._patience = patience
        self._background = background
        self._found_dead_at = 0.0
        self._next_try = 0.0

    @classmethod
    async def open(cls, settings: Settings, background: Background) -> "Pool":
        make = partial(
            asyncpg.create_pool,
            **connecting.arguments(settings),
            statement_cache_size=await connecting.cache_size(settings),
            max_size=settings.pool_max,
            max_queries=sys.maxsize,  # at its limit a connection is closed before the answer is given
            connection_class=_Connection,
            reset=_note_idleness,
        )
        try:
            pool = await make(min_size=settings.pool_min)
        except DRIVER_ERRORS as error:
            # Of one worker that starts again. It serves as soon as the database is back, and says so until then.
            _log.warning("starting without a database connection: %s", type(error).__name__)
            pool = await make(min_size=0)
        return cls(pool, settings.pool_timeout, background)

    async def close(self) -> None:
        """Waits for the statements under way. Cancelled, it cuts them off."""
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        connection = await self._acquire()
        try:
            yield connection
        except BaseException:
            self._background.run(self._give_back_broken_off(connection))
            raise
        await self._pool.release(connection)

    async def _acquire(self) -> Connection:
        """What waits for a slot of the server's waits like what waits for one of the pool's."""
        reason = "no database connection within POOL_TIMEOUT"
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    try:
                        connection = await self._pool.acquire()
                    except asyncpg.TooManyConnectionsError as error:
                        reason = f"{type(error).__name__} for POOL_TIMEOUT"
                        await self._wait_for_turn()
                        continue
                    if await self._is_there(connection):
                        return connection
        except TimeoutError:
            raise Problem(Code.OVERLOADED, reason=reason) from None

    async def _wait_for_turn(self) -> None:
        """However many wait, a server that is full is asked at a steady pace: it forks for every try."""
        now = time.monotonic()
        self._next_try = max(now, self._next_try) + SLOT_RETRY
        await asyncio.sleep(self._next_try - now)

    async def _is_there(self, connection: Connection) -> bool:
        idle_since = _as_ours(connection).idle_since
        if time.monotonic() - idle_since < TRUSTED_WHEN_IDLE:
            return True
        if idle_since < self._found_dead_at:  # one like it was dead, and to ask each would take all the time there is
            connection.terminate()
            return False
        try:
            await connection.execute(GET_SERVER_PID.text, timeout=PATIENCE_WITH_IDLE)
        except BaseException as error:
            with suppress(asyncpg.InterfaceError):  # its end has given it back already
                connection.terminate()
            if isinstance(error, DRIVER_ERRORS):
                self._found_dead_at = time.monotonic()
                return False
            raise
        return True

    async def _give_back_broken_off(self, connection: Connection) -> None:
        """Its server may still be at work: until it says that it has stopped nobody else gets it, and no answer waits
        for that. One that says nothing is dropped."""
        with suppress(*DRIVER_ERRORS):
            await self._pool.release(connection, timeout=CALL_OFF_TIMEOUT)


async def _note_idleness(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Instead of asyncpg's reset query, a second round trip per request: our statements leave no session state."""
    _as_ours(connection).idle_since = time.monotonic()


def _as_ours(connection: object) -> _Connection:
    """What the pool hands out is a proxy of one, or one."""
    return cast("_Connection", connection)
