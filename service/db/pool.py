"""Connections to PostgreSQL: one within POOL_TIMEOUT or none, and none that died while nobody used it.

Not asyncpg's own pool. A task, a proxy, a timer and a second look for each statement were a tenth of what a request
costs the interpreter, and what it does when a connection breaks off had to be taken out of its hands anyway.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import NamedTuple, TypeVar

import asyncpg

from service.background import Background
from service.db import connect
from service.db.connect import GET_SERVER_PID, Connector, DatabaseConnection
from service.db.lock_waits import UNDONE
from service.errors import Code, Problem
from service.fair_queue import NONE_IN_TIME, FairQueue
from service.settings.all_settings import Settings

# A connection that is cut while a statement is on its way to it shows as InternalClientError.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# A server that was suspended, or a firewall on the way, forgets connections without a word. One that was idle for so
# long is asked first: the alternative is a write of which nobody knows whether it happened.
TRUSTED_WHEN_IDLE = 30.0
PATIENCE_WITH_IDLE = 0.5

CLOSED_WHEN_IDLE = 300.0
SLOT_RETRY = 0.05
CALL_OFF_TIMEOUT = 1.0  # a slot of the pool is not to be had until then

_log = logging.getLogger("service.db.pool")

Result = TypeVar("Result")


class Idle(NamedTuple):
    connection: DatabaseConnection
    since: float

    def is_trusted(self) -> bool:
        return time.monotonic() - self.since < TRUSTED_WHEN_IDLE and not self.connection.is_closed()


class Pool:
    def __init__(
        self, connect: Callable[[], Awaitable[DatabaseConnection]], most: int, patience: float, background: Background
    ) -> None:
        self._connect = connect
        self._patience = patience
        self._background = background
        # A slot is the right to use a connection, or to open one.
        self._queue: FairQueue[DatabaseConnection] = FairQueue(most, max(1, most // 4), patience, self._slot_is_free)
        self._open: set[DatabaseConnection] = set()
        self._idle: list[Idle] = []  # the one last used is at the end, and the next to be used
        self._all_back: asyncio.Future[None] | None = None
        self._found_dead_at = 0.0
        self._next_try = 0.0

    @classmethod
    async def open(cls, settings: Settings, background: Background) -> "Pool":
        connector = Connector(settings, await connect.cache_size(settings))
        pool = cls(connector, settings.pool_max, settings.pool_timeout, background)
        try:
            for _ in range(settings.pool_min):
                pool._make_idle(await pool._new())
        except DRIVER_ERRORS as error:
            # Of one worker that starts again. It serves as soon as the database is back, and says so until then.
            _log.warning("starting without a database connection: %s", type(error).__name__)
        background.run(pool._close_unused(settings.pool_min))
        return pool

    async def close(self) -> None:
        """Waits for the statements under way. Cancelled, it cuts them off."""
        try:
            while self._queue.free < self._queue.slots:
                self._all_back = asyncio.get_running_loop().create_future()
                await self._all_back
            await asyncio.gather(*(connection.close() for connection in self._open))
        finally:
            for connection in self._open:
                connection.terminate()

    async def run(self, send: Callable[[DatabaseConnection], Awaitable[Result]], owner: Hashable = None) -> Result:
        """An owner has at most a quarter of the connections in use. Without an owner it counts against nothing."""
        if owner is None:
            owner = object()
        connection = await self._take(owner)
        try:
            result = await send(connection)
        except (asyncpg.IntegrityConstraintViolationError, *UNDONE):
            self._queue.pass_on(owner, connection)
            raise
        except BaseException:
            self._background.run(self._give_back_broken_off(connection, owner))
            raise
        self._queue.pass_on(owner, connection)
        return result

    async def _take(self, owner: Hashable) -> DatabaseConnection:
        deadline = time.monotonic() + self._patience
        if not self._queue.try_take(owner) and (given := await self._queue.wait(owner)) is not None:
            if not given.is_closed():
                return given
            self._drop(given)
        if self._idle and self._idle[-1].is_trusted():
            return self._idle.pop().connection
        try:
            return await self._find_or_open(deadline)
        except BaseException:
            self._queue.pass_on(owner, None)
            raise

    async def _find_or_open(self, deadline: float) -> DatabaseConnection:
        """What waits for a slot of the server's waits like what waits for one of the pool's."""
        reason = NONE_IN_TIME
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                while True:
                    try:
                        return await self._find() or await self._new()
                    except asyncpg.TooManyConnectionsError as error:
                        reason = f"{type(error).__name__} for POOL_TIMEOUT"
                        await self._wait_for_turn()
        except TimeoutError:
            raise Problem(Code.OVERLOADED, reason=reason) from None

    def _slot_is_free(self, connection: "DatabaseConnection | None") -> None:
        if connection is not None:
            self._make_idle(connection)
        all_back = self._all_back
        if all_back is not None and self._queue.free == self._queue.slots and not all_back.done():
            all_back.set_result(None)

    async def _find(self) -> "DatabaseConnection | None":
        while self._idle:
            idle = self._idle.pop()
            if idle.is_trusted() or await self._is_there(idle):
                return idle.connection
        return None

    async def _new(self) -> DatabaseConnection:
        connection = await self._connect()
        self._open.add(connection)
        return connection

    async def _wait_for_turn(self) -> None:
        """However many wait, a server that is full is asked at a steady pace: it forks for every try."""
        now = time.monotonic()
        self._next_try = max(now, self._next_try) + SLOT_RETRY
        await asyncio.sleep(self._next_try - now)

    async def _is_there(self, idle: Idle) -> bool:
        there = False
        try:
            # Where one like it was dead, to ask each would take all the time there is.
            if idle.since > self._found_dead_at and not idle.connection.is_closed():
                await idle.connection.execute(GET_SERVER_PID.text, timeout=PATIENCE_WITH_IDLE)
                there = True
        except DRIVER_ERRORS:
            self._found_dead_at = time.monotonic()
        finally:
            if not there:
                self._drop(idle.connection)
        return there

    async def _give_back_broken_off(self, connection: DatabaseConnection, owner: Hashable) -> None:
        """Its server may still be at work: until it says that it has stopped nobody else gets it, and no answer waits
        for that. One that says nothing is dropped."""
        usable: DatabaseConnection | None = None
        try:
            async with asyncio.timeout(CALL_OFF_TIMEOUT):
                await connection.execute(GET_SERVER_PID.text)
            usable = connection
        except DRIVER_ERRORS:  # TimeoutError is an OSError
            pass
        finally:
            if usable is None:
                self._drop(connection)
            self._queue.pass_on(owner, usable)

    def _make_idle(self, connection: DatabaseConnection) -> None:
        self._idle.append(Idle(connection, time.monotonic()))

    def _drop(self, connection: DatabaseConnection) -> None:
        connection.terminate()
        self._open.discard(connection)

    async def _close_unused(self, least: int) -> None:
        """Closes connections that have been idle for long, the least recently used first. Each holds a slot until it is
        closed, or a request could open one more than POOL_MAX meanwhile."""
        closing = object()  # an owner of its own
        while True:
            await asyncio.sleep(CLOSED_WHEN_IDLE / 10)
            while (
                len(self._idle) > least
                and time.monotonic() - self._idle[0].since > CLOSED_WHEN_IDLE
                and self._queue.try_take(closing)
            ):
                connection = self._idle.pop(0).connection
                try:
                    with suppress(*DRIVER_ERRORS):
                        await connection.close(timeout=CALL_OFF_TIMEOUT)
                finally:
                    self._drop(connection)
                    self._queue.pass_on(closing, None)
