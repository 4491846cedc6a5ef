"""No statement on a distributed table has a form that Citus refuses; checked by parsing, without Citus."""

from collections.abc import Iterator
from typing import Any

import postgast
import psycopg
import pytest
from postgast.pg_query_pb2 import (
    A_Expr,
    CaseExpr,
    CoalesceExpr,
    DeleteStmt,
    FuncCall,
    InsertStmt,
    OnConflictClause,
    RangeVar,
    SQLValueFunction,
    TypeCast,
    UpdateStmt,
)

from service.review.reviewed import read_all
from tests import citus

IMMUTABLE_FOR_TIMESTAMPS = {"timezone"}  # AT TIME ZONE; it is STABLE for timetz, a type that no column has


def called(tree: Any) -> set[str]:
    """The names of the called functions, with CURRENT_TIMESTAMP as now()."""
    names = {call.funcname[-1].string.sval for call in postgast.find_nodes(tree, FuncCall)}
    return names | {"now" for _ in postgast.find_nodes(tree, SQLValueFunction)}


def is_interval(operand: Any) -> bool:
    casts = [operand.type_cast, *postgast.find_nodes(operand, TypeCast)]
    return any(name.string.sval == "interval" for cast in casts for name in cast.type_name.names)


def adds_interval_to_column(update: Any) -> bool:
    """The result depends on the time zone of the session, so the operator is STABLE."""
    sums = [each for each in postgast.find_nodes(update, A_Expr) if each.name[-1].string.sval in {"+", "-"}]
    return any(each.lexpr.HasField("column_ref") and is_interval(each.rexpr) for each in sums)


def returned(write: Any) -> Any:
    """The columns after RETURNING."""
    return write.returning_clause.exprs


def refused(text: str, stable: set[str], volatile: set[str]) -> Iterator[str]:
    tree = postgast.parse(text)
    places = citus.placed()
    spread = {*places["distributed"], *places["reference"]}
    if not {table.relname for table in postgast.find_nodes(tree, RangeVar)} & spread:
        return
    if any(called(clause) & (stable | volatile) for clause in postgast.find_nodes(tree, OnConflictClause)):
        yield "now() in ON CONFLICT"
    for update in postgast.find_nodes(tree, UpdateStmt):
        if called(update) & volatile:
            yield "a volatile function in an UPDATE"
        if adds_interval_to_column(update):
            yield "an interval added to a column of an UPDATE"
        chosen = [*postgast.find_nodes(update, CaseExpr), *postgast.find_nodes(update, CoalesceExpr)]
        if any(called(each) & (stable | volatile) for each in chosen):
            yield "a function that is not immutable in CASE or COALESCE of an UPDATE"
    for kind in (InsertStmt, UpdateStmt, DeleteStmt):
        for write in postgast.find_nodes(tree, kind):
            if any(called(column) & (stable | volatile) for column in returned(write)):
                yield "a function that is not immutable in RETURNING"


@pytest.fixture(scope="module")
def functions(server_url: str) -> tuple[set[str], set[str]]:
    with psycopg.connect(server_url) as connection:
        found = connection.execute("SELECT proname::text, provolatile::text FROM pg_proc").fetchall()
    stable, volatile = ({name for name, kind in found if kind == wanted} for wanted in ("s", "v"))
    return stable - IMMUTABLE_FOR_TIMESTAMPS, volatile


def test_no_statement_has_a_form_that_citus_refuses(functions: tuple[set[str], set[str]]) -> None:
    reviewed, unreadable = read_all()

    assert unreadable == []
    assert {each.path: list(refused(each.statement.text, *functions)) for each in reviewed} == {
        each.path: [] for each in reviewed
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET updated_at = now()",
         "now() in ON CONFLICT"),
        ("INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET updated_at = CURRENT_TIMESTAMP",
         "now() in ON CONFLICT"),
        ("UPDATE tasks SET updated_at = clock_timestamp() WHERE user_id = $1", "a volatile function in an UPDATE"),
        ("UPDATE tasks SET updated_at = coalesce($2, now()) WHERE user_id = $1",
         "a function that is not immutable in CASE or COALESCE of an UPDATE"),
        ("UPDATE tasks SET updated_at = CASE WHEN $2 THEN now() END WHERE user_id = $1",
         "a function that is not immutable in CASE or COALESCE of an UPDATE"),
        ("UPDATE tasks SET updated_at = greatest(now(), updated_at + interval '1 second') WHERE user_id = $1",
         "an interval added to a column of an UPDATE"),
        ("UPDATE tasks SET updated_at = tasks.updated_at - CASE WHEN $2 THEN interval '0' END WHERE user_id = $1",
         "an interval added to a column of an UPDATE"),
        ("DELETE FROM tasks WHERE user_id = $1 RETURNING now()", "a function that is not immutable in RETURNING"),
        ("WITH gone AS (DELETE FROM tasks WHERE user_id = $1 RETURNING coalesce($2, clock_timestamp())) TABLE gone",
         "a function that is not immutable in RETURNING"),
    ],
)  # fmt: skip
def test_a_form_that_citus_refuses_is_found(functions: tuple[set[str], set[str]], text: str, why: str) -> None:
    assert list(refused(text, *functions)) == [why]
