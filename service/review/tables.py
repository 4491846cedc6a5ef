"""sql/tables.md: each table is owned, a child of an owned table, or shared. Compared with the database."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from service.review.catalog import OWNER, Catalog
from service.review.finding import ReviewFinding

FILE = "tables.md"
PATH = f"sql/{FILE}"
ACCOUNT, OWNED, SHARED, MIGRATIONS, CHILD = "account", "owned", "shared", "migrations", "child of "
KEYS = {ACCOUNT: ["id"], OWNED: [OWNER], SHARED: [], MIGRATIONS: []}  # the key that each kind must name
TABLES, TRIGGERS = ["table", "kind", "key", "why"], ["trigger or rule", "table", "why"]


class Table(NamedTuple):
    name: str
    kind: str
    key: list[str]
    why: str
    line: int

    @property
    def parent(self) -> str | None:
        return self.kind.removeprefix(CHILD) if self.kind.startswith(CHILD) else None


@dataclass(frozen=True)
class DeclaredTables:
    tables: dict[str, Table] = field(default_factory=dict)
    triggers: dict[tuple[str, str], int] = field(default_factory=dict)  # name and table, with the line

    def of_kind(self, *kinds: str) -> set[str]:
        return {table.name for table in self.tables.values() if table.kind in kinds}

    @property
    def children(self) -> dict[str, Table]:
        return {table.name: table for table in self.tables.values() if table.parent is not None}

    @property
    def with_owner(self) -> set[str]:
        """The tables whose rows belong to a user."""
        return self.of_kind(ACCOUNT, OWNED) | set(self.children)


def read(root: Path) -> tuple[DeclaredTables, list[ReviewFinding]]:
    file = root / FILE
    declared, findings = DeclaredTables(), list[ReviewFinding]()
    if not file.is_file():
        return declared, [ReviewFinding(PATH, 1, "is missing: it declares what the rows of each table belong to")]
    header: list[str] = []
    for line, text in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        cells = [cell.strip() for cell in text.strip().strip("|").split("|")] if text.startswith("|") else []
        if not cells or cells in (TABLES, TRIGGERS):
            header = cells
        elif header and not set(text) <= set("|-: "):
            findings += [ReviewFinding(PATH, line, why) for why in _add(declared, header, cells, line)]
    return declared, findings + list(_parents_are_declared(declared))


def _add(declared: DeclaredTables, header: list[str], cells: list[str], line: int) -> Iterator[str]:
    if len(cells) != len(header) or not cells[-1]:
        yield f"must have a value for each of: {', '.join(header)}"
        return
    name, second, *rest = [cell.replace("`", "") for cell in cells]
    if header == TRIGGERS:
        declared.triggers[name, second] = line
        return
    key = re.findall(r"\w+", rest[0])
    if name in declared.tables:
        yield f"declares {name} twice"
    elif second not in KEYS and not second.startswith(CHILD):
        yield f"{name} must be {', '.join(KEYS)} or '{CHILD}' a table, not {second}"
    elif second in KEYS and key != KEYS[second]:
        yield f"the key of {name}, which is {second}, must be {', '.join(KEYS[second]) or 'empty'}"
    declared.tables.setdefault(name, Table(name, second, key, rest[-1], line))


def _parents_are_declared(declared: DeclaredTables) -> Iterator[ReviewFinding]:
    """The chain of parents ends at an owned table or at the accounts."""
    for table in declared.children.values():
        seen, above = {table.name}, table
        while above.parent in declared.children and above.parent not in seen:
            seen.add(above.parent)
            above = declared.children[above.parent]
        if above.parent not in declared.of_kind(ACCOUNT, OWNED):
            yield ReviewFinding(
                PATH, table.line, f"{table.name} must be the child of an owned table, not of {table.parent}"
            )


def check(declared: DeclaredTables, catalog: Catalog) -> Iterator[ReviewFinding]:
    yield from _objects(declared, catalog)
    for table in declared.tables.values():
        for why in _table(table, declared, catalog):
            yield ReviewFinding(PATH, table.line, why)


def _objects(declared: DeclaredTables, catalog: Catalog) -> Iterator[ReviewFinding]:
    tables = {table for kind, _, table in catalog.objects if kind == "table"}
    for name in sorted(tables - set(declared.tables)):
        yield ReviewFinding(
            PATH, 1, f"must declare the table {name}: owned, child of an owned table, or shared, and why"
        )
    for table in declared.tables.values():
        if table.name not in tables and table.kind != MIGRATIONS:
            yield ReviewFinding(PATH, table.line, f"declares {table.name}, which is no table")
    hidden = [each for each in catalog.objects if each.kind in {"trigger", "rule"}]
    present = {(name, table) for _, name, table in hidden}
    for kind, name, table_name in hidden:
        if (name, table_name) not in declared.triggers:
            message = f"must declare the {kind} {name} of {table_name}: statements do not show what it does"
            yield ReviewFinding(PATH, 1, message)
    for (name, table_name), line in declared.triggers.items():
        if (name, table_name) not in present:
            yield ReviewFinding(PATH, line, f"declares {name} of {table_name}, which is no trigger and no rule")


def _table(table: Table, declared: DeclaredTables, catalog: Catalog) -> Iterator[str]:
    here = (catalog.schema, table.name)
    columns = {column.name for column in catalog.columns.values() if column.table == here}
    if not columns:
        return
    if table.kind == OWNED:
        if OWNER not in columns:
            yield f"{table.name} is declared as owned, and has no {OWNER}"
        elif not catalog.starts_with_owner(here):
            yield f"{table.name} must have an index that starts with {OWNER}"
    elif OWNER in columns:
        yield f"{table.name} has {OWNER}: it is owned"
    elif table.parent is not None and not catalog.parent_columns(table.name, table.key, table.parent):
        yield f"{table.name} must have a foreign key of {', '.join(table.key) or 'no column'} to {table.parent}"
    elif table.kind == SHARED:
        yield from _shared(table, declared, catalog)


def _shared(table: Table, declared: DeclaredTables, catalog: Catalog) -> Iterator[str]:
    for foreign_key in catalog.foreign_keys:
        if foreign_key.table_name == table.name and foreign_key.parent_name in declared.with_owner:
            parent = foreign_key.parent_name
            yield f"{table.name} refers to {parent}: it is owned, or a child of {parent}"
