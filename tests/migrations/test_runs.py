"""Runs of `migrate` in a deployment: two at a time, one that is killed, a dry run."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yoyo.migrations
from yoyo.migrations import read_sql_migration

from service.db import migrations
from service.db.admin_session import NotPermittedError
from service.db.migrations import LOCK_KEY, MIGRATIONS, MigrationError
from tests import databases
from tests.databases import Urls
from tests.support import command, environment

FIRST, LAST = migrations.known()[0], migrations.known()[-1]


def start(directory: Path, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "service", "migrate"],
        cwd=directory, env=environment(DATABASE_URL=url, LOG_LEVEL="WARNING"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(look: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def waiting(connection: psycopg.Connection, query: str) -> int:
    """The number of other sessions with a current or last query like this."""
    found = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE %s AND datname = current_database() "
        "AND pid <> pg_backend_pid()",
        [query],
    ).fetchone()
    assert found is not None
    number: int = found[0]
    return number


def test_two_simultaneous_runs_apply_each_migration_once(empty_database: str, tmp_path: Path) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])
        runs = [start(tmp_path, empty_database) for _ in range(2)]
        wait_for(lambda: waiting(connection, "%try_lock_migrations%") == 2)
        assert migrations.applied(empty_database) == []
        connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK_KEY])
        said = [run.communicate(timeout=60) for run in runs]

    assert [run.returncode for run in runs] == [0, 0]
    assert sorted(said) == [
        ("".join(f"applied {migration_id}\n" for migration_id in migrations.known()), ""),
        ("applied nothing\n", ""),
    ]
    assert [migration.migration_id for migration in migrations.applied(empty_database)] == migrations.known()


def test_run_that_waits_longer_than_the_lock_timeout_fails(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TIMEOUT_SECONDS", 0.3)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK_KEY])

        with pytest.raises(MigrationError, match="another migration is running; try again when it has ended"):
            migrations.apply(empty_database)


def test_run_killed_before_recording_its_migration_does_not_block_the_next_run(
    empty_database: str, tmp_path: Path
) -> None:
    """The run is killed after creating the second migration's table and before recording it in yoyo's table."""
    migrations.apply(empty_database, FIRST)
    with psycopg.connect(empty_database) as log, psycopg.connect(empty_database, autocommit=True) as connection:
        log.execute("LOCK TABLE _yoyo_migration IN SHARE MODE")
        killed = start(tmp_path, empty_database)
        wait_for(lambda: waiting(connection, 'INSERT INTO "_yoyo_migration"%'))
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=60)
        log.rollback()

    assert migrations.apply(empty_database) == migrations.known()[1:]
    assert migrations.pending(empty_database) == []


def test_dry_run_prints_the_sql_that_would_run_and_changes_nothing(empty_database: str, tmp_path: Path) -> None:
    def says(*arguments: str) -> str:
        done = command(tmp_path, "migrate", *arguments, DATABASE_URL=empty_database, LOG_LEVEL="WARNING")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def would_run(*names: str) -> str:
        return "".join(
            f"-- would run migrations/{name}.sql\n{(MIGRATIONS / f'{name}.sql').read_text()}\n" for name in names
        )

    assert says("--dry-run") == would_run(*migrations.known(), "post-apply")
    assert says("--dry-run", "--to", FIRST) == would_run(FIRST)
    assert says("--dry-run", "--rollback") == "-- would run nothing\n"
    with psycopg.connect(empty_database) as connection:
        assert connection.execute("SELECT count(*) FROM pg_class WHERE relname LIKE '%%yoyo%%'").fetchone() == (0,)

    migrations.apply(empty_database)
    assert says("--dry-run") == would_run("post-apply")
    assert says("--dry-run", "--to", FIRST) == would_run("post-apply")
    assert says("--dry-run", "--rollback") == would_run(f"{LAST}.rollback")
    assert migrations.pending(empty_database) == []


@pytest.fixture
def own_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of migrations/ that a test may add to."""
    copy = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, copy)
    monkeypatch.setattr(migrations, "MIGRATIONS", copy)
    return copy


def test_roll_back_of_a_migration_without_rollback_file_is_refused(empty_database: str, own_migrations: Path) -> None:
    (own_migrations / "9999_later.sql").write_text("ALTER TABLE tasks ADD COLUMN later text;\n")
    migrations.apply(empty_database)

    with pytest.raises(MigrationError, match=r"there is no migrations/9999_later\.rollback\.sql; nothing was undone"):
        migrations.roll_back(empty_database)

    assert migrations.pending(empty_database) == []


def test_migration_that_depends_on_a_missing_one_is_refused_with_one_line(
    empty_database: str, own_migrations: Path
) -> None:
    (own_migrations / "9999_later.sql").write_text("-- depends: 0007_nothing\nSELECT 1;\n")

    with pytest.raises(MigrationError, match="a migration cannot be read: "):
        migrations.apply(empty_database)

    assert migrations.applied(empty_database) == []


def test_a_run_without_pending_migrations_reads_the_grants_alone(
    migrated_database: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: list[str] = []

    def read(path: str) -> object:
        files.append(Path(path).name)
        return read_sql_migration(path)

    monkeypatch.setattr(yoyo.migrations, "read_sql_migration", read)

    assert migrations.apply(migrated_database.owner) == []

    assert files == ["post-apply.sql", "post-apply.rollback.sql"]


def test_apply_by_a_role_without_create_privilege_is_refused_with_a_message(
    empty_database: str, with_roles: bool
) -> None:
    if not with_roles:
        pytest.skip("the server has a role todo_owner or todo_runtime already: they are left alone")
    url = databases.url_of_role(empty_database, databases.RUNTIME, databases.make_roles(empty_database))

    with pytest.raises(MigrationError, match="the role of DATABASE_URL may not create tables in this schema"):
        migrations.apply(url)


def test_apply_by_a_role_that_finds_no_schema_is_refused_with_a_message(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET search_path = nowhere".encode())

    with pytest.raises(NotPermittedError, match="the role todo may use no schema of its search_path"):
        migrations.apply(empty_database)
