"""Differences between a database and what the migrations make: `migrate status` prints them, a start warns of them."""

import re
import shutil
from contextlib import nullcontext
from pathlib import Path

import psycopg
import pytest

from service.db import migrations, schema_drift
from service.db.migrations import MIGRATIONS
from tests import databases, pgbouncer, schema, support
from tests.databases import Urls
from tests.support import SECRET, command

INDEX = "CREATE INDEX tasks_newest_first ON tasks USING btree (user_id, created_at DESC, id DESC)"
CHANGES = {
    "ALTER TABLE users DROP CONSTRAINT users_email_lower_case": (
        "constraint users_email_lower_case of users is missing; "
        'the migrations make: CHECK (email = lower(email COLLATE "C"))'
    ),
    "DROP INDEX tasks_newest_first": f"index tasks_newest_first of tasks is missing; the migrations make: {INDEX}",
    "ALTER TABLE tasks ADD COLUMN colour text NOT NULL DEFAULT 'red'": (
        "extra column colour of tasks: text NOT NULL DEFAULT 'red'::text"
    ),
    "ALTER TABLE tasks ALTER COLUMN updated_at DROP DEFAULT": (
        "column updated_at of tasks is: timestamp with time zone NOT NULL; "
        "the migrations make: timestamp with time zone NOT NULL DEFAULT now()"
    ),
    "ALTER TABLE users ALTER COLUMN email SET NOT NULL": (
        "column email of users is: text NOT NULL; the migrations make: text"
    ),
    "ALTER TABLE attempts ALTER COLUMN ends_at TYPE timestamptz(3)": (
        "column ends_at of attempts is: timestamp(3) with time zone NOT NULL; "
        "the migrations make: timestamp with time zone NOT NULL"
    ),
    "UPDATE pg_index SET indisvalid = FALSE WHERE indexrelid = 'tasks_newest_first'::regclass": (
        f"index tasks_newest_first of tasks is: {INDEX} INVALID; the migrations make: {INDEX}"
    ),
    "ALTER TABLE tasks DISABLE TRIGGER ALL": "extra trigger tasks_user_id_fkey of tasks: DISABLED",
    "CREATE TRIGGER noise BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()": (
        "extra trigger noise of tasks: CREATE TRIGGER noise BEFORE UPDATE ON tasks "
        "FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"
    ),
    "CREATE UNIQUE INDEX one_task_each ON tasks (user_id)": (
        "extra index one_task_each of tasks: CREATE UNIQUE INDEX one_task_each ON tasks USING btree (user_id)"
    ),
    "ALTER DOMAIN task_due_on SET NOT NULL": "domain task_due_on of tasks is: date NOT NULL; the migrations make: date",
    "ALTER DOMAIN task_priority SET DEFAULT 1": (
        "domain task_priority of tasks is: smallint DEFAULT 1; the migrations make: smallint"
    ),
    "ALTER DOMAIN task_priority DROP CONSTRAINT tasks_priority_known": (
        "constraint tasks_priority_known of tasks is missing; "
        "the migrations make: CHECK (VALUE >= 0 AND VALUE <= 3) NOT VALID"
    ),
    "ALTER DOMAIN task_title ADD CONSTRAINT no_dots CHECK (VALUE <> '.')": (
        "extra constraint no_dots of tasks: CHECK (VALUE <> '.'::text)"
    ),
    "ALTER TABLE attempts SET UNLOGGED": "table attempts is: UNLOGGED; the migrations make: an ordinary table",
    "DROP TABLE attempts": "table attempts is missing; the migrations make: an ordinary table",
}
EXTRA_INDEX = "extra index tasks_by_title of tasks: CREATE INDEX tasks_by_title ON tasks USING btree (user_id, title)"


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@pytest.fixture
def migrated(empty_database: str) -> str:
    migrations.apply(empty_database)
    return empty_database


@pytest.fixture
def own_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy)
    monkeypatch.setattr(migrations, "MIGRATIONS", copy)
    return copy


def test_schema_txt_is_what_the_migrations_make(migrated: str) -> None:
    assert schema.text(migrated) == schema_drift.schema_file().read_text()


def test_schema_txt_is_what_the_migrations_make_on_an_older_server(tmp_path: Path) -> None:
    binaries = databases.installed_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL 15 to 17 is installed beside the embedded one")
    with databases.installed_server(tmp_path, binaries, []) as url:
        migrations.apply(url)

        assert schema.text(url) == schema_drift.schema_file().read_text()


@pytest.mark.parametrize(("change", "difference"), CHANGES.items(), ids=CHANGES)
def test_a_change_that_no_migration_made_is_a_line(migrated: str, change: str, difference: str) -> None:
    assert schema_drift.of_database(migrated) == ([], [], [], [])

    run(migrated, change)

    assert schema_drift.of_database(migrated) == ([], [], [difference], [])


def test_an_index_that_a_dba_added_is_extra_and_a_validated_constraint_is_no_difference(migrated: str) -> None:
    run(
        migrated,
        "CREATE INDEX tasks_by_title ON tasks (user_id, title)",
        "ALTER TABLE users VALIDATE CONSTRAINT users_known_networks_count",
        "ALTER DOMAIN task_tags VALIDATE CONSTRAINT tasks_tags_list",
        "CREATE TABLE another (id int)",
    )

    assert schema_drift.of_database(migrated) == ([], [], [], [EXTRA_INDEX])


def test_migrations_that_are_rolled_back_and_applied_again_leave_no_difference(migrated: str) -> None:
    """Columns that a rollback drops stay in the catalogue."""
    migrations.roll_back(migrated, migrations.known()[0])
    migrations.apply(migrated)

    assert schema_drift.of_database(migrated).differences == []


def test_a_schema_that_is_behind_or_ahead_is_not_compared(migrated: str) -> None:
    run(migrated, "DROP INDEX tasks_newest_first")
    run(migrated, "INSERT INTO _yoyo_migration (migration_hash, migration_id) VALUES ('x', '9999_later')")
    assert schema_drift.of_database(migrated) == ([], [], [], [])

    run(migrated, "DELETE FROM _yoyo_migration WHERE migration_id IN ('9999_later', '0010_know_networks')")
    assert schema_drift.of_database(migrated) == ([], [], [], [])


def test_an_edited_migration_is_named_until_it_is_rolled_back_and_applied_again(
    empty_database: str, own_migrations: Path
) -> None:
    first, last = migrations.known()[0], migrations.known()[-1]
    later = own_migrations / "9999_later.sql"
    later.write_text("SELECT 1;\n")
    (own_migrations / "9999_later.rollback.sql").write_text("SELECT 1;\n")
    migrations.apply(empty_database)
    assert schema_drift.of_database(empty_database) == ([], [], [], [])

    for file in (own_migrations / f"{first}.sql", later):
        file.write_text(f"{file.read_text()}-- One line more.\n")

    assert schema_drift.of_database(empty_database).edited == [first, "9999_later"]
    assert migrations.roll_back(empty_database, last) == ["9999_later"]
    assert migrations.apply(empty_database) == ["9999_later"]
    assert schema_drift.of_database(empty_database).edited == [first]


def test_migrations_of_before_the_checksums_get_theirs_at_the_next_migrate(empty_database: str) -> None:
    older = [each for each in migrations.known() if each < "0011"]
    migrations.apply(empty_database, older[-1])
    assert schema_drift.of_database(empty_database).without_checksum == older

    migrations.apply(empty_database)
    assert schema_drift.of_database(empty_database) == ([], [], [], [])

    run(empty_database, "DELETE FROM migration_checksums WHERE migration_id = '0003_add_outside_users'")
    assert schema_drift.of_database(empty_database).without_checksum == ["0003_add_outside_users"]
    assert migrations.apply(empty_database) == []
    assert schema_drift.of_database(empty_database) == ([], [], [], [])


def test_status_prints_a_line_for_each_difference(migrated: str, tmp_path: Path) -> None:
    run(
        migrated,
        "CREATE INDEX tasks_by_title ON tasks (user_id, title)",
        "DROP INDEX tasks_newest_first",
        "UPDATE migration_checksums SET sha256 = 'x' WHERE migration_id = '0001_create_users'",
        "DELETE FROM migration_checksums WHERE migration_id = '0002_create_tasks'",
    )

    done = command(tmp_path, "migrate", "status", DATABASE_URL=migrated, LOG_LEVEL="WARNING")

    lines = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "<when>", done.stdout).splitlines()
    notes = {
        "0001_create_users": ", edited since then: the file is not the one that was applied",
        "0002_create_tasks": ", no checksum yet: the next migrate keeps that of the file",
    }
    assert lines == [
        *(f"{each}: applied <when> UTC{notes.get(each, '')}" for each in migrations.known()),
        f"schema: {CHANGES['DROP INDEX tasks_newest_first']}",
        f"schema: {EXTRA_INDEX}",
    ]


def warnings_of_a_start(directory: Path, url: str) -> list[str]:
    with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
        assert service.http.get("/health").json() == {"status": "healthy"}
        lines = service.lines()
    return [line["message"] for line in lines if line["level"] == "warning" and "the schema" in line["message"]]


@pytest.mark.parametrize("has_pooler", [False, True], ids=["direct", "behind PgBouncer"])
def test_a_start_warns_once_of_all_differences_and_serves(own_database: Urls, tmp_path: Path, has_pooler: bool) -> None:
    run(own_database.admin, "DROP INDEX tasks_newest_first", "ALTER TABLE tasks ADD COLUMN colour text")
    run(own_database.admin, "UPDATE migration_checksums SET sha256 = 'x' WHERE migration_id = '0001_create_users'")
    run(own_database.admin, "CREATE INDEX tasks_by_title ON tasks (user_id, title)")

    with pgbouncer.in_front_of(own_database.runtime) if has_pooler else nullcontext() as pooler:
        found = warnings_of_a_start(tmp_path, own_database.runtime if pooler is None else pooler.url)

    expected = [
        "0001_create_users was edited after it was applied",
        "extra column colour of tasks: text",
        CHANGES["DROP INDEX tasks_newest_first"],
    ]
    assert found == [f"the schema differs from what the migrations make: {'; '.join(expected)}"]


def test_a_start_that_cannot_compare_the_schema_warns_and_serves(
    own_database: Urls, with_roles: bool, tmp_path: Path
) -> None:
    if not with_roles:
        pytest.skip("the server has a role todo_owner or todo_runtime already: they are left alone")
    run(own_database.admin, "REVOKE SELECT ON migration_checksums FROM todo_runtime")

    assert warnings_of_a_start(tmp_path, own_database.runtime) == [
        "the schema was not compared with the migrations: permission denied for table migration_checksums"
    ]
