"""The owner rule, checked on the server's plan: the plan shows what would run, however the text is written."""

import re
from collections.abc import Iterator
from typing import Any

from postgast import unwrap_node
from postgast.pg_query_pb2 import InsertStmt, OnConflictClause, ParamRef, RangeVar, TypeCast

from service.review.catalog import OWNER, Catalog, Table
from service.review.plans import Plan, aliases, conjuncts, nodes, table_of
from service.review.reviewed import Reviewed, ReviewFinding
from service.review.static_rules import MAINTENANCE

FIRST_PARAMETER = (OWNER, "uuid")
USERS = "users"
IDENTITY = {"id", "password_hash", "issuer", "subject"}
VALUES = '"*VALUES*".'
INDEX_SCANS = {"Index Scan", "Index Only Scan"}


def check(reviewed: Reviewed, plan: Plan, catalog: Catalog) -> Iterator[ReviewFinding]:
    if reviewed.statement.name.startswith(MAINTENANCE):
        return
    yield from _plan_shows_every_table(reviewed, plan, catalog)
    for node in nodes(plan):
        table = table_of(node)
        if table in catalog.owner_position:
            yield from _owned(reviewed, node, table, catalog)
        elif table and table[1] == USERS:
            yield from _of_one_user(reviewed, node, catalog)
    yield from _changed_users(reviewed, plan)


def equals_first(node: Plan, column: str) -> set[str]:
    """The conditions that bind the column to $1. `= ANY(ARRAY[$1])` is one value too."""
    return {f"({alias}.{column} {equals})" for alias in aliases(node) for equals in ("= $1", "= ANY (ARRAY[$1])")}


def _plan_shows_every_table(reviewed: Reviewed, plan: Plan, catalog: Catalog) -> Iterator[ReviewFinding]:
    planned = {
        (table[0], catalog.declared_name(table[1])) for node in nodes(plan) if (table := table_of(node)) is not None
    }
    owned = {table[1]: table for table in catalog.owner_position}
    for named in reviewed.nodes(RangeVar):
        if named.relname in owned and owned[named.relname] not in planned:
            yield reviewed.finding(f"the plan does not show how {named.relname} is read", named.location)
    # Before version 17 a plan also shows the result of a sub-select that runs first as $0, $1, ...
    for node in nodes(plan):
        for number in re.findall(r"\$(\d+)", node.get("Subplan Name", "")):
            if 1 <= int(number) <= len(reviewed.statement.parameters):
                yield reviewed.finding(f"a sub-select shows as ${number}, like a parameter: write it as a join")


def _owned(reviewed: Reviewed, node: Plan, table: Table, catalog: Catalog) -> Iterator[ReviewFinding]:
    if reviewed.statement.parameters[:1] != (FIRST_PARAMETER,):
        yield reviewed.finding(f"touches {table[1]}: its header must list {OWNER} uuid as $1")
    if node["Node Type"] != "ModifyTable":
        if not _is_bound(node, table, catalog):
            wanted = f"{node['Alias']}.{OWNER} = $1"
            yield reviewed.finding(f"{table[1]} must be bound by {wanted}: {_shown(node)}", _offset(reviewed, node))
    elif node["Operation"] == "Insert":
        yield from _inserted(reviewed, node, table, catalog)


def _is_bound(node: Plan, table: Table, catalog: Catalog) -> bool:
    wanted = equals_first(node, OWNER)
    is_filtered = not wanted.isdisjoint(conjuncts(node.get("Filter", "()")))
    if is_filtered and (not catalog.starts_with_owner(table) or _is_one_row(node, catalog)):
        return True
    return node["Node Type"] in INDEX_SCANS and not wanted.isdisjoint(conjuncts(node.get("Index Cond", "()")))


def _is_one_row(node: Plan, catalog: Catalog) -> bool:
    """Whether the scan finds one row, by all columns of a unique index."""
    index = catalog.index(node["Schema"], node.get("Index Name", ""))
    given = conjuncts(node.get("Index Cond", "()"))
    return (
        index is not None
        and index.is_unique
        and all(
            any(each.startswith(f"({alias}.{name} = ") for each in given for alias in aliases(node))
            for name in index.column_names
        )
    )


def _inserted(reviewed: Reviewed, node: Plan, table: Table, catalog: Catalog) -> Iterator[ReviewFinding]:
    offset = _offset(reviewed, node)
    [source] = [child for child in node["Plans"] if child["Parent Relationship"] == "Outer"]
    # Some plan nodes have no Output.
    given = source["Output"][catalog.owner_position[table] - 1] if "Output" in source else "what the plan does not show"
    if given != "$1" and not (given.startswith(VALUES) and _each_row_has_the_owner(reviewed, table)):
        yield reviewed.finding(f"must insert $1 into {OWNER} of {table[1]}, not {given}", offset)
    for name in node.get("Conflict Arbiter Indexes", []):
        index = catalog.index(table[0], name)
        if index is None or OWNER not in index.column_names:
            yield reviewed.finding(f"the conflict on {name} could be with a row of another owner", offset)


def _each_row_has_the_owner(reviewed: Reviewed, table: Table) -> bool:
    """Whether each row of VALUES has $1 as user_id. A plan does not show the rows of a VALUES with several."""
    inserts = [insert for insert in reviewed.nodes(InsertStmt) if insert.relation.relname == table[1]]
    for insert in inserts:
        place = [column.res_target.name for column in insert.cols].index(OWNER)
        given = [unwrap_node(row.list.items[place]) for row in insert.select_stmt.select_stmt.values_lists]
        if not given or not all(_is_first_parameter(value) for value in given):
            return False
    return bool(inserts)


def _is_first_parameter(value: Any) -> bool:
    while isinstance(value, TypeCast):
        value = unwrap_node(value.arg)
    return isinstance(value, ParamRef) and value.number == 1


def _of_one_user(reviewed: Reviewed, node: Plan, catalog: Catalog) -> Iterator[ReviewFinding]:
    """A read of users must be bound to a unique key: each column to a parameter, and `id` to $1, the token's user."""
    if node["Node Type"] == "ModifyTable":
        return
    index = catalog.index(node["Schema"], node.get("Index Name", ""))
    columns = index.column_names if index and index.is_unique and node["Node Type"] in INDEX_SCANS else [None]
    given = conjuncts(node.get("Index Cond", "()"))
    parameters = range(1, len(reviewed.statement.parameters) + 1)
    for column in columns:
        wanted = {f"({alias}.{column} = ${number})" for alias in aliases(node) for number in parameters}
        if column == "id":
            wanted = equals_first(node, "id")
        if wanted.isdisjoint(given):
            yield reviewed.finding(f"users must be bound to a unique key: {_shown(node)}", _offset(reviewed, node))
            return


def _changed_users(reviewed: Reviewed, plan: Plan) -> Iterator[ReviewFinding]:
    """An UPDATE or DELETE of users must be bound to the token's user. ON CONFLICT must not change an identity."""
    for node in nodes(plan):
        if node["Node Type"] != "ModifyTable" or node["Relation Name"] != USERS:
            continue
        if node["Operation"] in {"Update", "Delete"}:
            wanted = equals_first(node, "id")
            scans = [scan for scan in nodes(node) if scan.get("Alias") == node["Alias"] and scan is not node]
            if not any(wanted & set(conjuncts(scan.get("Index Cond", "()"))) for scan in scans):
                yield reviewed.finding("users must be changed by users.id = $1", _offset(reviewed, node))
    for conflict in reviewed.nodes(OnConflictClause):
        for target in conflict.target_list:
            if target.res_target.name in IDENTITY:
                message = f"must not change {target.res_target.name} of a row that it did not make"
                yield reviewed.finding(message, target.res_target.location)


def _shown(node: Plan) -> str:
    conditions = [f"{key}: {node[key]}" for key in ("Index Cond", "Recheck Cond", "Filter") if key in node]
    return ", ".join([node["Node Type"], *conditions])


def _offset(reviewed: Reviewed, node: Plan) -> int | None:
    """The offset of the table's name in the text."""
    named = (table for table in reviewed.nodes(RangeVar) if table.relname == node["Relation Name"])
    return next((table.location for table in named), None)
