"""sql plans: the plans that a database makes today of the requests' statements, beside the golden ones."""

import difflib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import NamedTuple

from service.db.admin_session import AdminConnection, CommandError, connected, rows
from service.db.statements import names_of_requests, read, statement
from service.review.golden_plans import golden, needed_privileges, reduced
from service.review.plans import PlanError, generic_plan
from service.review.privileges import missing

LIST_TABLE_STATISTICS = statement("review/list_table_statistics", "many")
SET_TIME_LIMITS = statement("migrations/set_time_limits", "one")

# A plan takes a millisecond, and the locks that it needs are free unless a migration runs.
TIME_LIMITS = {"lock_timeout": "1s", "statement_timeout": "5s"}

# On tables with more pages than this the planner chose the golden plans, of versions 15 and 18; with fewer a Seq Scan.
SMALL_PAGES = 4

FILE_LINES = 3  # at the top of a unified diff: the two names and the line numbers

SAME, DIFFERS, INCOMPLETE = range(3)  # the exit codes


class ComparedPlan(NamedTuple):
    """A statement with its golden plan and that of the database, or why it made none."""

    name: str
    golden: list[str]
    here: list[str]
    refusal: str | None

    @property
    def differs(self) -> bool:
        return self.refusal is None and self.here != self.golden


class Comparison(NamedTuple):
    lines: list[str]
    exit_code: int


def compare(url: str) -> Comparison:
    """Reads alone. Raises CommandError when the database plans no statement that reads a table."""
    with connected(url) as connection:
        connection.read_only = True
        version = connection.info.server_version // 10_000
        compared = [_compare(connection, name, version) for name in names_of_requests()]
        refused = [each for each in compared if each.refusal is not None]
        lacked = _missing_privileges(connection, refused)
        if not any(each.refusal is None and any(needed_privileges(each.golden)) for each in compared):
            raise CommandError(lacked or refused[0].refusal)
        different = [each for each in compared if each.differs]
        lines = [line for each in compared for line in _shown(each)]
        lines += _tables(connection, different)
    lines += [lacked] if lacked else []
    same = len(compared) - len(different) - len(refused)
    lines.append(
        f"{len(compared)} statements on PostgreSQL {version}: {same} same as golden, {len(different)} differ, "
        f"{len(refused)} not planned"
    )
    return Comparison(lines, INCOMPLETE if refused else DIFFERS if different else SAME)


def _compare(connection: AdminConnection, name: str, version: int) -> ComparedPlan:
    """Each statement has a transaction of its own: its locks on the tables are released before the next one."""
    try:
        with connection.transaction():
            rows(connection, SET_TIME_LIMITS, **TIME_LIMITS, is_local=True)
            return ComparedPlan(name, golden(name, version), list(reduced(generic_plan(connection, read(name)))), None)
    except PlanError as error:
        return ComparedPlan(name, golden(name, version), [], str(error))


def _shown(compared: ComparedPlan) -> Iterator[str]:
    if compared.refusal is not None:
        yield f"{compared.name}: {compared.refusal}"
    elif compared.differs:
        yield f"{compared.name}: differs (- golden, + here)"
        whole = len(compared.golden) + len(compared.here)
        differences = difflib.unified_diff(compared.golden, compared.here, lineterm="", n=whole)
        yield from (f"  {line}" for line in islice(differences, FILE_LINES, None))
    else:
        yield f"{compared.name}: same as golden"


def _missing_privileges(connection: AdminConnection, refused: list[ComparedPlan]) -> str | None:
    """One line with all privileges that the refused statements need and the role has not."""
    lacking = missing(connection, [each for compared in refused for each in needed_privileges(compared.golden)])
    if lacking is None:
        return None
    role, privileges = lacking
    return f"the role {role} lacks {privileges}: run this as a role that has them, such as todo_runtime"


def _tables(connection: AdminConnection, different: Iterable[ComparedPlan]) -> Iterator[str]:
    """The sizes that the planner assumes for the tables in the plans that differ, and when they were analyzed."""
    tables = sorted({table for each in different for _, table in needed_privileges([*each.golden, *each.here])})
    for row in rows(connection, LIST_TABLE_STATISTICS, table_names=tables) if tables else []:
        yield f"{row['table_name']}: {_size(row['row_count'], row['page_count'])}; {_analyzed(row['analyzed_at'])}"


def _size(row_count: int, page_count: int) -> str:
    if row_count < 0:
        return "of unknown size, which the planner guesses"
    size = f"{row_count} rows on {page_count} pages"
    return f"{size}, so small that a Seq Scan is right" if page_count <= SMALL_PAGES else size


def _analyzed(at: datetime | None) -> str:
    return "never analyzed" if at is None else f"analyzed {at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
