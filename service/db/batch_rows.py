"""Gives the rows of a batch to its executions by their keys, and finds rows that no execution asked for.

Such a foreign row means that the statement is wrong: it returned rows of another user. `sql check` refuses statements
in which this could happen; this is the second line of defence."""

import logging
from itertools import groupby
from typing import Any, TypeAlias

import asyncpg

from service.db.statements import BatchKey, Statement
from service.errors import Code, Problem

Rows: TypeAlias = list[asyncpg.Record]

_log = logging.getLogger("service.db.batch_rows")


class ForeignRowError(Exception):
    """A batch returned a row that no request of it asked for."""


class ForeignRows:
    """The statements that have returned a foreign row. They are not batched again, so that only the execution that
    returns one fails."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def came_from(self, statement: Statement) -> bool:
        return statement.name in self._names

    def report(self, statement: Statement) -> None:
        """Logged once for each statement. The row stays out of the log."""
        if statement.name not in self._names:
            self._names.add(statement.name)
            _log.error("sql/%s.sql returned a row that no request asked for; such requests fail", statement.name)


def foreign_row_problem(statement: Statement) -> Problem:
    reason = f"sql/{statement.name}.sql returned a row that the request did not ask for"
    return Problem(Code.INTERNAL_ERROR, reason=reason)


def own_rows(key: BatchKey, executions: list[Any], rows: Rows) -> dict[Any, Rows] | None:
    """The rows of each execution, or None if there is a foreign row. Rows come in the order of the executions, so a
    key that comes back after another one is foreign too. A foreign row with the key of the very next execution cannot
    be seen here."""
    found: dict[Any, Rows] = {execution: [] for execution in executions}
    not_reached = iter(executions)
    for of_row, together in groupby(rows, key.of_row):
        if of_row not in not_reached:  # moves on to that execution, or to the end
            return None
        found[of_row] = list(together)
    return found


def has_foreign_row(key: BatchKey, arguments: list[object], rows: Rows) -> bool:
    """For an execution that was sent alone."""
    wanted = key.of_arguments(arguments)
    return any(of_row != wanted for of_row, _ in groupby(rows, key.of_row))


def certain_rows(statement: Statement, key: BatchKey, executions: list[Any], rows: Rows) -> dict[Any, Rows | None]:
    """The rows of each execution of a batch with foreign rows; None for an execution that may have returned one.

    The rows of one key are certain if they stand in the order of the executions with the rows of every other key. A
    foreign row was returned by an execution between the certain rows before it and those after it:

    - by one that has no certain rows, if each execution returns a single row and there is such a one;
    - otherwise by any of them, the two with the certain rows included."""
    places = {execution: place for place, execution in enumerate(executions)}
    runs = [(places.get(of_row), list(together)) for of_row, together in groupby(rows, key.of_row)]
    is_certain = [_is_certain(statement, runs, number) for number in range(len(runs))]
    found: dict[Any, Rows | None] = {execution: [] for execution in executions}
    for (place, together), certain in zip(runs, is_certain, strict=True):
        if certain and place is not None:
            found[executions[place]] = together
    for number, certain in enumerate(is_certain):
        if certain:
            continue
        before = [runs[other][0] for other in range(number) if is_certain[other]]
        after = [runs[other][0] for other in range(number + 1, len(runs)) if is_certain[other]]
        first, last = (before or [None])[-1], (after or [None])[0]
        between = executions[0 if first is None else first + 1 : last]
        ends = [executions[place] for place in (first, last) if place is not None]
        for suspect in between if between and statement.kind == "one" else [*between, *ends]:
            found[suspect] = None
    return found


def _is_certain(statement: Statement, runs: list[tuple[int | None, Rows]], number: int) -> bool:
    place, rows = runs[number]
    return (
        place is not None
        and (statement.kind != "one" or len(rows) == 1)
        and all(other is None or other < place for other, _ in runs[:number])
        and all(other is None or other > place for other, _ in runs[number + 1 :])
    )
