"""python -m service doctor: migrations that are missing or of no release, a schema that differs, invalid indexes."""

import psycopg
import pytest

from service.db import migrations
from tests.databases import Urls
from tests.doctor.diagnosis import lines
from tests.support import new_email

NEWEST = migrations.known()[-1]
OF_NO_RELEASE = "the database is of no release; compare migrations/ with the releases that were deployed"


def execute(url: str, *commands: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for command in commands:
            connection.execute(command.encode())


def test_a_schema_that_is_behind(own_database: Urls) -> None:
    migrations.roll_back(own_database.owner)

    assert lines(own_database.runtime) == [
        f"error: database/schema-behind: not applied: {NEWEST}; the service does not start; python -m service migrate"
    ]


def test_a_database_without_any_table(empty_database: str, own_database: Urls) -> None:
    execute(
        own_database.admin, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "GRANT ALL ON SCHEMA public TO PUBLIC"
    )

    assert lines(own_database.owner) == [
        (
            f"error: database/schema-behind: not applied: {', '.join(migrations.known())}; the service does not start; "
            "python -m service migrate"
        )
    ]


def test_a_schema_that_is_ahead_is_no_finding(own_database: Urls) -> None:
    """As during the deployment of the next release."""
    execute(
        own_database.admin,
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES ('x', '9999_next', now())",
        "ALTER TABLE tasks ADD COLUMN next int",
    )

    assert lines(own_database.runtime) == []


def test_a_sequence_of_migrations_that_no_release_has(own_database: Urls) -> None:
    execute(
        own_database.admin,
        "DELETE FROM _yoyo_migration WHERE migration_id LIKE '0005%'",
        "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc) VALUES ('x', '0006_other', now())",
    )
    [skipped] = [each for each in migrations.known() if each.startswith("0005")]

    assert lines(own_database.runtime) == [
        f"error: database/schema-behind: not applied: {skipped}; the service does not start; python -m service migrate",
        (
            f"warning: database/migration-sequence: {skipped} is not applied, and newer ones are, 0006_other is "
            "applied, and "
            f"this release does not have it; {OF_NO_RELEASE}"
        ),
    ]


def test_an_edited_migration_and_a_schema_that_differs(own_database: Urls) -> None:
    execute(
        own_database.admin,
        f"UPDATE migration_checksums SET sha256 = repeat('0', 64) WHERE migration_id = '{NEWEST}'",
        "ALTER TABLE tasks ADD COLUMN colour text",
        "CREATE INDEX mine ON tasks (colour)",
    )

    assert lines(own_database.runtime) == [
        (
            f"warning: database/edited-migration: the file of {NEWEST} was edited after it was applied; this "
            "database differs "
            "from one that is made anew; restore the file, and put the change in a new one"
        ),
        (
            "warning: database/schema-differs: extra column colour of tasks: text; statements may fail, or read "
            "more than "
            "they should; undo it by hand, or make a migration of it"
        ),
    ]


def test_an_index_that_an_interruption_left_invalid(own_database: Urls) -> None:
    with psycopg.connect(own_database.admin, autocommit=True) as admin:
        for _ in range(2):
            admin.execute("INSERT INTO users (email, password_hash) VALUES (%s, %s)", [new_email(), "x" * 60])
        with pytest.raises(psycopg.errors.UniqueViolation):
            admin.execute("CREATE UNIQUE INDEX CONCURRENTLY once ON users (password_hash)")

    assert lines(own_database.runtime) == [
        (
            "warning: database/broken-index: the index once of users is invalid; no query uses it, and every "
            "write pays for "
            "it; DROP INDEX CONCURRENTLY once, then python -m service migrate"
        )
    ]


def test_a_table_that_autovacuum_leaves_out(own_database: Urls) -> None:
    execute(own_database.admin, "ALTER TABLE attempts SET (autovacuum_enabled = false)")

    assert lines(own_database.runtime) == [
        (
            "warning: database/neglected-table: autovacuum is off for attempts; each statement on it reads dead "
            "rows too; "
            "ALTER TABLE attempts RESET (autovacuum_enabled)"
        )
    ]
