"""Privileges that a role lacks for the statements."""

from collections.abc import Iterable
from typing import NamedTuple

from service.db.admin_session import AdminConnection, rows
from service.db.statements import statement

LIST_MISSING_PRIVILEGES = statement("review/list_missing_privileges", "many")


class MissingPrivileges(NamedTuple):
    role_name: str
    privileges: str  # SELECT on tasks; INSERT, SELECT on users


def missing(connection: AdminConnection, needed: Iterable[tuple[str, str]]) -> MissingPrivileges | None:
    """Which of these privileges, each with its table, the role of this session lacks; None: it has all."""
    wanted = sorted(set(needed))
    privileges, tables = [privilege for privilege, _ in wanted], [table for _, table in wanted]
    found = rows(connection, LIST_MISSING_PRIVILEGES, privileges=privileges, table_names=tables)
    if not found:
        return None
    return MissingPrivileges(found[0]["role_name"], listed((row["privilege"], row["object_name"]) for row in found))


def listed(privileges: Iterable[tuple[str, str]]) -> str:
    """Privileges, each with its object, as one text, object by object."""
    by_object: dict[str, list[str]] = {}
    for privilege, name in privileges:
        by_object.setdefault(name, []).append(privilege)
    return "; ".join(f"{', '.join(each)} on {name}" for name, each in by_object.items())
