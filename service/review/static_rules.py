"""Rules about the text of a statement. They need no database."""

from collections.abc import Iterator
from typing import Any

from postgast import unwrap_node
from postgast.pg_query_pb2 import (
    A_Const,
    ColumnRef,
    DeleteStmt,
    FuncCall,
    InsertStmt,
    JoinExpr,
    MergeStmt,
    OnConflictClause,
    RangeVar,
    SelectStmt,
    TypeCast,
    UpdateStmt,
)

from service.db.statements import OF_REQUESTS
from service.review.catalog import OWNER
from service.review.forbidden_objects import ABOUT_THE_DATABASE
from service.review.reviewed import Reviewed, ReviewFinding

MAINTENANCE = "maintenance/"
UNLIMITED = (*ABOUT_THE_DATABASE, MAINTENANCE)  # lists without a LIMIT are allowed in these folders
NO_COST = "must say its cost in a line '-- buffers: <number>', which make generated writes"
KINDS = {"select_stmt", "insert_stmt", "update_stmt", "delete_stmt"}

WRITES = (InsertStmt, UpdateStmt, DeleteStmt)

# Functions that run SQL given as text or as the name of a table: the review cannot see it.
RUN_SQL = {
    "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema",
    "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema", "database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema",
    "ts_stat", "ts_rewrite",
}  # fmt: skip


# The hash is read where a password is checked, and nowhere else.
HASH = "password_hash"
READ_THE_HASH = {"accounts/find_credentials", "accounts/get_password"}


def check(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    if not is_reviewable(reviewed):
        yield reviewed.finding("must be one SELECT, INSERT, UPDATE or DELETE: nothing else can be reviewed")
        return
    yield from _columns_are_named(reviewed)
    yield from _no_renamed_columns_and_no_new_tables(reviewed)
    yield from _no_limit_without_order(reviewed)
    yield from _owner_is_never_changed(reviewed)
    yield from _no_hidden_sql(reviewed)
    yield from _no_offset_and_no_rows_by_number(reviewed)
    yield from _the_hash_is_not_read(reviewed)
    yield from _cost_is_said(reviewed)
    yield from _maintenance_has_a_reason_and_no_value_of_a_request(reviewed)


def is_reviewable(reviewed: Reviewed) -> bool:
    """One SELECT, INSERT, UPDATE or DELETE. The plan of a MERGE does not show what it inserts."""
    kinds = [each.stmt.WhichOneof("node") for each in reviewed.tree.stmts]
    return len(kinds) == 1 and kinds[0] in KINDS and not any(reviewed.nodes(MergeStmt))


def _columns_are_named(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    tables = {name for table in reviewed.nodes(RangeVar) for name in (table.relname, table.alias.aliasname) if name}
    tables |= {join.alias.aliasname for join in reviewed.nodes(JoinExpr) if join.alias.aliasname}
    for column in reviewed.nodes(ColumnRef):
        if any(field.HasField("a_star") for field in column.fields):
            yield reviewed.finding("must name its columns: no *", column.location)
        elif len(column.fields) == 1 and column.fields[0].string.sval in tables:
            yield reviewed.finding("must name its columns: no whole row", column.location)
    for join in reviewed.nodes(JoinExpr):
        if join.is_natural:
            yield reviewed.finding("must name its columns: no NATURAL JOIN")
    for insert in reviewed.nodes(InsertStmt):
        if not insert.cols:
            yield reviewed.finding("must name the columns it inserts", insert.relation.location)


def _no_renamed_columns_and_no_new_tables(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    for table in [*reviewed.nodes(RangeVar), *reviewed.nodes(JoinExpr)]:
        if table.alias.colnames:
            # A plan shows the new names, so t (owner, user_id) would make another column look like user_id.
            yield reviewed.finding("must not give columns of a table other names")
    for select in reviewed.nodes(SelectStmt):
        if select.HasField("into_clause"):
            yield reviewed.finding("must not make a table")


def _no_limit_without_order(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    for select in reviewed.nodes(SelectStmt):
        if is_cut(select) and not select.sort_clause:
            yield reviewed.finding("must have an ORDER BY with its LIMIT")
    top = reviewed.tree.stmts[0].stmt.select_stmt
    # A write in a WITH returns what it wrote, as one without a WITH does.
    writes = any(any(reviewed.nodes(kind)) for kind in WRITES)
    is_list = reviewed.statement.kind == "many" and reviewed.tree.stmts[0].stmt.HasField("select_stmt") and not writes
    if is_list and not top.HasField("limit_count") and not reviewed.statement.name.startswith(UNLIMITED):
        yield reviewed.finding("must have a LIMIT: a list of the service never returns all there is")


def is_cut(select: SelectStmt) -> bool:
    """Whether rows may be left out: by LIMIT, OFFSET, FETCH or DISTINCT ON."""
    limit = unwrap_node(select.limit_count) if select.HasField("limit_count") else None
    has_limit = limit is not None and not (isinstance(limit, A_Const) and limit.isnull)
    is_distinct_on = any(each.WhichOneof("node") for each in select.distinct_clause)
    return has_limit or select.HasField("limit_offset") or is_distinct_on


def _owner_is_never_changed(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    updates = [*reviewed.nodes(UpdateStmt), *reviewed.nodes(OnConflictClause)]
    for target in (target.res_target for update in updates for target in update.target_list):
        if target.name == OWNER:
            yield reviewed.finding(f"must not change {OWNER}: a row never changes its owner", target.location)


def _no_hidden_sql(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    for call in reviewed.nodes(FuncCall):
        name = call.funcname[-1].string.sval
        if name in RUN_SQL:
            yield reviewed.finding(f"must not call {name}, which runs SQL that no review sees", call.location)


def _no_offset_and_no_rows_by_number(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    for select in reviewed.nodes(SelectStmt):
        if select.HasField("limit_offset"):
            yield reviewed.finding("must not use OFFSET: the server reads every row that it skips")
    for call in reviewed.nodes(FuncCall):
        makes_rows = call.funcname[-1].string.sval == "generate_series"
        if makes_rows and not all(_is_constant(unwrap_node(argument)) for argument in call.args):
            message = "must call generate_series with constants: a request would choose how many rows it makes"
            yield reviewed.finding(message, call.location)


def _is_constant(value: Any) -> bool:
    while isinstance(value, TypeCast):
        value = unwrap_node(value.arg)
    return isinstance(value, A_Const)


def _the_hash_is_not_read(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    """Also not by a condition or an order: comparing it with many values reads it too. A write is no ColumnRef."""
    if reviewed.statement.name in READ_THE_HASH:
        return
    message = f"must not read {HASH}: {' and '.join(sorted(READ_THE_HASH))} do"
    for column in reviewed.nodes(ColumnRef):
        if any(name.string.sval == HASH for name in column.fields):
            yield reviewed.finding(message, column.location)
    for join in reviewed.nodes(JoinExpr):
        if any(name.string.sval == HASH for name in join.using_clause):
            yield reviewed.finding(message)


def _cost_is_said(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    is_of_request = reviewed.statement.name.startswith(OF_REQUESTS)
    if is_of_request and reviewed.statement.cost is None:
        yield reviewed.finding_in_header(NO_COST, "-- name:")
    elif not is_of_request and reviewed.statement.cost is not None:
        yield reviewed.finding_in_header("must not say a cost: only statements of requests are measured", "-- buffers:")


def _maintenance_has_a_reason_and_no_value_of_a_request(reviewed: Reviewed) -> Iterator[ReviewFinding]:
    statement = reviewed.statement
    if not statement.name.startswith(MAINTENANCE):
        if statement.across_owners is not None:
            yield reviewed.finding_in_header(
                f"must lie in sql/{MAINTENANCE} to work across owners", "-- across owners:"
            )
        return
    if statement.across_owners is None:
        yield reviewed.finding("must say why it works across owners: -- across owners: <why>")
    # A statement that walks along a table is given what it returned the last time.
    if not set(statement.parameters) <= set(statement.columns):
        yield reviewed.finding_in_header("must take no parameter: nothing of a request may reach it", "-- $1")
