"""The `index:` line of a header names the indexes that the generic plan uses."""

from collections.abc import Iterator

from postgast.pg_query_pb2 import SortBy

from service.review.catalog import Catalog
from service.review.forbidden_objects import ABOUT_THE_DATABASE
from service.review.plans import Plan, aliases, conjuncts, default_plan, nodes
from service.review.reviewed import Reviewed, ReviewFinding
from service.review.static_rules import MAINTENANCE

NONE = "none"


def check(reviewed: Reviewed, plan: Plan, catalog: Catalog) -> Iterator[ReviewFinding]:
    """A small table is read as a whole by default, and by an index where that is ruled out: both lines are true. So is
    a line with another index where only the sizes of the two decide. Statements about the catalog and those of
    maintenance are left out: their plans change with the number of rows."""
    if reviewed.statement.name.startswith((*ABOUT_THE_DATABASE, MAINTENANCE)):
        return
    named = set(reviewed.statement.index.split(", ")) - {NONE}
    used = set(_used(plan))
    if named in (used, set(_used(default_plan(catalog.connection, reviewed.statement) or plan))):
        return
    if not any(reviewed.nodes(SortBy)) and _is_as_good(named - used, used - named, plan, catalog):
        return
    message = f"uses {', '.join(_used(plan)) or NONE}, and its header says {reviewed.statement.index}"
    yield reviewed.finding_in_header(message, "-- index:")


def _used(plan: Plan) -> dict[str, Plan]:
    """The scans by the names of their indexes."""
    return {node["Index Name"]: node for node in nodes(plan) if "Index Name" in node}


def _is_as_good(named: set[str], used: set[str], plan: Plan, catalog: Catalog) -> bool:
    """Whether each named index could replace a used one: as many of its first columns are bound by `=`."""
    scans = _used(plan)
    replaced = [
        (one, other)
        for one in named
        for other in used
        if (index := catalog.index(scans[other]["Schema"], one)) is not None
        and index.table == (scans[other]["Schema"], scans[other]["Relation Name"])
        and not index.is_partial
        and _bound_columns(one, scans[other], catalog) >= _bound_columns(other, scans[other], catalog)
    ]
    return {one for one, _ in replaced} == named and {other for _, other in replaced} == used


def _bound_columns(index_name: str, scan: Plan, catalog: Catalog) -> int:
    index = catalog.index(scan["Schema"], index_name)
    conditions = [*conjuncts(scan.get("Index Cond", "()")), *conjuncts(scan.get("Filter", "()"))]
    count = 0
    for column in index.column_names if index is not None else []:
        if not any(each.startswith(f"({alias}.{column} = ") for each in conditions for alias in aliases(scan)):
            break
        count += 1
    return count
