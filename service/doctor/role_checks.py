"""The role of DATABASE_URL: what it may do, and the time limits that belong to it."""

from collections.abc import Iterator

from service.db.admin_session import rows
from service.db.connect import LOCK_TIMEOUT_SETTING, LONG_LOCK_TIMEOUT_MS
from service.db.statements import names_of_requests, statement
from service.doctor.examined import ExaminedDatabase, our_tables
from service.doctor.finding import Finding, error, warning
from service.domain.cleanup import EXPIRED_ROWS
from service.review.golden_plans import golden, needed_privileges
from service.review.privileges import listed, missing

LIST_EXCESS = statement("doctor/list_excess_privileges", "many")

MIGRATE_GRANTS = "python -m service migrate, as the owner of the tables, grants them"
RUNTIME = "todo_runtime"
APPLY_ROLES = "psql DATABASE -v ON_ERROR_STOP=1 -f sql/roles.sql"


def privileges(database: ExaminedDatabase) -> Iterator[Finding]:
    """Asked when the tables are there. The running service also sends the statements that delete what is expired."""
    names_sent = [*names_of_requests(), *(walk.statement.name for walk in EXPIRED_ROWS.values())]
    needed = [each for sent in names_sent for each in needed_privileges(golden(sent))]
    if (lacking := missing(database.connection, needed)) is not None:
        yield error(
            "database/privileges", f"the role {lacking.role_name} lacks {lacking.privileges}",
            "what needs them fails", MIGRATE_GRANTS,
        )  # fmt: skip
    excess: dict[str, list[tuple[str, str]]] = {}
    for row in rows(database.connection, LIST_EXCESS, table_names=our_tables()):
        excess.setdefault(row["role_name"], []).append((row["privilege"], row["object_name"]))
    for role_name, found in excess.items():
        names = ", ".join(sorted({name for _, name in found}))
        yield warning(
            "database/excess-privileges", f"{role_name} has {listed(found)}",
            "every role of the server can use it" if role_name == "PUBLIC" else "the service needs none of it",
            f"REVOKE it: REVOKE ... ON {names} FROM {role_name}, and {APPLY_ROLES}",
        )  # fmt: skip


def limits(database: ExaminedDatabase) -> Iterator[Finding]:
    server, role = database.server, database.server["role_name"]
    if server["has_full_rights"] and not database.is_embedded:
        yield warning(
            "database/superuser", f"the service connects as {role}, a superuser",
            "a fault in it can reach every database of the server", f"{APPLY_ROLES}, then connect as {RUNTIME}",
        )  # fmt: skip
    days = server["days_valid"]
    if days is not None and days < database.thresholds.days_valid:
        yield warning(
            "database/password-expires", f"the password of {role} is valid for {days:.0f} more days",
            "then the service gets no new connection", f"ALTER ROLE {role} VALID UNTIL 'infinity'",
        )  # fmt: skip
    allowed_ms = database.settings.statement_timeout * 1000
    if 0 < server["statement_timeout_ms"] < allowed_ms:
        yield warning(
            "database/statement-timeout",
            f"the server ends the statements of {role} after {server['statement_timeout_ms']} ms",
            f"STATEMENT_TIMEOUT={database.settings.statement_timeout:g} has no effect: slow requests fail earlier",
            f"ALTER ROLE {role} SET statement_timeout = '{2 * database.settings.statement_timeout:g}s'",
        )  # fmt: skip
    lock_ms = server["lock_timeout_ms"]
    if (database.has_pooler or role == RUNTIME) and not 0 < lock_ms <= LONG_LOCK_TIMEOUT_MS:
        yield warning(
            "database/lock-timeout", f"lock_timeout of {role} is {f'{lock_ms} ms' if lock_ms else 'not set'}",
            "a request that waits for a lock keeps its connection, and others wait with it",
            f"ALTER ROLE {role} SET lock_timeout = '{LOCK_TIMEOUT_SETTING['lock_timeout']}'",
        )  # fmt: skip
    unset = [name for name in ("statement_timeout", "transaction_timeout") if not server[f"{name}_ms"]]
    if role == RUNTIME and unset:
        yield warning(
            "database/role-limits", f"{role} has no time limit on {' and '.join(unset).replace('_timeout', 's')}",
            "a session whose client is gone keeps its locks", APPLY_ROLES,
        )  # fmt: skip
