"""The SQL that the service runs lies in sql/: Python has none, save what the review puts around a file's text."""

import ast
import re
from collections.abc import Iterator

import postgast
import pytest
from postgast.pg_query_pb2 import RangeVar

from tests.support import ROOT

# Where Python may hold SQL: the file, and what each text begins with. Each has its reason.
ALLOWED = {
    # Commands for a person to type, as a part of what the doctor says. None is sent.
    "service/doctor/activity_checks.py": {"VACUUM", "ALTER"},
    "service/doctor/role_checks.py": {"REVOKE", "ALTER"},
    "service/doctor/server_checks.py": {"VACUUM", "ALTER"},
    "service/review/check.py": {"SET LOCAL"},  # turns off plans in which the owner's condition does not show
    "service/review/explain.py": {"EXPLAIN"},  # what `sql explain` is for; after it comes the text of a file
    "service/review/plans.py": {"EXPLAIN", "SET LOCAL", "PREPARE", "DEALLOCATE"},  # PostgreSQL 15 has no GENERIC_PLAN
}

# In capitals, as all SQL here is written: enough for a text to which the rest is added later.
BEGINS_LIKE_SQL = re.compile(
    r"\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|VALUES|SET LOCAL|SET|RESET|SHOW|EXPLAIN|PREPARE|EXECUTE|DEALLOCATE|"
    r"CREATE|ALTER|DROP|TRUNCATE|GRANT|REVOKE|COPY|LOCK|LISTEN|NOTIFY|BEGIN|COMMIT|ROLLBACK|DO|CALL|VACUUM|ANALYZE)\s"
)
A_VALUE = "x"  # for each {} of an f-string


def texts(tree: ast.Module) -> Iterator[str]:
    """Every string of a module but docstrings; an f-string as one."""
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in alone:
            continue
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else A_VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and id(node) not in parts:
            if isinstance(node.value, bytes):
                yield node.value.decode("latin-1")
            elif isinstance(node.value, str):
                yield node.value


def begins(text: str) -> str | None:
    """How a text begins that is SQL; None for any other."""
    if match := BEGINS_LIKE_SQL.match(text):
        return match[1]
    try:
        tree = postgast.parse(text.encode(errors="replace").decode())
    except postgast.PgQueryError:
        return None
    # `select a task` would be a statement too.
    return text.split(maxsplit=1)[0].upper() if any(postgast.find_nodes(tree, RangeVar)) else None


def found_in(source: str) -> set[str]:
    return {start for text in texts(ast.parse(source)) if (start := begins(text)) is not None}


def test_no_string_in_python_is_sql_but_those_of_the_review() -> None:
    found = {
        str(path.relative_to(ROOT)): starts
        for path in sorted((ROOT / "service").rglob("*.py"))
        if (starts := found_in(path.read_text()))
    }

    assert found == ALLOWED


@pytest.mark.parametrize(
    ("source", "starts"),
    [
        ('run("SELECT 1")', {"SELECT"}),
        ('run(b"select id from tasks where user_id = $1")', {"SELECT"}),
        ('run(f"select {columns} from {table}")', {"SELECT"}),
        ('run("UPDATE tasks SET " + changes)', {"UPDATE"}),
        ('run("""\n  WITH gone AS (\n""")', {"WITH"}),
        ('"""SELECT 1"""\nsay("select a task")', set()),
        ('say("must be one SELECT, INSERT or DELETE")', set()),
        ('say(f"{name} is not set")', set()),
    ],
)  # fmt: skip
def test_sql_is_told_from_other_text(source: str, starts: set[str]) -> None:
    assert found_in(source) == starts
