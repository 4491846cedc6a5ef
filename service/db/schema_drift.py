"""Compares a database with what the migrations make: edited files, and differences of the schema.

migrations/schema.txt lists the schema that all migrations together make. `make generated` writes it."""

from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, TypeAlias

import psycopg

from service.db import checksums, migrations
from service.db.admin_session import AdminConnection, CommandError, NotPermittedError, connected, one_line, rows
from service.db.concurrent_migrations import SET_TIME_LIMITS
from service.db.statements import statement

DESCRIPTIONS = (
    ("table", statement("migrations/describe_tables", "many")),
    ("column", statement("migrations/describe_columns", "many")),
    ("domain", statement("migrations/describe_domains", "many")),
    ("constraint", statement("migrations/describe_constraints", "many")),
    ("constraint", statement("migrations/describe_domain_constraints", "many")),
    ("index", statement("migrations/describe_indexes", "many")),
    ("trigger", statement("migrations/describe_triggers", "many")),
)

LOCK_TIMEOUT, STATEMENT_TIMEOUT = "1s", "5s"  # for the comparison: a start must not wait behind a lock
NOT_VALID = " NOT VALID"

Key: TypeAlias = tuple[str, str, str]  # table, kind, name


class Drift(NamedTuple):
    edited: list[str]  # migrations whose file is not the one that was applied
    without_checksum: list[str]
    differences: list[str]  # a line each
    extra_indexes: list[str]  # a line each; harmless, so they are told apart


def of_database(url: str) -> Drift:
    """The schema is compared only if all migrations of this code, and no others, are applied."""
    with connected(url) as connection:
        try:
            with connection.transaction():
                rows(connection, SET_TIME_LIMITS, lock_timeout=LOCK_TIMEOUT, statement_timeout=STATEMENT_TIMEOUT,
                     is_local=True)  # fmt: skip
                return _drift(connection)
        except psycopg.Error as error:
            of_rights = isinstance(error, psycopg.errors.InsufficientPrivilege)
            text = f"the schema was not compared with the migrations: {one_line(error)}"
            raise (NotPermittedError if of_rights else CommandError)(text) from None


def _drift(connection: AdminConnection) -> Drift:
    files = migrations.applied_files(connection)
    kept = checksums.kept(connection) if migrations.has_checksums(connection) else {}
    edited = [each for each, file in files.items() if each in kept and kept[each] != checksums.of_file(file)]
    without_checksum = [each for each in files if each not in kept]
    if not migrations.is_exactly_applied(connection):
        return Drift(edited, without_checksum, [], [])
    made = wanted()
    found = described(connection, sorted({table for table, _, _ in made}))
    lines = list(_compare(made, found))
    differences = [line for line, is_extra_index in lines if not is_extra_index]
    extra_indexes = [line for line, is_extra_index in lines if is_extra_index]
    return Drift(edited, without_checksum, differences, extra_indexes)


def _compare(wanted: Mapping[Key, str], found: Mapping[Key, str]) -> Iterator[tuple[str, bool]]:
    """Each difference, and whether it is an index more, which changes no result. A unique one refuses rows."""
    for key in sorted(wanted.keys() | found.keys()):
        table, kind, name = key
        object_name = name if kind == "table" else f"{name} of {table}"
        if key not in found:
            if kind == "table" or (table, "table", table) in found:
                yield f"{kind} {object_name} is missing; the migrations make: {_shown(wanted[key])}", False
        elif key not in wanted:
            is_harmless = kind == "index" and "UNIQUE" not in found[key].split()[:2]
            yield f"extra {kind} {object_name}: {found[key]}", is_harmless
        elif found[key] not in (wanted[key], wanted[key].removesuffix(NOT_VALID)):  # one that was validated is fine
            yield f"{kind} {object_name} is: {_shown(found[key])}; the migrations make: {_shown(wanted[key])}", False


def _shown(definition: str) -> str:
    return definition or "an ordinary table"


def described(connection: AdminConnection, table_names: list[str]) -> dict[Key, str]:
    """The catalogue's descriptions: table by table, and in each the kinds in the order of DESCRIPTIONS."""
    found = {
        (row["table_name"], kind, row["object_name"]): _printable(row["definition"])
        for kind, description in DESCRIPTIONS
        for row in rows(connection, description, table_names=table_names)
    }
    return {key: found[key] for key in sorted(found, key=itemgetter(0))}


def written(schema: Mapping[Key, str]) -> str:
    """A line for each object, those of a table indented below it."""
    indents = {"table": ""}
    lines = (f"{indents.get(kind, '  ')}{kind} {name} {text}" for (_, kind, name), text in schema.items())
    return "".join(f"{line.rstrip()}\n" for line in lines)


def read(text: str) -> dict[Key, str]:
    """The reverse of `written`. Lines that begin with # are comments."""
    found: dict[Key, str] = {}
    table = ""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            kind, name, definition = [*line.split(maxsplit=2), ""][:3]
            table = name if kind == "table" else table
            found[table, kind, name] = definition
    return found


def wanted() -> dict[Key, str]:
    """The schema after all migrations of this code."""
    return read(schema_file().read_text(encoding="utf-8"))


def schema_file() -> Path:
    return migrations.MIGRATIONS / "schema.txt"


def _printable(definition: str) -> str:
    """White space of other kinds, as in the checks of 0002, is spelled out."""
    return "".join(each if each.isascii() and each.isprintable() else f"\\u{ord(each):04x}" for each in definition)
