"""The pool, the ways to run a statement, and the one function from SQLSTATE to error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import asyncpg

from service import connecting
from service.errors import Code, Problem
from service.settings import Settings
from service.statements import Statement

Row: TypeAlias = asyncpg.Record
Connection: TypeAlias = "asyncpg.pool.PoolConnectionProxy[Row]"

# A constraint that refuses a row has decided a race or found a user gone. Any other refusal is a mistake of ours.
REFUSALS = {
    ("23505", "users_email_key"): Code.EMAIL_EXISTS,
    ("23503", "tasks_user_id_fkey"): Code.INVALID_TOKEN,
}
TOO_MANY_CONNECTIONS = "53300"

# A connection that is cut while a statement is on its way to it shows as InternalClientError.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)

CALL_OFF_TIMEOUT = 1.0  # after STATEMENT_TIMEOUT; a pooler may have nobody to pass it on to
CLOSE_TIMEOUT = 3.0


class Database:
    """One statement is one round trip: no transaction around it, no reset after it."""

    def __init__(self, pool: "asyncpg.Pool[Row]", acquire_timeout: float) -> None:
        self._pool = pool
        self._acquire_timeout = acquire_timeout

    @classmethod
    async def connect(cls, settings: Settings) -> "Database":
        pool = await asyncpg.create_pool(
            **connecting.arguments(settings),
            statement_cache_size=await connecting.cache_size(settings),
            min_size=settings.pool_min,
            max_size=settings.pool_max,
            reset=_leave_as_it_is,
        )
        return cls(pool, settings.pool_timeout)

    async def close(self) -> None:
        """Waits for the statements under way, but not for ever."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def one(self, statement: Statement, **values: object) -> Row | None:
        async with self._connection() as connection:
            return await connection.fetchrow(statement.text, *statement.arguments(values))

    async def must(self, statement: Statement, **values: object) -> Row:
        """For an INSERT, which returns its row or is refused."""
        row = await self.one(statement, **values)
        if row is None:
            raise RuntimeError(f"{statement.name} returned no row")
        return row

    async def many(self, statement: Statement, **values: object) -> list[Row]:
        async with self._connection() as connection:
            return await connection.fetch(statement.text, *statement.arguments(values))

    async def execute(self, statement: Statement, **values: object) -> None:
        async with self._connection() as connection:
            await connection.execute(statement.text, *statement.arguments(values))

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        try:
            connection = await self._pool.acquire(timeout=self._acquire_timeout)
        except TimeoutError:
            raise Problem(Code.OVERLOADED, reason="no database connection within POOL_TIMEOUT") from None
        except DRIVER_ERRORS as error:
            raise problem_of(error) from None
        try:
            yield connection
        except DRIVER_ERRORS as error:
            raise problem_of(error) from None
        finally:
            # One whose statement cannot be called off is closed by the pool, and what there is to say has been said.
            with suppress(*DRIVER_ERRORS):
                await self._pool.release(connection, timeout=CALL_OFF_TIMEOUT)


async def _leave_as_it_is(_: object) -> None:
    """Instead of asyncpg's reset query, a second round trip per request: our statements leave no session state."""


def problem_of(error: Exception) -> Problem:
    """What went wrong, without the row: `detail` and str() of an error may hold a password's hash."""
    if not isinstance(error, asyncpg.PostgresError):
        # TimeoutError is an OSError: a statement that took longer than STATEMENT_TIMEOUT.
        return Problem(Code.DATABASE_ERROR, reason=type(error).__name__)
    sqlstate = error.sqlstate or ""
    constraint = getattr(error, "constraint_name", None) or ""
    refusal = REFUSALS.get((sqlstate, constraint))
    if refusal is not None:
        return Problem(refusal)
    message = getattr(error, "message", "") or ""
    reason = " ".join(part for part in (type(error).__name__, sqlstate, constraint, message) if part)
    return Problem(Code.OVERLOADED if sqlstate == TOO_MANY_CONNECTIONS else Code.DATABASE_ERROR, reason=reason)
