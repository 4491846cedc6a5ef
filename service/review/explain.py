"""sql explain: the plan of one statement, as its file stands, and the buffers that it touches."""

from collections.abc import Mapping

from psycopg import RawCursor

from service.db.admin_session import CommandError, connected, rows
from service.db.statements import Statement, StatementCallError, names, read, statement
from service.review.buffers import touched_buffers
from service.review.plans import explain_generic

NULL = "NULL"
IS_DISTRIBUTED = statement("health/is_distributed", "one")
NOT_RUN = "Not run: this is Citus, whose EXPLAIN ANALYZE refuses some writes and crashes the server with others"


def explain(url: str, name: str, given: Mapping[str, str]) -> list[str]:
    """Without values: the generic plan. With values: EXPLAIN ANALYZE, in a transaction that is rolled back."""
    wanted = _find(name)
    values = _values(wanted, given) if given else None
    with connected(url) as connection, connection.transaction(force_rollback=True):
        if values is None:
            return [row[0] for row in explain_generic(connection, wanted, "VERBOSE")]
        with RawCursor(connection) as cursor:
            # A session that has planned on a table knows the first page of its indexes, as those of the service do.
            plan = cursor.execute(f"EXPLAIN {wanted.text}".encode(), values).fetchall()
            if rows(connection, IS_DISTRIBUTED)[0]["is_distributed"]:
                return [*(row[0] for row in plan), NOT_RUN]
            before = touched_buffers(connection)
            plan = cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS) {wanted.text}".encode(), values).fetchall()
        touched = touched_buffers(connection) - before
    return [*(row[0] for row in plan), f"Buffers touched: {touched}{_in_header(wanted)}"]


def _in_header(statement: Statement) -> str:
    return "" if statement.cost is None else f"; the header says {statement.cost}"


def _values(statement: Statement, given: Mapping[str, str]) -> list[object]:
    try:
        return statement.arguments({name: None if value == NULL else value for name, value in given.items()})
    except StatementCallError:
        wanted = " ".join(f"{name}=..." for name, _ in statement.parameters) or "no parameter"
        raise CommandError(f"{statement.name} takes {wanted}") from None


def _find(wanted: str) -> Statement:
    """By its name, its path, or the last part of its name, which pg_stat_activity shows first."""
    name = wanted.removeprefix("./").removeprefix("sql/").removesuffix(".sql")
    found = [each for each in names() if name in {each, each.rpartition("/")[2]}]
    if len(found) != 1:
        raise CommandError(f"there is no statement {wanted}" if not found else f"{wanted} is {' or '.join(found)}")
    return read(found[0])
