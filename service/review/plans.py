"""Generic plans: the plan of a statement for any values of its parameters."""

from collections.abc import Iterator
from typing import Any

import psycopg

from service.db.admin_session import AdminConnection, one_line
from service.db.statements import Statement

Plan = dict[str, Any]

GENERIC_PLAN_SINCE = 160000

# The rules look at conditions, not at costs. On a small table the planner would choose a sequential scan with a filter,
# and a bitmap scan shows the same condition in another form. A nested loop shows the condition of a join in the scan of
# the inner table. Without pruning a plan shows all partitions.
PLANNER_SETTINGS = dict.fromkeys(
    ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "enable_partition_pruning"), "off"
)


class PlanError(Exception):
    """The server makes no plan of the statement, or more than one."""


class PlanNotPermittedError(PlanError):
    """The role of the connection may not run the statement, and so the server shows it no plan."""


def generic_plan(connection: AdminConnection, statement: Statement) -> Plan:
    """Raises PlanError when the server makes no plan, or more than one."""
    try:
        with connection.transaction():
            found = explain_generic(connection, statement, "VERBOSE, FORMAT JSON")
    except psycopg.errors.InsufficientPrivilege as error:
        raise PlanNotPermittedError(f"cannot be planned: {one_line(error)}") from None
    except psycopg.Error as error:
        raise PlanError(f"cannot be planned: {one_line(error)}") from None
    explained = [each for row in found for each in row[0]]
    if len(explained) != 1:
        raise PlanError("a rule makes several statements of it")
    plan: Plan = explained[0]["Plan"]
    return plan


def default_plan(connection: AdminConnection, statement: Statement) -> Plan | None:
    """The generic plan without the settings of the review. None if the server makes none."""
    try:
        with connection.transaction(force_rollback=True):
            for name in PLANNER_SETTINGS:
                connection.execute(f"SET LOCAL {name} TO DEFAULT".encode())
            return generic_plan(connection, statement)
    except PlanError:
        return None


def explain_generic(connection: AdminConnection, statement: Statement, options: str) -> list[Any]:
    if connection.info.server_version >= GENERIC_PLAN_SINCE:
        return _rows(connection, f"EXPLAIN (GENERIC_PLAN, {options}) {statement.text}")
    # Version 15 has no GENERIC_PLAN; a prepared statement shows the same plan.
    nulls = ", ".join("NULL" for _ in statement.parameters)
    connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    name = f'"review of {statement.name}"'
    connection.execute(f"PREPARE {name} AS {statement.text}".encode())
    try:
        with connection.transaction():
            return _rows(connection, f"EXPLAIN ({options}) EXECUTE {name}" + (f" ({nulls})" if nulls else ""))
    finally:
        # Also after an error: a prepared statement outlives its transaction, and behind a pooler the session.
        connection.execute(f"DEALLOCATE {name}".encode())


def nodes(plan: Plan) -> Iterator[Plan]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def table_of(node: Plan) -> tuple[str, str] | None:
    return (node["Schema"], node["Relation Name"]) if "Relation Name" in node else None


def aliases(node: Plan) -> tuple[str, str]:
    """The alias plain and quoted: a condition quotes it unless it is a lower-case word."""
    return node["Alias"], '"{}"'.format(node["Alias"].replace('"', '""'))


def conjuncts(condition: str) -> list[str]:
    """Splits a condition at its top-level ANDs: ((a = $1) AND (b = $2)) becomes (a = $1) and (b = $2)."""
    parts = list(_split_at_and(condition[1:-1]))
    return [condition] if len(parts) == 1 else parts


def _split_at_and(text: str) -> Iterator[str]:
    """Splits at each AND that is outside of parentheses and quotes."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif depth == 0 and text.startswith(" AND ", place):
            yield text[start:place]
            start = place + len(" AND ")
    yield text[start:]


def _rows(connection: AdminConnection, query: str) -> list[Any]:
    return connection.execute(query.encode()).fetchall()
