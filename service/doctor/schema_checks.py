"""The schema: what is applied, in which sequence, and what differs from what the migrations make."""

from collections.abc import Iterator

from service.db import migrations, schema_drift
from service.db.admin_session import CommandError, connected, rows
from service.db.statements import statement
from service.doctor import role_checks
from service.doctor.examined import ExaminedDatabase, our_tables
from service.doctor.finding import Finding, error, warning

GET_HISTORY_ID = statement("doctor/get_history_id", "one")
LIST_BROKEN_INDEXES = statement("doctor/list_broken_indexes", "many")
LIST_TABLES_OF_OTHERS = statement("doctor/list_tables_of_others", "many")

MIGRATE = "python -m service migrate"
INVALID = " INVALID"  # in the description of an index; it has a separate finding


def check(database: ExaminedDatabase) -> Iterator[Finding]:
    [session] = rows(database.connection, migrations.GET_SCHEMA)
    if session["schema_name"] is None:
        role = session["role_name"]
        yield error(
            "database/privileges", f"the role {role} may use no schema of its search_path",
            "the service does not start", f"{role_checks.APPLY_ROLES}, or: ALTER ROLE {role} RESET search_path",
        )  # fmt: skip
        return
    known = set(migrations.known())
    applied = {each.migration_id for each in migrations.applied_on(database.connection)}
    pending, unknown = sorted(known - applied), sorted(applied - known)
    if pending:
        yield error(
            "database/schema-behind", f"not applied: {', '.join(pending)}", "the service does not start", MIGRATE
        )
    newest = max(applied, default="")
    skipped = [each for each in pending if each < newest]
    inserted = [each for each in unknown if each < max(known)]
    if skipped or inserted:
        wrong = [f"{each} is not applied, and newer ones are" for each in skipped]
        wrong += [f"{each} is applied, and this release does not have it" for each in inserted]
        yield warning(
            "database/migration-sequence", ", ".join(wrong), "the database is of no release",
            "compare migrations/ with the releases that were deployed",
        )  # fmt: skip
    for row in rows(database.connection, LIST_BROKEN_INDEXES, table_names=our_tables()):
        yield warning(
            "database/broken-index", f"the index {row['index_name']} of {row['table_name']} is invalid",
            "no query uses it, and every write pays for it", f"{row['drop_command']}, then {MIGRATE}",
        )  # fmt: skip
    if not pending:
        yield from _drift(database)
        yield from role_checks.privileges(database)
        yield from _direct(database)


def _drift(database: ExaminedDatabase) -> Iterator[Finding]:
    drift = schema_drift.of_database(database.settings.dsn)
    for migration_id in drift.edited:
        yield warning(
            "database/edited-migration", f"the file of {migration_id} was edited after it was applied",
            "this database differs from one that is made anew", "restore the file, and put the change in a new one",
        )  # fmt: skip
    for line in drift.differences:
        if INVALID not in line:
            yield warning(
                "database/schema-differs", line, "statements may fail, or read more than they should",
                "undo it by hand, or make a migration of it",
            )  # fmt: skip


def _direct(database: ExaminedDatabase) -> Iterator[Finding]:
    """DATABASE_DIRECT_URL has to lead to the same database, as a role that can change the tables."""
    if database.settings.database_direct_url is None:
        return
    [here] = rows(database.connection, GET_HISTORY_ID)
    try:
        with connected(database.settings.require_direct_url()) as connection:
            others = rows(connection, LIST_TABLES_OF_OTHERS, table_names=our_tables())
            applied = migrations.applied_on(connection)
            there = rows(connection, GET_HISTORY_ID)[0] if applied else None
    except CommandError as failure:
        yield error(
            "database/direct-url", str(failure).replace("DATABASE_URL", "DATABASE_DIRECT_URL"), "migrate fails",
            'try: psql "$DATABASE_DIRECT_URL" -c "SELECT 1"',
        )  # fmt: skip
        return
    if there != here:
        yield error(
            "database/direct-url", "DATABASE_DIRECT_URL leads to another database than DATABASE_URL",
            "migrations change a database that the service does not use", "compare host, port and name of both",
        )  # fmt: skip
    elif others:
        names = ", ".join(row["table_name"] for row in others)
        yield error(
            "database/owner",
            f"the role {others[0]['role_name']} of DATABASE_DIRECT_URL does not own {names}",
            "the next migration that changes them fails",
            f"connect as {others[0]['owner_name']}, or: {role_checks.APPLY_ROLES}",
        )  # fmt: skip
