"""Runs statements: with retries after lock waits, and database errors mapped to the problems of the API."""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar
from uuid import UUID

import asyncpg

from service.background import Background
from service.db.batch_traces import TracedBatch
from service.db.batching import Batches, StatementBatch
from service.db.connect import DatabaseConnection
from service.db.lock_waits import RETRYABLE_ERRORS, LockWaits
from service.db.pool import DRIVER_ERRORS, Pool
from service.db.statements import Statement, StatementCallError, statement
from service.errors import Code, FieldError, Problem
from service.field_rules import RULES_BETWEEN_FIELDS, UNKNOWN_TIME_ZONE
from service.metrics.meters import Meters
from service.settings.all_settings import Settings
from service.traces.tracer import Tracer

Row: TypeAlias = asyncpg.Record


class Refusal(NamedTuple):
    """A database error that is the client's doing."""

    code: Code
    field: FieldError | None = None

    def problem(self) -> Problem:
        return Problem(self.code, details=[self.field] if self.field else [])


# Constraints whose violation is the client's doing: two requests raced, the user was deleted, or the fields of the row
# do not fit together. A violation of any other constraint is a bug in this service.
REFUSALS = {
    ("23505", "users_email_key"): Refusal(Code.EMAIL_EXISTS),
    ("23503", "tasks_user_id_fkey"): Refusal(Code.INVALID_TOKEN),
    ("23503", "deleted_tasks_user_id_fkey"): Refusal(Code.INVALID_TOKEN),
    ("23503", "task_counters_user_id_fkey"): Refusal(Code.INVALID_TOKEN),
    ("23503", "idempotency_keys_user_id_fkey"): Refusal(Code.INVALID_TOKEN),
} | {
    ("23514", rule.constraint): Refusal(Code.VALIDATION_ERROR, FieldError(rule.field, rule.message))
    for rule in RULES_BETWEEN_FIELDS
}

LOCK_COUNTER = statement("tasks/lock_counter", "one")

# The error of timezone() in a statement, for a name that this server does not know. It names no constraint, and its
# message is in the server's language, so the statement tells by its parameters.
INVALID_PARAMETER_VALUE = "22023"
TIME_ZONE_PARAMETER = "time_zone"
TIME_ZONE_REFUSAL = Refusal(Code.VALIDATION_ERROR, FieldError("time_zone", UNKNOWN_TIME_ZONE))

# The connection was lost, so that the result of the statement is unknown. TimeoutError is left out on purpose: a
# request that has waited for STATEMENT_TIMEOUT must not wait for it a second time.
CONNECTION_LOST_ERRORS = (
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    ConnectionError,
)

# SQLSTATE classes of trouble in the server itself, independent of the statement: disk full, out of memory.
SERVER_TROUBLE_CLASSES = ("53", "58")
TROUBLE_SECONDS = 60.0  # ends earlier if the statement that met the trouble succeeds

_log = logging.getLogger("service.db.database")

Result = TypeVar("Result")


class ServerTrouble(NamedTuple):
    """The last error of SERVER_TROUBLE_CLASSES, which /health reports."""

    statement: str
    until: float
    reason: str


class Transaction:
    """A transaction on one connection. A statement in it sees what was committed before that statement began."""

    def __init__(self, connection: DatabaseConnection) -> None:
        self._connection = connection

    async def one(self, statement: Statement, **values: object) -> Row | None:
        try:
            return await self._connection.fetchrow(statement.text, *statement.arguments(values))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise problem_of(error, statement) from None  # of this statement of the transaction

    async def require_one(self, statement: Statement, **values: object) -> Row:
        row = await self.one(statement, **values)
        if row is None:
            raise StatementCallError(f"sql/{statement.name}.sql returned no row")
        return row

    async def many(self, statement: Statement, **values: object) -> list[Row]:
        try:
            return await self._connection.fetch(statement.text, *statement.arguments(values))
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError) as error:
            raise problem_of(error, statement) from None


class Database:
    """Runs each statement in at most one round trip, unless it meets a lock: no BEGIN around it, no reset after it. For
    the few writes that need several statements there is in_locked_transaction()."""

    def __init__(self, pool: Pool, lock_waits: LockWaits, background: Background, tracer: Tracer | None = None) -> None:
        self._pool = pool
        self._lock_waits = lock_waits
        new_batch = partial(TracedBatch, tracer) if tracer else StatementBatch
        self._batches = Batches(self._run, lock_waits, background, new_batch)
        self._trouble: ServerTrouble | None = None

    @classmethod
    async def connect(
        cls, settings: Settings, background: Background, meters: Meters | None = None, tracer: Tracer | None = None
    ) -> "Database":
        lock_waits = LockWaits(max(1, settings.pool_max // 4), settings.statement_timeout)
        return cls(await Pool.open(settings, background, meters, tracer), lock_waits, background, tracer)

    @property
    def pool(self) -> Pool:
        """For its metrics; statements go through the methods below."""
        return self._pool

    async def close(self) -> None:
        await self._pool.close()

    @property
    def trouble(self) -> str | None:
        """Why the server failed in the last TROUBLE_SECONDS, in any request; None if it did not."""
        if self._trouble is None or time.monotonic() > self._trouble.until:
            return None
        return self._trouble.reason

    async def one(self, statement: Statement, **values: object) -> Row | None:
        arguments = statement.arguments(values)
        if statement.key is not None:
            rows = await self._batches.run(statement, statement.key, arguments)
            return rows[0] if rows else None
        return await self._run(statement, arguments, lambda connection: connection.fetchrow(statement.text, *arguments))

    async def require_one(self, statement: Statement, **values: object) -> Row:
        """The row of a statement that always returns one, such as an INSERT."""
        row = await self.one(statement, **values)
        if row is None:
            raise StatementCallError(f"sql/{statement.name}.sql returned no row")
        return row

    async def many(self, statement: Statement, **values: object) -> list[Row]:
        arguments = statement.arguments(values)
        if statement.key is not None:
            return await self._batches.run(statement, statement.key, arguments)
        return await self._run(statement, arguments, lambda connection: connection.fetch(statement.text, *arguments))

    async def many_alone(self, statement: Statement, **values: object) -> list[Row]:
        """As many(), but never in a batch, whose other requests would wait for a statement that takes long."""
        return await self._batches.run_alone(statement, statement.arguments(values))

    async def execute(self, statement: Statement, **values: object) -> None:
        arguments = statement.arguments(values)
        await self._run(statement, arguments, lambda connection: connection.execute(statement.text, *arguments))

    async def in_locked_transaction(self, user_id: UUID, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        """All that `work` does happens, or nothing. No other write to the owner's tasks happens meanwhile, and each
        statement sees all that happened before. `work` is called again after a lock, a deadlock or a migration
        has undone it."""

        async def send(connection: DatabaseConnection) -> Result:
            transaction = Transaction(connection)
            async with connection.transaction():
                await transaction.one(LOCK_COUNTER, user_id=user_id)
                return await work(transaction)

        first = LOCK_COUNTER  # whose owner and lock are those of the transaction
        return await self._run(first, first.arguments({"user_id": user_id}), send)

    async def _run(
        self,
        statement: Statement,
        arguments: Sequence[object],
        send: Callable[[DatabaseConnection], Awaitable[Result]],
        owner: Hashable = None,
    ) -> Result:
        """Counts against the share of `owner`, or of the owner that the arguments name."""
        if owner is None:
            owner = statement.owner(arguments)
        try:
            result = await self._run_until_unlocked(statement, arguments, send, owner)
        except DRIVER_ERRORS as error:
            problem = problem_of(error, statement)
            if sqlstate_of(error).startswith(SERVER_TROUBLE_CLASSES):
                until = time.monotonic() + TROUBLE_SECONDS
                self._trouble = ServerTrouble(statement.name, until, problem.reason or problem.text)
            raise problem from None
        if self._trouble is not None and self._trouble.statement == statement.name:
            self._trouble = None
        return result

    async def _run_until_unlocked(
        self,
        statement: Statement,
        arguments: Sequence[object],
        send: Callable[[DatabaseConnection], Awaitable[Result]],
        owner: Hashable,
    ) -> Result:
        lock = statement.lock(arguments)
        try:
            if not self._lock_waits.is_waited_for(lock):
                return await self._send(statement, send, owner)
        except RETRYABLE_ERRORS:
            _log.debug("%s met a lock", statement.name)
        if not statement.only_reads:
            self._lock_waits.remember(owner)
        return await self._lock_waits.retry(lock, partial(self._send, statement, send, owner))

    async def _send(
        self, statement: Statement, send: Callable[[DatabaseConnection], Awaitable[Result]], owner: Hashable
    ) -> Result:
        """Retries a read once if its connection is lost. A write is never retried: it may have happened."""
        try:
            return await self._pool.run(send, owner)
        except CONNECTION_LOST_ERRORS:
            if not statement.only_reads:
                raise
            return await self._pool.run(send, owner)


def problem_of(error: Exception, statement: Statement) -> Problem:
    """The problem for a driver error. Never contains `detail` or str() of the error: they may hold a password hash."""
    if not isinstance(error, asyncpg.PostgresError):
        # This includes TimeoutError: the statement took longer than STATEMENT_TIMEOUT.
        return Problem(Code.DATABASE_ERROR, reason=type(error).__name__)
    sqlstate = sqlstate_of(error)
    constraint = getattr(error, "constraint_name", None) or ""
    message = getattr(error, "message", "") or ""
    for (state, name), refusal in REFUSALS.items():
        # A Citus shard adds a number, users_email_key_102008; for another node only the message has the name.
        if state == sqlstate and re.search(rf"\b{name}(_\d+)?\b", f"{constraint} {message}"):
            return refusal.problem()
    if sqlstate == INVALID_PARAMETER_VALUE and any(name == TIME_ZONE_PARAMETER for name, _ in statement.parameters):
        return TIME_ZONE_REFUSAL.problem()
    reason = " ".join(part for part in (type(error).__name__, sqlstate, constraint, message) if part)
    return Problem(Code.DATABASE_ERROR, reason=reason)


def sqlstate_of(error: Exception) -> str:
    return getattr(error, "sqlstate", None) or ""
