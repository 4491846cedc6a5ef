"""The ways to run a statement, and the one function from SQLSTATE to error."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

import asyncpg

from service.background import Background
from service.db.batching import Batches
from service.db.connect import DatabaseConnection
from service.db.lock_waits import UNDONE, LockWaits
from service.db.pool import DRIVER_ERRORS, Pool
from service.db.statements import Statement
from service.errors import Code, Problem
from service.settings.all_settings import Settings

Row: TypeAlias = asyncpg.Record

# A constraint that refuses a row has decided a race or found a user gone. Any other refusal is a mistake of ours.
REFUSALS = {
    ("23505", "users_email_key"): Code.EMAIL_EXISTS,
    ("23503", "tasks_user_id_fkey"): Code.INVALID_TOKEN,
    ("23503", "task_counters_user_id_fkey"): Code.INVALID_TOKEN,
}

# The connection went away, and with it any word of what became of the statement. A TimeoutError is not among them:
# who waited for so long shall not wait again.
CUT_OFF = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    ConnectionError,
)

# Classes of SQLSTATE that say something of the server and nothing of the statement: no room on its disk, no memory.
SERVER_TROUBLE = ("53", "58")
TROUBLE_LASTS = 60.0  # unless the statement that met it succeeds before

_log = logging.getLogger("service.db.database")

Result = TypeVar("Result")


class Trouble(NamedTuple):
    statement: str
    until: float
    reason: str


class Database:
    """One statement is one round trip at the most, unless it meets a lock: no transaction around it, no reset after."""

    def __init__(self, pool: Pool, lock_waits: LockWaits, background: Background) -> None:
        self._pool = pool
        self._lock_waits = lock_waits
        self._batches = Batches(self._run, lock_waits, background)
        self._trouble: Trouble | None = None

    @classmethod
    async def connect(cls, settings: Settings, background: Background) -> "Database":
        lock_waits = LockWaits(max(1, settings.pool_max // 4), settings.statement_timeout)
        return cls(await Pool.open(settings, background), lock_waits, background)

    async def close(self) -> None:
        await self._pool.close()

    @property
    def trouble(self) -> str | None:
        """What the server could not do a moment ago, whosever statement it was."""
        if self._trouble is None or time.monotonic() > self._trouble.until:
            return None
        return self._trouble.reason

    async def one(self, statement: Statement, **values: object) -> Row | None:
        arguments = statement.arguments(values)
        if statement.key is not None:
            rows = await self._batches.rows(statement, statement.key, arguments)
            return rows[0] if rows else None
        return await self._run(statement, arguments, lambda connection: connection.fetchrow(statement.text, *arguments))

    async def must(self, statement: Statement, **values: object) -> Row:
        """For an INSERT, which returns its row or is refused."""
        row = await self.one(statement, **values)
        if row is None:
            raise RuntimeError(f"{statement.name} returned no row")
        return row

    async def many(self, statement: Statement, **values: object) -> list[Row]:
        arguments = statement.arguments(values)
        if statement.key is not None:
            return await self._batches.rows(statement, statement.key, arguments)
        return await self._run(statement, arguments, lambda connection: connection.fetch(statement.text, *arguments))

    async def execute(self, statement: Statement, **values: object) -> None:
        arguments = statement.arguments(values)
        await self._run(statement, arguments, lambda connection: connection.execute(statement.text, *arguments))

    async def _run(
        self,
        statement: Statement,
        arguments: Sequence[object],
        send: Callable[[DatabaseConnection], Awaitable[Result]],
        owner: Hashable = None,
    ) -> Result:
        """`owner` is whose share of the pool it takes, unless the arguments say it."""
        if owner is None:
            owner = statement.owner(arguments)
        try:
            result = await self._ask_until_unlocked(statement, arguments, send, owner)
        except DRIVER_ERRORS as error:
            problem = problem_of(error)
            if sqlstate_of(error).startswith(SERVER_TROUBLE):
                until = time.monotonic() + TROUBLE_LASTS
                self._trouble = Trouble(statement.name, until, problem.reason or problem.text)
            raise problem from None
        if self._trouble is not None and self._trouble.statement == statement.name:
            self._trouble = None
        return result

    async def _ask_until_unlocked(
        self,
        statement: Statement,
        arguments: Sequence[object],
        send: Callable[[DatabaseConnection], Awaitable[Result]],
        owner: Hashable,
    ) -> Result:
        lock = statement.lock(arguments)
        try:
            if not self._lock_waits.is_waited_for(lock):
                return await self._ask(statement, send, owner)
        except UNDONE:
            _log.debug("%s met a lock", statement.name)
        if not statement.only_reads:
            self._lock_waits.remember(owner)
        return await self._lock_waits.retry(lock, partial(self._ask, statement, send, owner))

    async def _ask(
        self, statement: Statement, send: Callable[[DatabaseConnection], Awaitable[Result]], owner: Hashable
    ) -> Result:
        """Sends a read once more when its connection dies. Never a write: it may have happened."""
        try:
            return await self._pool.run(send, owner)
        except CUT_OFF:
            if not statement.only_reads:
                raise
            return await self._pool.run(send, owner)


def problem_of(error: Exception) -> Problem:
    """What went wrong, without the row: `detail` and str() of an error may hold a password's hash."""
    if not isinstance(error, asyncpg.PostgresError):
        # TimeoutError is an OSError: a statement that took longer than STATEMENT_TIMEOUT.
        return Problem(Code.DATABASE_ERROR, reason=type(error).__name__)
    sqlstate = sqlstate_of(error)
    constraint = getattr(error, "constraint_name", None) or ""
    message = getattr(error, "message", "") or ""
    for (state, name), code in REFUSALS.items():
        # On a shard of Citus it has a number, users_email_key_102008, and from another node the message alone names it.
        if state == sqlstate and re.search(rf"\b{name}(_\d+)?\b", f"{constraint} {message}"):
            return Problem(code)
    reason = " ".join(part for part in (type(error).__name__, sqlstate, constraint, message) if part)
    return Problem(Code.DATABASE_ERROR, reason=reason)


def sqlstate_of(error: Exception) -> str:
    return getattr(error, "sqlstate", None) or ""
