"""A child's rows belong to a row of its parent: each scan is bound to one by the foreign key that tables.md names."""

from collections.abc import Iterator

from service.review.catalog import Catalog
from service.review.owner import FIRST_PARAMETER
from service.review.plans import Plan, aliases, conjuncts, nodes
from service.review.reviewed import Reviewed, ReviewFinding
from service.review.static_rules import MAINTENANCE
from service.review.tables import ACCOUNT, DeclaredTables

JOINED_BY_ALL = {"Inner", "Semi"}
PASS_ON = {"Materialize", "Memoize", "Sort", "Limit", "LockRows"}


def check(reviewed: Reviewed, plan: Plan, catalog: Catalog, declared: DeclaredTables) -> Iterator[ReviewFinding]:
    if reviewed.statement.name.startswith(MAINTENANCE):
        return
    for node in nodes(plan):
        child = declared.children.get(node.get("Relation Name", ""))
        if child is None or child.parent is None or node.get("Operation") in {"Update", "Delete"}:
            continue  # an UPDATE or DELETE has another node that finds its rows
        columns = catalog.parent_columns(child.name, child.key, child.parent)
        wanted = list(_values_of_a_parent(node, child.parent, columns, plan))
        if child.parent in declared.of_kind(ACCOUNT) and reviewed.statement.parameters[:1] == (FIRST_PARAMETER,):
            wanted.append([{"$1"} for _ in columns])
        given = _given(node, columns, catalog)
        if not columns or not any(all(map(set.intersection, given, row)) for row in wanted):
            message = f"{child.name} must be bound by its {', '.join(child.key)} to a row of {child.parent}"
            yield reviewed.finding(f"{message}, in a join with an index")


def _values_of_a_parent(node: Plan, parent: str, columns: dict[str, str], plan: Plan) -> Iterator[list[set[str]]]:
    """The values that bind the key, for each scan of the parent: the parent's columns, or the values of these in a scan
    that is joined with this one. The server replaces a column by the parameter that it is equal to."""
    for scan in nodes(plan):
        if scan.get("Relation Name") == parent and scan["Node Type"] != "ModifyTable":
            yield [
                {f"{alias}.{name}" for alias in aliases(scan)}
                | (_equal_to(scan, name) if _are_joined(scan, node, plan) else set())
                for name in columns.values()
            ]


def _are_joined(one: Plan, other: Plan, plan: Plan) -> bool:
    return any(
        any(each is one for each in group) and any(each is other for each in group)
        for join in nodes(plan)
        if (group := list(_joined(join)))
    )


def _joined(node: Plan) -> Iterator[Plan]:
    """The scans below a join that each of its rows has a row of."""
    if node["Node Type"] not in PASS_ON and node.get("Join Type") not in JOINED_BY_ALL:
        yield node
        return
    for child in node.get("Plans", []):
        if child["Parent Relationship"] in {"Outer", "Inner"}:
            yield from _joined(child)


def _equal_to(scan: Plan, column: str) -> set[str]:
    """The values that a condition of the scan makes the column equal to."""
    conditions = [*conjuncts(scan.get("Index Cond", "()")), *conjuncts(scan.get("Filter", "()"))]
    starts = tuple(f"({alias}.{column} = " for alias in aliases(scan))
    return {each.partition(" = ")[2][:-1] for each in conditions if each.startswith(starts)}


def _given(node: Plan, columns: dict[str, str], catalog: Catalog) -> list[set[str]]:
    """The values of each column of the key: those of an INSERT, or of the conditions of a scan."""
    if node["Node Type"] != "ModifyTable":
        return [
            {f"{alias}.{column}" for alias in aliases(node)} | _equal_to(node, column) for column in columns
        ]  # itself, for a parent that is found by it
    [source] = [each for each in node["Plans"] if each["Parent Relationship"] == "Outer"]
    table = (node["Schema"], node["Relation Name"])
    if "Output" not in source:
        return [set() for _ in columns]
    return [{source["Output"][catalog.position(table, column) - 1]} for column in columns]
