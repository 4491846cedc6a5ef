"""Requests of the same moment go to the server together: one message, one answer, one commit.

While others of the same statement are on their way they wait until those are back, but no longer than a millisecond,
and then for as long as others keep coming. Who is alone goes alone. Every statement starts from its owner and its rows
say whose they are: each finds back to who asked for it, and to nobody else.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from itertools import groupby
from typing import Any, Protocol, TypeAlias

import asyncpg

from service.background import Background
from service.db.connect import DatabaseConnection
from service.db.lock_waits import RETRYABLE_ERRORS, LockWaits
from service.db.statements import BatchKey, Statement, statement

IS_DISTRIBUTED = statement("health/is_distributed", "one")

MAX_BATCH_SIZE = 16  # who wait for one batch
TARGET_BATCH_ROWS = 800  # about as many one batch of lists is to bring, going by the last ones
LONG_ANSWER_ROWS = 100  # rows: to make an answer of more is long enough for others to be let in before the next
MAX_HOLD_SECONDS = (
    0.001  # seconds: what a server in the next room needs for an answer, and one that is far shall not add
)
IDLE_ITERATIONS = 3  # rounds of the event loop: those who are answered in the first are heard again until the third

# The server ended the statement, or itself: not the fault of one of several, and nobody knows what became of a write.
SERVER_ENDED_ERRORS = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)

Rows: TypeAlias = list[asyncpg.Record]
Send: TypeAlias = Callable[[DatabaseConnection], Awaitable[Rows]]


class Run(Protocol):
    """How Database runs a statement. `owner` is whose share of the pool it takes, unless the arguments say it."""

    async def __call__(
        self, statement: Statement, arguments: Sequence[object], send: Send, owner: Hashable = None
    ) -> Rows: ...


class BatchUndoneError(Exception):
    """One of several statements failed, and with it nothing of the others has happened."""


class Batch:
    """Several executions of one statement, each for rows that no other one can answer with."""

    def __init__(self, statement: Statement, key: BatchKey, max_size: int) -> None:
        self.statement = statement
        self.max_size = max_size
        self.size = 0
        self.owner: Hashable = None  # whose share of the pool it takes: that of its only user, or one of its own
        self.hold_timer: asyncio.TimerHandle | None = None  # until others come back, or it has waited for long enough
        self._key = key
        self._executions: dict[Any, tuple[list[object], list[asyncio.Future[Rows]]]] = {}

    def join(self, arguments: list[object]) -> "asyncio.Future[Rows] | None":
        """None where another one is about the same rows. One task is read once for all who ask for it; lists, which may
        be large, are not to be held for several."""
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
        """As long as it has room and rounds of the event loop bring somebody. With little to do they take no time; with
        much, one message instead of several leaves more for it."""
        idle_iterations = 0
        while idle_iterations < IDLE_ITERATIONS and self.size < self.max_size:
            size = self.size
            await asyncio.sleep(0)
            idle_iterations = idle_iterations + 1 if self.size == size else 0

    async def send(self, connection: DatabaseConnection) -> Rows:
        argument_lists = [arguments for arguments, _ in self._executions.values()]
        if not self.statement.only_reads:
            # Two batches that meet at the same rows shall not wait for each other.
            argument_lists.sort(key=self._key.of_arguments)
        try:
            if self.has_one_execution:
                return await connection.fetch(self.statement.text, *argument_lists[0])
            rows: Rows = await connection.fetchmany(self.statement.text, argument_lists)
        except asyncpg.PostgresError as error:
            if self.statement.only_reads or isinstance(error, SERVER_ENDED_ERRORS):
                raise
            if self.has_one_execution and not isinstance(error, RETRYABLE_ERRORS):
                raise  # refused for what it is, and would be again; one that met a lock waits for it by itself
            raise BatchUndoneError from None
        return rows

    async def distribute(self, rows: Rows) -> None:
        found: dict[Any, Rows] = {key: [] for key in self._executions}
        for key, together in groupby(rows, self._key.of_row):
            found[key].extend(together)
        for key, own in found.items():
            self._resolve(key, own)
            if len(own) > LONG_ANSWER_ROWS:
                await asyncio.sleep(0)  # what is made of it is sent before the next is begun

    async def run_one_by_one(self, run_alone: Callable[[Statement, list[object]], Awaitable[Rows]]) -> None:
        """Each is answered when it is done: the one that waits for a lock holds up no other."""

        async def run_one(key: object, arguments: list[object]) -> None:
            try:
                found: Rows | Exception = await run_alone(self.statement, arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for the request that waits
                found = error
            self._resolve(key, found)

        await asyncio.gather(*(run_one(key, arguments) for key, (arguments, _) in self._executions.items()))

    def fail(self, error: Exception) -> None:
        for key in self._executions:
            self._resolve(key, error)

    def _resolve(self, key: object, found: Rows | Exception) -> None:
        for answer in self._executions[key][1]:
            if answer.done():
                continue  # whoever waited has gone
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)


class Batches:
    def __init__(self, run: Run, lock_waits: LockWaits, background: Background) -> None:
        self._run = run
        self._lock_waits = lock_waits
        self._background = background
        self._waiting_count = 0  # who waits for rows, in whatever way
        self._open_batches: dict[str, Batch] = {}  # until the next round of the event loop, or while they are held
        self._in_flight: Counter[str] = Counter()  # how many batches of a statement
        self._may_join_writes: bool | None = None  # nobody has asked the server yet
        self._mean_rows: defaultdict[str, float] = defaultdict(
            lambda: LONG_ANSWER_ROWS
        )  # of the lists a statement brought lately

    async def rows(self, statement: Statement, key: BatchKey, arguments: list[object]) -> Rows:
        self._waiting_count += 1
        try:
            if self._waiting_count == 1 or (not statement.only_reads and self._must_run_alone(arguments)):
                return await self._run_alone(statement, arguments)
            batch = self._open_batches.get(statement.name) or self._open_batch(statement, key)
            answer = batch.join(arguments)
            if answer is None:
                return await self._run_alone(statement, arguments)
            if batch.size == batch.max_size:
                del self._open_batches[statement.name]
                self._release(batch)
            return await answer
        finally:
            self._waiting_count -= 1

    def _open_batch(self, statement: Statement, key: BatchKey) -> Batch:
        batch = self._open_batches[statement.name] = Batch(statement, key, self._max_size(statement))
        if self._in_flight[statement.name]:
            batch.hold_timer = asyncio.get_running_loop().call_later(MAX_HOLD_SECONDS, self._release, batch)
        else:
            self._background.run(self._run_batch(batch))  # which begins with the next round
        return batch

    def _release(self, batch: Batch) -> None:
        if batch.hold_timer is not None:
            batch.hold_timer.cancel()
            batch.hold_timer = None
            self._background.run(self._run_batch(batch))

    async def _run_alone(self, statement: Statement, arguments: list[object]) -> Rows:
        rows = await self._run(statement, arguments, lambda connection: connection.fetch(statement.text, *arguments))
        self._record_rows(statement, len(rows))
        return rows

    async def _run_batch(self, batch: Batch) -> None:
        await batch.wait_for_more()
        if self._open_batches.get(batch.statement.name) is batch:
            del self._open_batches[batch.statement.name]
        try:
            rows = await self._send_and_release_next(batch)
            await batch.distribute(rows)
        except BatchUndoneError:
            await batch.run_one_by_one(self._run_alone)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            batch.fail(error)

    async def _send_and_release_next(self, batch: Batch) -> Rows:
        name = batch.statement.name
        self._in_flight[name] += 1
        try:
            return await self._send(batch)
        finally:
            self._in_flight[name] -= 1
            if name in self._open_batches:
                self._release(self._open_batches[name])

    async def _send(self, batch: Batch) -> Rows:
        if self._may_join_writes is None and not batch.statement.only_reads:
            [server] = await self._run_alone(IS_DISTRIBUTED, [])
            self._may_join_writes = not server["is_distributed"]
        if not (self._may_join_writes or batch.statement.only_reads or batch.has_one_execution):
            raise BatchUndoneError
        rows = await self._run(batch.statement, [], batch.send, batch.owner)
        self._record_rows(batch.statement, len(rows) / batch.size)
        return rows

    def _max_size(self, statement: Statement) -> int:
        if statement.kind == "one":
            return MAX_BATCH_SIZE
        return max(2, min(MAX_BATCH_SIZE, int(TARGET_BATCH_ROWS / (1 + self._mean_rows[statement.name]))))

    def _record_rows(self, statement: Statement, length: float) -> None:
        """A mean in which the last eight answers count for two thirds."""
        if statement.kind == "many":
            self._mean_rows[statement.name] += (length - self._mean_rows[statement.name]) / 8

    def _must_run_alone(self, arguments: list[object]) -> bool:
        """On Citus each node would commit what is its own, whatever becomes of the rest. And a write that waits for a
        lock, as for a row that is held in psql, would make the others of its batch wait as well."""
        return self._may_join_writes is False or self._lock_waits.has_met_a_lock(arguments[0])
