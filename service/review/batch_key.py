"""Proves the columns by which a batch finds its rows: user_id and id are an owned table's own columns.

A statement could return another column under one of these names, and give a request the rows of another user.
"""

from collections.abc import Iterator

from service.db.statements import OF_TASK
from service.review.catalog import OWNER, Catalog, Column, Table
from service.review.owner import USERS
from service.review.plans import Plan, aliases, conjuncts, nodes, table_of
from service.review.prepared import ServerDescription
from service.review.reviewed import Reviewed, ReviewFinding

KEY_COLUMN = {OWNER: "$1", "id": "$2"}
# Nodes whose output has the same columns, at the same places, as that of their children.
PASS_ON = {"Append", "Merge Append", "Limit", "Sort", "Incremental Sort", "Unique", "LockRows"}
CHILDREN = {"Outer", "Member"}


def check(reviewed: Reviewed, plan: Plan, described: ServerDescription, catalog: Catalog) -> Iterator[ReviewFinding]:
    key = reviewed.statement.key
    if key is None:
        return
    owners = _origins(OWNER, plan, described, catalog)
    if not owners or not all(_is_the_owner(owner, plan, catalog) for owner in owners):
        yield _finding(reviewed, OWNER, owners)
    elif key is OF_TASK:
        ids = _origins("id", plan, described, catalog)
        if {column.table for column in ids} != {column.table for column in owners} or not all(
            column.name == "id" and _is_bound(column.table, "id", plan) for column in ids
        ):
            yield _finding(reviewed, "id", ids)


def _finding(reviewed: Reviewed, name: str, found: set[Column]) -> ReviewFinding:
    shown = ", ".join(sorted(f"{column.table[1]}.{column.name}" for column in found)) or "not a table's column"
    message = f"must return as {name} the {name} of an owned table that is bound by {KEY_COLUMN[name]}: a batch finds"
    return reviewed.finding_in_header(f"{message} its rows by it, and it is {shown}", f"-- -> {name} ", "-- -> as ")


def _is_the_owner(column: Column, plan: Plan, catalog: Catalog) -> bool:
    """The owner rule binds each scan of an owned table to $1, and each insert. `users` has other unique keys too."""
    if column.table in catalog.owner_position:
        return column.name == OWNER
    return column.table[1] == USERS and column.name == "id" and _is_bound(column.table, "id", plan, "$1")


def _is_bound(table: Table, column: str, plan: Plan, parameter: str = "$2") -> bool:
    """Whether each scan of the table has column = parameter as a condition, and no row of it is inserted."""
    found = [node for node in nodes(plan) if table_of(node) == table]
    scans = [node for node in found if node["Node Type"] != "ModifyTable"]
    return (
        bool(scans)
        and not any(node.get("Operation") == "Insert" for node in found)
        and all(
            not {f"({alias}.{column} = {parameter})" for alias in aliases(node)}.isdisjoint(
                [*conjuncts(node.get("Index Cond", "()")), *conjuncts(node.get("Filter", "()"))]
            )
            for node in scans
        )
    )


def _origins(name: str, plan: Plan, described: ServerDescription, catalog: Catalog) -> set[Column]:
    """The table's column that an output is, or of a UNION the column of each of its parts. Empty if one is not."""
    places = [place for place, output in enumerate(described.columns) if output.name == name]
    if len(places) != 1:
        return set()  # of two columns of one name the driver would choose one
    [place] = places
    origin = described.columns[place].origin
    if origin is not None:
        return {origin}
    found = [_column_at(place, part, catalog) for part in _parts(plan)]
    return {column for column in found if column is not None} if None not in found else set()


def _parts(node: Plan) -> Iterator[Plan]:
    """The parts of a UNION, for which the server describes no origin. Every part must have the column at its place."""
    if node["Node Type"] not in PASS_ON:
        yield node
        return
    for child in node["Plans"]:
        if child["Parent Relationship"] in CHILDREN:
            yield from _parts(child)


def _column_at(place: int, part: Plan, catalog: Catalog) -> Column | None:
    output = part.get("Output", [])
    shown = {
        f"{alias}.{column.name}": column
        for node in nodes(part)
        for column in catalog.columns.values()
        if column.table == table_of(node)
        for alias in aliases(node)
    }
    return shown.get(output[place]) if place < len(output) else None
