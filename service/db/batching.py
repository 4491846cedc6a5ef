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
from service.db.lock_waits import UNDONE, LockWaits
from service.db.statements import BatchKey, Statement, statement

IS_DISTRIBUTED = statement("health/is_distributed", "one")

MOST = 16  # who wait for one batch
ROWS = 800  # about as many one batch of lists is to bring, going by the last ones
LONG = 100  # rows: to make an answer of more is long enough for others to be let in before the next
COMPANY = 0.001  # seconds: what a server in the next room needs for an answer, and one that is far shall not add
QUIET = 3  # rounds of the event loop: those who are answered in the first are heard again until the third

# The server ended the statement, or itself: not the fault of one of several, and nobody knows what became of a write.
ENDED = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)

Rows: TypeAlias = list[asyncpg.Record]
Send: TypeAlias = Callable[[DatabaseConnection], Awaitable[Rows]]


class Run(Protocol):
    """How Database runs a statement. `owner` is whose share of the pool it takes, unless the arguments say it."""

    async def __call__(
        self, statement: Statement, arguments: Sequence[object], send: Send, owner: Hashable = None
    ) -> Rows: ...


class UndoneError(Exception):
    """One of several statements failed, and with it nothing of the others has happened."""


class Batch:
    """Several executions of one statement, each for rows that no other one can answer with."""

    def __init__(self, statement: Statement, key: BatchKey, most: int) -> None:
        self.statement = statement
        self.most = most
        self.size = 0
        self.owner: Hashable = None  # whose share of the pool it takes: that of its only user, or one of its own
        self.held: asyncio.TimerHandle | None = None  # until others come back, or it has waited for long enough
        self._key = key
        self._asked: dict[Any, tuple[list[object], list[asyncio.Future[Rows]]]] = {}

    def join(self, arguments: list[object]) -> "asyncio.Future[Rows] | None":
        """None where another one is about the same rows. One task is read once for all who ask for it; lists, which may
        be large, are not to be held for several."""
        asked, answers = self._asked.setdefault(self._key.of_arguments(arguments), (arguments, []))
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
    def is_of_one(self) -> bool:
        return len(self._asked) == 1

    async def wait_for_company(self) -> None:
        """As long as it has room and rounds of the event loop bring somebody. With little to do they take no time; with
        much, one message instead of several leaves more for it."""
        quiet = 0
        while quiet < QUIET and self.size < self.most:
            size = self.size
            await asyncio.sleep(0)
            quiet = quiet + 1 if self.size == size else 0

    async def send(self, connection: DatabaseConnection) -> Rows:
        everybodys = [arguments for arguments, _ in self._asked.values()]
        if not self.statement.only_reads:
            # Two batches that meet at the same rows shall not wait for each other.
            everybodys.sort(key=self._key.of_arguments)
        try:
            if self.is_of_one:
                return await connection.fetch(self.statement.text, *everybodys[0])
            rows: Rows = await connection.fetchmany(self.statement.text, everybodys)
        except asyncpg.PostgresError as error:
            if self.statement.only_reads or isinstance(error, ENDED):
                raise
            if self.is_of_one and not isinstance(error, UNDONE):
                raise  # refused for what it is, and would be again; one that met a lock waits for it by itself
            raise UndoneError from None
        return rows

    async def distribute(self, rows: Rows) -> None:
        found: dict[Any, Rows] = {key: [] for key in self._asked}
        for key, together in groupby(rows, self._key.of_row):
            found[key].extend(together)
        for key, own in found.items():
            self._answer(key, own)
            if len(own) > LONG:
                await asyncio.sleep(0)  # what is made of it is sent before the next is begun

    async def ask_one_by_one(self, alone: Callable[[Statement, list[object]], Awaitable[Rows]]) -> None:
        """Each is answered when it is done: the one that waits for a lock holds up no other."""

        async def ask(key: object, arguments: list[object]) -> None:
            try:
                found: Rows | Exception = await alone(self.statement, arguments)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for the request that waits
                found = error
            self._answer(key, found)

        await asyncio.gather(*(ask(key, arguments) for key, (arguments, _) in self._asked.items()))

    def fail(self, error: Exception) -> None:
        for key in self._asked:
            self._answer(key, error)

    def _answer(self, key: object, found: Rows | Exception) -> None:
        for answer in self._asked[key][1]:
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
        self._present = 0  # who waits for rows, in whatever way
        self._gathering: dict[str, Batch] = {}  # until the next round of the event loop, or while they are held
        self._on_their_way: Counter[str] = Counter()  # how many batches of a statement
        self._joins_writes: bool | None = None  # nobody has asked the server yet
        self._lengths: defaultdict[str, float] = defaultdict(lambda: LONG)  # of the lists a statement brought lately

    async def rows(self, statement: Statement, key: BatchKey, arguments: list[object]) -> Rows:
        self._present += 1
        try:
            if self._present == 1 or (not statement.only_reads and self._goes_alone(arguments)):
                return await self._alone(statement, arguments)
            batch = self._gathering.get(statement.name) or self._new(statement, key)
            answer = batch.join(arguments)
            if answer is None:
                return await self._alone(statement, arguments)
            if batch.size == batch.most:
                del self._gathering[statement.name]
                self._let_go(batch)
            return await answer
        finally:
            self._present -= 1

    def _new(self, statement: Statement, key: BatchKey) -> Batch:
        batch = self._gathering[statement.name] = Batch(statement, key, self._most(statement))
        if self._on_their_way[statement.name]:
            batch.held = asyncio.get_running_loop().call_later(COMPANY, self._let_go, batch)
        else:
            self._background.run(self._together(batch))  # which begins with the next round
        return batch

    def _let_go(self, batch: Batch) -> None:
        if batch.held is not None:
            batch.held.cancel()
            batch.held = None
            self._background.run(self._together(batch))

    async def _alone(self, statement: Statement, arguments: list[object]) -> Rows:
        rows = await self._run(statement, arguments, lambda connection: connection.fetch(statement.text, *arguments))
        self._learn(statement, len(rows))
        return rows

    async def _together(self, batch: Batch) -> None:
        await batch.wait_for_company()
        if self._gathering.get(batch.statement.name) is batch:
            del self._gathering[batch.statement.name]
        try:
            rows = await self._sent(batch)
            await batch.distribute(rows)
        except UndoneError:
            await batch.ask_one_by_one(self._alone)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is for those who wait
            batch.fail(error)

    async def _sent(self, batch: Batch) -> Rows:
        name = batch.statement.name
        self._on_their_way[name] += 1
        try:
            return await self._answer_of_server(batch)
        finally:
            self._on_their_way[name] -= 1
            if name in self._gathering:
                self._let_go(self._gathering[name])

    async def _answer_of_server(self, batch: Batch) -> Rows:
        if self._joins_writes is None and not batch.statement.only_reads:
            [server] = await self._alone(IS_DISTRIBUTED, [])
            self._joins_writes = not server["is_distributed"]
        if not (self._joins_writes or batch.statement.only_reads or batch.is_of_one):
            raise UndoneError
        rows = await self._run(batch.statement, [], batch.send, batch.owner)
        self._learn(batch.statement, len(rows) / batch.size)
        return rows

    def _most(self, statement: Statement) -> int:
        if statement.kind == "one":
            return MOST
        return max(2, min(MOST, int(ROWS / (1 + self._lengths[statement.name]))))

    def _learn(self, statement: Statement, length: float) -> None:
        """A mean in which the last eight answers count for two thirds."""
        if statement.kind == "many":
            self._lengths[statement.name] += (length - self._lengths[statement.name]) / 8

    def _goes_alone(self, arguments: list[object]) -> bool:
        """On Citus each node would commit what is its own, whatever becomes of the rest. And a write that waits for a
        lock, as for a row that is held in psql, would make the others of its batch wait as well."""
        return self._joins_writes is False or self._lock_waits.has_met_a_lock(arguments[0])
