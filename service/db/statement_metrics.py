"""Connections that measure each statement of sql/: how long it takes, its rows, its errors, and the size of a batch."""

from collections.abc import Awaitable, Callable, Sized
from time import perf_counter
from typing import Any, TypeVar

import asyncpg

from service.db.connect import DatabaseConnection
from service.db.statements import Statement, loaded
from service.metrics.definitions import BATCH_SIZE, STATEMENT_DURATION, STATEMENT_ERRORS, STATEMENT_ROWS
from service.metrics.meters import Counter, Meters

NO_SQLSTATE = "none"

Result = TypeVar("Result")


class StatementMeter:
    """The metrics of one statement."""

    def __init__(self, meters: Meters, statement: Statement) -> None:
        self._meters, self._name = meters, statement.name
        self._duration = meters.histogram(STATEMENT_DURATION, statement.name)
        self._rows = meters.counter(STATEMENT_ROWS, statement.name)
        self._batch_size = None if statement.key is None else meters.histogram(BATCH_SIZE, statement.name)
        self._errors: dict[str, Counter] = {}

    async def measure(self, answer: Awaitable[Result], rows_of: Callable[[Result], int], executions: int) -> Result:
        """A statement whose request was cancelled is not counted: its end is not known."""
        began = perf_counter()
        try:
            found = await answer
        except Exception as error:
            self._duration.observe(perf_counter() - began)
            self._count_error(getattr(error, "sqlstate", None))
            raise
        self._duration.observe(perf_counter() - began)
        if rows := rows_of(found):
            self._rows.add(rows)
        if self._batch_size is not None:
            self._batch_size.observe(executions)
        return found

    def _count_error(self, sqlstate: str | None) -> None:
        sqlstate_class = sqlstate[:2] if sqlstate else NO_SQLSTATE
        if sqlstate_class not in self._errors:
            self._errors[sqlstate_class] = self._meters.counter(STATEMENT_ERRORS, self._name, sqlstate_class)
        self._errors[sqlstate_class].add()


def measuring(meters: Meters) -> type[DatabaseConnection]:
    """A class of connections. Below pool, batches and transactions, so that each statement counts as what it is."""
    known: dict[str, StatementMeter] = {}

    def meter_of(text: str) -> StatementMeter | None:
        meter = known.get(text)
        if meter is None and (statement := loaded(text)) is not None:
            meter = known[text] = StatementMeter(meters, statement)
        return meter

    class MeasuringConnection(asyncpg.Connection):
        def fetch(self, query: str, *arguments: Any, **options: Any) -> Any:
            return _measured(meter_of(query), super().fetch(query, *arguments, **options), len)

        def fetchrow(self, query: str, *arguments: Any, **options: Any) -> Any:
            return _measured(meter_of(query), super().fetchrow(query, *arguments, **options), _one_or_none)

        def fetchmany(self, query: str, args: Any, **options: Any) -> Any:
            return _measured(meter_of(query), super().fetchmany(query, args, **options), len, len(args))

        def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
            return _measured(meter_of(query), super().execute(query, *arguments, **options), _rows_of_status)

    return MeasuringConnection


def _measured(
    meter: StatementMeter | None, answer: Awaitable[Result], rows_of: Callable[[Result], int], executions: int = 1
) -> Awaitable[Result]:
    return answer if meter is None else meter.measure(answer, rows_of, executions)


def _one_or_none(row: Sized | None) -> int:
    return 0 if row is None else 1


def _rows_of_status(status: str) -> int:
    """3 for `DELETE 3`."""
    count = status.rpartition(" ")[2]
    return int(count) if count.isdigit() else 0
