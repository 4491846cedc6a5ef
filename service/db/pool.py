"""The connection pool. A request gets a working connection within POOL_TIMEOUT, or OVERLOADED.

It replaces asyncpg's pool, which needs a task, a proxy object, a timer and a second check for each statement: a tenth
of the processor time of a request. Its handling of interrupted statements would have to be replaced in any case.
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
from service.db.lock_waits import RETRYABLE_ERRORS
from service.db.statement_metrics import measuring
from service.db.statement_traces import tracing
from service.errors import Code, Problem
from service.fair_queue import NO_CONNECTION_REASON, FairQueue
from service.metrics.definitions import POOL_WAIT
from service.metrics.meters import Histogram, Meters
from service.settings.all_settings import Settings
from service.traces.tracer import Tracer

# asyncpg raises InternalClientError if a connection is lost while a statement is being sent.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

# The server has ended the connection, which may not be closed yet.
CONNECTION_ENDED_ERRORS = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError)

# A connection that was idle for longer than this is checked before its next use: a suspended server or a firewall drops
# idle connections silently, and a write on such a connection would end without a known result.
TRUST_IDLE_SECONDS = 30.0
IDLE_CHECK_TIMEOUT_SECONDS = 0.5

CLOSE_IDLE_SECONDS = 300.0  # idle connections beyond POOL_MIN are closed after this time
FULL_SERVER_PAUSE_SECONDS = 0.05
# The names of spans: until another statement gives its connection back, and until a new one is open.
WAIT_SPAN, CONNECT_SPAN = "pool wait", "pool connect"
CANCEL_TIMEOUT_SECONDS = 1.0  # for the server to stop an interrupted statement; its slot stays taken meanwhile

_log = logging.getLogger("service.db.pool")

Result = TypeVar("Result")


class IdleConnection(NamedTuple):
    connection: DatabaseConnection
    since: float

    def is_trusted(self) -> bool:
        return time.monotonic() - self.since < TRUST_IDLE_SECONDS and not self.connection.is_closed()


class Pool:
    """The connections of one process. FairQueue decides which owner gets the next one."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[DatabaseConnection]],
        max_connections: int,
        timeout_seconds: float,
        background: Background,
        wait_seconds: Histogram | None = None,  # None: waits are not measured
    ) -> None:
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._background = background
        # A slot is the right to use a connection, or to open one.
        self._queue: FairQueue[DatabaseConnection] = FairQueue(
            max_connections, max(1, max_connections // 4), timeout_seconds, self._on_free_slot
        )
        self._wait_seconds = wait_seconds
        self._wait: Callable[[Hashable], Awaitable[DatabaseConnection | None]]
        self._wait = self._queue.wait if wait_seconds is None else self._measured_wait
        self._open: set[DatabaseConnection] = set()
        self._idle: list[IdleConnection] = []  # the last used is at the end, and is used next
        self._all_back: asyncio.Future[None] | None = None
        self._last_found_dead_at = 0.0
        self._next_retry_at = 0.0
        self.connect_failures = 0  # since the start

    @classmethod
    async def open(
        cls, settings: Settings, background: Background, meters: Meters | None = None, tracer: Tracer | None = None
    ) -> "Pool":
        cache_size = await connect.cache_size(settings)
        connection_class = measuring(meters) if meters else asyncpg.Connection
        wait_seconds = meters.histogram(POOL_WAIT) if meters else None
        connector = Connector(settings, cache_size, tracing(tracer, connection_class) if tracer else connection_class)
        pool = cls(connector, settings.pool_max, settings.pool_timeout, background, wait_seconds)
        if tracer:
            pool._wait = tracer.timed(WAIT_SPAN, "internal", pool._wait)
            pool._connect = tracer.timed(CONNECT_SPAN, "client", pool._connect)
        try:
            for _ in range(settings.pool_min):
                pool._make_idle(await pool._new())
        except DRIVER_ERRORS as error:
            # Seen when one worker restarts. It serves as soon as the database is back, and is unhealthy until then.
            _log.warning("starting without a database connection: %s", type(error).__name__)
        background.run(pool._close_unused(settings.pool_min))
        return pool

    @property
    def size(self) -> int:
        """Open connections."""
        return len(self._open)

    @property
    def in_use(self) -> int:
        """Connections that run a statement, are being opened, or are not returned yet."""
        return self._queue.slots - self._queue.free

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    @property
    def max_connections(self) -> int:
        return self._queue.slots

    async def close(self) -> None:
        """Waits for running statements. If this is cancelled, their connections are closed at once."""
        try:
            while self._queue.free < self._queue.slots:
                self._all_back = asyncio.get_running_loop().create_future()
                await self._all_back
            await asyncio.gather(*(connection.close() for connection in self._open))
        finally:
            for connection in self._open:
                connection.terminate()

    async def run(self, send: Callable[[DatabaseConnection], Awaitable[Result]], owner: Hashable = None) -> Result:
        """Sends one statement. An owner uses at most a quarter of the connections. No owner means no limit."""
        if owner is None:
            owner = object()
        connection = await self._take(owner)
        try:
            result = await send(connection)
        except (asyncpg.IntegrityConstraintViolationError, *RETRYABLE_ERRORS, Problem):
            self._queue.release(owner, connection)
            raise
        except BaseException as error:
            if connection.is_closed() or isinstance(error, CONNECTION_ENDED_ERRORS):
                self._last_found_dead_at = time.monotonic()
            self._background.run(self._return_interrupted(connection, owner))
            raise
        self._queue.release(owner, connection)
        return result

    async def _take(self, owner: Hashable) -> DatabaseConnection:
        deadline = time.monotonic() + self._timeout_seconds
        if not self._queue.try_take(owner) and (given := await self._wait(owner)) is not None:
            if not given.is_closed():
                return given
            self._drop(given)
        if self._idle and self._is_trusted(self._idle[-1]):
            return self._idle.pop().connection
        try:
            return await self._find_or_open(deadline)
        except BaseException:
            self._queue.release(owner, None)
            raise

    async def _measured_wait(self, owner: Hashable) -> "DatabaseConnection | None":
        began = time.monotonic()
        try:
            return await self._queue.wait(owner)
        finally:
            if self._wait_seconds is not None:
                self._wait_seconds.observe(time.monotonic() - began)

    async def _find_or_open(self, deadline: float) -> DatabaseConnection:
        """Finds an idle connection or opens one. If the server has none free, this is retried until the deadline."""
        reason = NO_CONNECTION_REASON
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                while True:
                    try:
                        return await self._find() or await self._new()
                    except asyncpg.TooManyConnectionsError as error:
                        reason = f"{type(error).__name__} for POOL_TIMEOUT"
                        await self._pause_before_retry()
        except TimeoutError:
            raise Problem(Code.OVERLOADED, reason=reason) from None

    def _on_free_slot(self, connection: "DatabaseConnection | None") -> None:
        if connection is not None:
            self._make_idle(connection)
        all_back = self._all_back
        if all_back is not None and self._queue.free == self._queue.slots and not all_back.done():
            all_back.set_result(None)

    async def _find(self) -> "DatabaseConnection | None":
        while self._idle:
            idle = self._idle.pop()
            if self._is_trusted(idle) or await self._is_alive(idle):
                return idle.connection
        return None

    def _is_trusted(self, idle: IdleConnection) -> bool:
        """Whether the connection may be used without a check. A failover ends all connections at once, so one that was
        idle when another was found dead is not trusted."""
        return idle.since > self._last_found_dead_at and idle.is_trusted()

    async def _new(self) -> DatabaseConnection:
        try:
            connection = await self._connect()
        except BaseException:  # CancelledError too: POOL_TIMEOUT is over
            self.connect_failures += 1
            raise
        self._open.add(connection)
        return connection

    async def _pause_before_retry(self) -> None:
        """Spaces all retries of this process evenly: a full server forks a process for every connection attempt."""
        now = time.monotonic()
        self._next_retry_at = max(now, self._next_retry_at) + FULL_SERVER_PAUSE_SECONDS
        await asyncio.sleep(self._next_retry_at - now)

    async def _is_alive(self, idle: IdleConnection) -> bool:
        is_alive = False
        try:
            # Connections idle since before another was found dead are dropped: checking each could take too long.
            if idle.since > self._last_found_dead_at and not idle.connection.is_closed():
                await idle.connection.execute(GET_SERVER_PID.text, timeout=IDLE_CHECK_TIMEOUT_SECONDS)
                is_alive = True
        except DRIVER_ERRORS:
            self._last_found_dead_at = time.monotonic()
        finally:
            if not is_alive:
                self._drop(idle.connection)
        return is_alive

    async def _return_interrupted(self, connection: DatabaseConnection, owner: Hashable) -> None:
        """Returns a connection whose statement was interrupted, by a timeout, a cancelled request or an error.

        Its server process may still run the statement. The connection is usable once a transaction succeeds on it, and
        is dropped if none does within CANCEL_TIMEOUT_SECONDS: after a BEGIN that was cancelled, asyncpg begins no more
        transactions on it, but savepoints. This runs in the background: no response waits for it."""
        usable: DatabaseConnection | None = None
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_SECONDS), connection.transaction():
                await connection.execute(GET_SERVER_PID.text)
            if not connection.is_in_transaction():  # a BEGIN may have been cancelled on its way, and happened
                usable = connection
        except DRIVER_ERRORS:  # TimeoutError is an OSError
            pass
        finally:
            if usable is None:
                self._drop(connection)
            self._queue.release(owner, usable)

    def _make_idle(self, connection: DatabaseConnection) -> None:
        self._idle.append(IdleConnection(connection, time.monotonic()))

    def _drop(self, connection: DatabaseConnection) -> None:
        connection.terminate()
        self._open.discard(connection)

    async def _close_unused(self, min_connections: int) -> None:
        """Closes connections that a peak in load has left idle, the least recently used first. Each holds a slot until
        it is closed, or a request could open one more than POOL_MAX meanwhile."""
        closing = object()  # an owner of its own
        while True:
            await asyncio.sleep(CLOSE_IDLE_SECONDS / 10)
            while (
                len(self._idle) > min_connections
                and time.monotonic() - self._idle[0].since > CLOSE_IDLE_SECONDS
                and self._queue.try_take(closing)
            ):
                connection = self._idle.pop(0).connection
                try:
                    with suppress(*DRIVER_ERRORS):
                        await connection.close(timeout=CANCEL_TIMEOUT_SECONDS)
                finally:
                    self._drop(connection)
                    self._queue.release(closing, None)
