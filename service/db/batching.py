"""Batching: executions of one statement for several requests share one message, one answer and one commit.

1. A request that is alone in the process is sent at once, without a batch. So is the write of a user that met a lock.
2. Otherwise it joins the open batch of its statement. An open batch is held while another batch of that statement is
   in flight, but at most MAX_HOLD_SECONDS. Then it is sent as soon as no more requests join it.
3. Rows find back to their request by the owner's id: every statement in a batch takes `user_id` and returns it, which
   `sql check` proves. A row that no request asked for is handed to none: the request whose execution returned it fails.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

import asyncpg

from service.background import Background
from service.db.batch_rows import (
    ForeignRowError,
    ForeignRows,
    Rows,
    certain_rows,
    foreign_row_problem,
    has_foreign_row,
    own_rows,
)
from service.db.connect import DatabaseConnection
from service.db.lock_waits import RETRYABLE_ERRORS, LockWaits
from service.db.statements import BatchKey, Statement, statement
from service.errors import Problem

IS_DISTRIBUTED = statement("health/is_distributed", "one")

MAX_BATCH_SIZE = 16  # requests
TARGET_BATCH_ROWS = 800  # a batch of lists is kept to about this size, estimated from the last answers
LONG_ANSWER_ROWS = 100  # after an answer longer than this, other tasks run before the next answer of the batch
# A nearby server answers within this time. A batch for a distant server is not held for a whole round trip.
MAX_HOLD_SECONDS = 0.001
# A batch is sent after so many iterations of the event loop in which no request joined it. A client that is answered
# in the first of them sends its next request by the third.
IDLE_ITERATIONS = 3

# The server ended the statement, or itself. No single execution of the batch caused it, and a write may have happened.
SERVER_ENDED_ERRORS = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)

Send: TypeAlias = Callable[[DatabaseConnection], Awaitable[Rows]]


class Run(Protocol):
    """The type of `Database._run`. It counts against the share of `owner`, or of the owner that the arguments name."""

    async def __call__(
        self, statement: Statement, arguments: Sequence[object], send: Send, owner: Hashable = None
    ) -> Rows: ...


class BatchUndoneError(Exception):
    """One execution failed, and the transaction of the whole batch was rolled back."""


class StatementBatch:
    """Several executions of one statement, sent together. No two of them can return the same row."""

    def __init__(self, statement: Statement, key: BatchKey, max_size: int) -> None:
        self.statement = statement
        self.max_size = max_size
        self.size = 0
        self.owner: Hashable = None  # its share of the pool: the only user's, or for several users a separate one
        self.hold_timer: asyncio.TimerHandle | None = None  # None: not held
        self._key = key
        self._executions: dict[Any, tuple[list[object], list[asyncio.Future[Rows]]]] = {}

    def join(self, arguments: list[object]) -> "asyncio.Future[Rows] | None":
        """Returns None if the batch already has an execution for the same rows; the caller then runs alone.

        Equal reads of one task share an execution. Equal lists do not: they may be large, and would stay in memory
        until the slowest of their requests is answered."""
        asked, answers = self._executions.setdefault(self._key.of_arguments(arguments), (arguments, []))
        reads_one = self.statement.only_reads and self.statement.kind == "one"
        if answers and not (reads_one and asked == arguments):
            return None
        if not self.size:
            self.owner = arguments[0]
        elif self.owner != arguments[0]:
            self.owner = object()
        self.size += 1
        answer: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        answers.append(answer)
        return answer

    @property
    def has_one_execution(self) -> bool:
        return len(self._executions) == 1

    async def wait_for_more(self) -> None:
        """Waits while there is room and iterations of the event loop bring more requests.

        Under low load these iterations take no time. Under high load one message instead of several saves more time
        than they take."""
        idle_iterations = 0
        while idle_iterations < IDLE_ITERATIONS and self.size < self.max_size:
            size = self.size
            await asyncio.sleep(0)
            idle_iterations = idle_iterations + 1 if self.size == size else 0

    def on_its_way(self) -> AbstractContextManager[None]:
        """Around all that is sent for this batch. Traces have it as a span."""
        return nullcontext()

    async def send(self, connection: DatabaseConnection) -> Rows:
        if not self.statement.only_reads:
            # The same order in every batch, so that two batches with the same rows cannot deadlock.
            self._executions = dict(sorted(self._executions.items()))
        argument_lists = [arguments for arguments, _ in self._executions.values()]
        try:
            if self.has_one_execution:
                return await connection.fetch(self.statement.text, *argument_lists[0])
            rows: Rows = await connection.fetchmany(self.statement.text, argument_lists)
        except asyncpg.PostgresError as error:
            if self.statement.only_reads or isinstance(error, SERVER_ENDED_ERRORS):
                raise
            if self.has_one_execution and not isinstance(error, RETRYABLE_ERRORS):
                raise  # the same error would come again; after a lock wait or a deadlock it is retried alone
            raise BatchUndoneError from None
        return rows

    async def distribute(self, rows: Rows) -> None:
        """Raises ForeignRowError for a foreign row. Reads have no answer yet then, and are sent again one by one.
        Writes are done and never sent again: those whose own rows are certain are answered, the others fail."""
        found = own_rows(self._key, list(self._executions), rows)
        if found is None and not self.statement.only_reads:
            for key, certain in certain_rows(self.statement, self._key, list(self._executions), rows).items():
                self._resolve(key, foreign_row_problem(self.statement) if certain is None else certain)
        if found is None:
            raise ForeignRowError
        for key, own in found.items():
            self._resolve(key, own)
            if len(own) > LONG_ANSWER_ROWS:
                await asyncio.sleep(0)  # its response is built and sent before the next one is begun

    async def run_one_by_one(self, run_alone: Callable[[Statement, list[object]], Awaitable[Rows]]) -> None:
        """Answers each request as soon as its own execution is done: one that waits for a lock delays no other."""

        async def run_one(key: object, arguments: list[object]) -> None:
            try:
                found: Rows | Exception = await run_alone(self.statement, arguments)
            except Exception as error:  # noqa: BLE001 - any error goes to the request that waits
                found = error
            self._resolve(key, found)

        await asyncio.gather(*(run_one(key, arguments) for key, (arguments, _) in self._executions.items()))

    def fail(self, error: Exception) -> None:
        for key in self._executions:
            self._resolve(key, error)

    def _resolve(self, key: object, found: Rows | Exception) -> None:
        for answer in self._executions[key][1]:
            if answer.done():
                continue  # the request was cancelled
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)


NewBatch: TypeAlias = Callable[[Statement, BatchKey, int], StatementBatch]


class Batches:
    """The open batches of one process, by statement."""

    def __init__(
        self, run: Run, lock_waits: LockWaits, background: Background, new_batch: NewBatch = StatementBatch
    ) -> None:
        self._run_statement = run
        self._new_batch = new_batch
        self._lock_waits = lock_waits
        self._background = background
        self._waiting_count = 0  # requests that wait for rows, in a batch or alone
        self._open_batches: dict[str, StatementBatch] = {}  # by statement; requests may join them until they are sent
        self._in_flight: Counter[str] = Counter()  # batches sent and not yet answered, by statement
        self._may_batch_writes: bool | None = None  # None: the server was not asked yet
        self._foreign_rows = ForeignRows()
        self._mean_rows: defaultdict[str, float] = defaultdict(lambda: LONG_ANSWER_ROWS)  # of an answer, by statement

    async def run(self, statement: Statement, key: BatchKey, arguments: list[object]) -> Rows:
        self._waiting_count += 1
        try:
            if self._waiting_count == 1 or self._must_run_alone(statement, arguments):
                return await self.run_alone(statement, arguments)
            batch = self._open_batches.get(statement.name) or self._open_batch(statement, key)
            answer = batch.join(arguments)
            if answer is None:
                return await self.run_alone(statement, arguments)
            if batch.size == batch.max_size:
                del self._open_batches[statement.name]
                self._end_hold(batch)
            return await answer
        finally:
            self._waiting_count -= 1

    async def run_alone(self, statement: Statement, arguments: list[object]) -> Rows:
        rows = await self._run_statement(
            statement, arguments, lambda connection: connection.fetch(statement.text, *arguments)
        )
        if statement.key is not None and has_foreign_row(statement.key, arguments, rows):
            self._foreign_rows.report(statement)
            raise foreign_row_problem(statement)
        self._record_rows(statement, len(rows))
        return rows

    def _open_batch(self, statement: Statement, key: BatchKey) -> StatementBatch:
        batch = self._open_batches[statement.name] = self._new_batch(statement, key, self._max_size(statement))
        if self._in_flight[statement.name]:
            batch.hold_timer = asyncio.get_running_loop().call_later(MAX_HOLD_SECONDS, self._end_hold, batch)
        else:
            self._background.run(self._run_batch(batch))  # begins in the next iteration of the event loop
        return batch

    def _end_hold(self, batch: StatementBatch) -> None:
        """Sends a held batch now. A batch that is not held is being sent already."""
        if batch.hold_timer is not None:
            batch.hold_timer.cancel()
            batch.hold_timer = None
            self._background.run(self._run_batch(batch))

    async def _run_undone(self, statement: Statement, arguments: list[object]) -> Rows:
        """Runs a write whose batch was undone. If it is refused, the next writes of its owner are sent alone: a client
        that repeats it would undo one batch after the other."""
        try:
            return await self.run_alone(statement, arguments)
        except Problem:
            self._lock_waits.remember(arguments[0])
            raise

    async def _run_batch(self, batch: StatementBatch) -> None:
        await batch.wait_for_more()
        if self._open_batches.get(batch.statement.name) is batch:
            del self._open_batches[batch.statement.name]
        try:
            with batch.on_its_way():
                rows = await self._send_and_end_next_hold(batch)
            await batch.distribute(rows)
        except BatchUndoneError:
            await batch.run_one_by_one(self._run_undone)
        except ForeignRowError:
            self._foreign_rows.report(batch.statement)
            if batch.statement.only_reads:
                await batch.run_one_by_one(self.run_alone)
        except Exception as error:  # noqa: BLE001 - any error goes to the requests that wait
            batch.fail(error)

    async def _send_and_end_next_hold(self, batch: StatementBatch) -> Rows:
        name = batch.statement.name
        self._in_flight[name] += 1
        try:
            return await self._send(batch)
        finally:
            self._in_flight[name] -= 1
            if name in self._open_batches:
                self._end_hold(self._open_batches[name])

    async def _send(self, batch: StatementBatch) -> Rows:
        if self._may_batch_writes is None and not batch.statement.only_reads:
            [server] = await self.run_alone(IS_DISTRIBUTED, [])
            self._may_batch_writes = not server["is_distributed"]
        if not (self._may_batch_writes or batch.statement.only_reads or batch.has_one_execution):
            raise BatchUndoneError
        rows = await self._run_statement(batch.statement, [], batch.send, batch.owner)
        self._record_rows(batch.statement, len(rows) / batch.size)
        return rows

    def _max_size(self, statement: Statement) -> int:
        if statement.kind == "one":
            return MAX_BATCH_SIZE
        return max(2, min(MAX_BATCH_SIZE, int(TARGET_BATCH_ROWS / (1 + self._mean_rows[statement.name]))))

    def _record_rows(self, statement: Statement, length: float) -> None:
        """A moving average in which the last eight answers have two thirds of the weight."""
        if statement.kind == "many":
            self._mean_rows[statement.name] += (length - self._mean_rows[statement.name]) / 8

    def _must_run_alone(self, statement: Statement, arguments: list[object]) -> bool:
        """Whether a statement must not join a batch.

        After a foreign row each execution of the statement is sent alone, so that only those that return one fail. On
        Citus each node commits its own part of a batch, even if another part fails. And a write that waits for a lock,
        for example on a row that an operator holds in psql, would delay the other writes of its batch; one that is
        refused would undo them."""
        if self._foreign_rows.came_from(statement):
            return True
        if statement.only_reads:
            return False
        return self._may_batch_writes is False or self._lock_waits.is_sent_alone(arguments[0])
