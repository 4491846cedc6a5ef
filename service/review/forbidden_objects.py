"""Refuses views, functions and operators that hide what a statement does. Runs before planning, which calls some."""

from collections.abc import Iterator

from postgast import unwrap_node
from postgast.pg_query_pb2 import A_Expr, FuncCall, RangeVar

from service.review.catalog import Catalog
from service.review.reviewed import Reviewed, ReviewFinding

# Volatile, but they only return a value.
HARMLESS = {"gen_random_uuid", "clock_timestamp", "random"}
SYSTEM_SCHEMAS = {"pg_catalog", "information_schema"}

# These statements read the system catalog. They never get a value from a request.
ABOUT_THE_DATABASE = ("review/", "migrations/", "doctor/")


def check(reviewed: Reviewed, catalog: Catalog) -> Iterator[ReviewFinding]:
    yield from _views(reviewed, catalog)
    yield from _operators(reviewed, catalog)
    if not reviewed.statement.name.startswith(ABOUT_THE_DATABASE):
        yield from _functions(reviewed, catalog)
        yield from _the_catalog(reviewed)


def _functions(reviewed: Reviewed, catalog: Catalog) -> Iterator[ReviewFinding]:
    for call in reviewed.nodes(FuncCall):
        names = [part.string.sval for part in call.funcname]
        is_elsewhere = len(names) > 1 and names[0] != "pg_catalog"
        if is_elsewhere or (("function", names[-1]) in catalog.opaque and names[-1] not in HARMLESS):
            message = f"must not call {'.'.join(names)}: no plan shows what it reads or changes"
            yield reviewed.finding(message, call.location)


def _operators(reviewed: Reviewed, catalog: Catalog) -> Iterator[ReviewFinding]:
    for expression in reviewed.nodes(A_Expr):
        name = unwrap_node(expression.name[-1]).sval
        if len(expression.name) > 1 or ("operator", name) in catalog.opaque:
            yield reviewed.finding(f"must not use {name}: no plan shows what it reads", expression.location)


def _views(reviewed: Reviewed, catalog: Catalog) -> Iterator[ReviewFinding]:
    for table in reviewed.nodes(RangeVar):
        if ("view", table.relname) in catalog.opaque:
            yield reviewed.finding(f"must name tables: {table.relname} is a view", table.location)


def _the_catalog(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    for table in reviewed.nodes(RangeVar):
        if table.schemaname in SYSTEM_SCHEMAS or table.relname.startswith("pg_"):
            yield reviewed.finding("must not read the server's own tables: its statistics hold rows", table.location)
