"""Limits the reach of a statement: declared tables only, and never all rows of a table that it changes."""

import re
from collections.abc import Iterator

from service.review.catalog import Catalog
from service.review.forbidden_objects import SYSTEM_SCHEMAS
from service.review.plans import Plan, conjuncts, nodes, table_of
from service.review.reviewed import Reviewed, ReviewFinding
from service.review.static_rules import MAINTENANCE
from service.review.tables import MIGRATIONS, PATH, DeclaredTables

CONDITIONS = ("Index Cond", "Filter", "TID Cond")
JOIN_CONDITIONS = ("Join Filter", "Hash Cond", "Merge Cond")
_STRINGS = re.compile("'[^']*'")


def check(reviewed: Reviewed, plan: Plan, catalog: Catalog, declared: DeclaredTables) -> Iterator[ReviewFinding]:
    yield from _only_declared_tables(reviewed, plan, catalog, declared)
    yield from _not_all_rows(reviewed, plan, catalog, declared)


def _only_declared_tables(
    reviewed: Reviewed, plan: Plan, catalog: Catalog, declared: DeclaredTables
) -> Iterator[ReviewFinding]:
    for schema, name in sorted({table for node in nodes(plan) if (table := table_of(node)) is not None}):
        if schema in SYSTEM_SCHEMAS:
            continue  # forbidden_objects decides
        if schema != catalog.schema or catalog.declared_name(name) not in declared.tables:
            yield reviewed.finding(f"must not touch {schema}.{name}: {PATH} does not declare it")
    for node in nodes(plan):
        if node["Node Type"] == "ModifyTable" and node["Relation Name"] in declared.of_kind(MIGRATIONS):
            yield reviewed.finding(f"must not change {node['Relation Name']}, which is of the migrations")


def _not_all_rows(
    reviewed: Reviewed, plan: Plan, catalog: Catalog, declared: DeclaredTables
) -> Iterator[ReviewFinding]:
    """The plan shows it, so that WHERE TRUE is no condition. Maintenance may empty a table whose rows have no owner."""
    for node in nodes(plan):
        if node["Node Type"] != "ModifyTable" or node["Operation"] == "Insert":
            continue
        has_owner = node["Relation Name"] in declared.with_owner
        may_reach_all = not has_owner and reviewed.statement.name.startswith(MAINTENANCE)
        if not may_reach_all and not _has_a_condition(node, catalog):
            what = node["Operation"].lower()
            yield reviewed.finding(f"must not {what} all rows of {node['Relation Name']}: it needs a condition")


def _has_a_condition(changed: Plan, catalog: Catalog) -> bool:
    """Whether a condition is on a column of the changed table: `WHERE random() >= 0` chooses no rows."""
    names = "|".join(re.escape(column.name) for column in catalog.columns.values() if column.table == table_of(changed))
    own_column = re.compile(rf"\b{re.escape(changed['Alias'])}\.({names})\b")
    for node in nodes(changed):
        scans = node.get("Alias") == changed["Alias"] and node is not changed
        for key in (*(CONDITIONS if scans else ()), *JOIN_CONDITIONS):
            for part in conjuncts(node[key]) if key in node else ():
                if not part.endswith(" IS NOT NULL)") and own_column.search(_STRINGS.sub("", part)):
                    return True
    return False
