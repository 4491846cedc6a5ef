"""Applies and rolls back migrations/*.sql with yoyo. A migration is SQL only, so that a DBA can review all of it."""

import getpass
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg
import yoyo
from yoyo.exceptions import BadMigration, LockTimeout
from yoyo.migrations import MigrationList

from service.db import checksums, concurrent_migrations
from service.db.admin_session import AdminConnection, CommandError, NotPermittedError, connected, one_line, rows
from service.db.statements import statement
from service.settings.database_url import for_yoyo

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
POST_APPLY = MIGRATIONS / "post-apply.sql"  # yoyo finds it by this name
OUR_TABLES = ("users", "tasks")
YOYO_TABLE = "_yoyo_migration"
CHECKSUM_TABLE = "migration_checksums"

CHANGE_SHARDS_IN_TURN = statement("migrations/change_shards_in_turn", "one")
FIND_OUR_TABLES = statement("migrations/find_our_tables", "many")
GET_SCHEMA = statement("migrations/get_schema", "one")
LIST_APPLIED = statement("migrations/list_applied_migrations", "many")
TRY_LOCK = statement("migrations/try_lock_migrations", "one")

LOCK_KEY = 7_466_111  # of the advisory lock; an arbitrary number
LOCK_TIMEOUT_SECONDS = 60.0  # for which a second run waits for the first


class MigrationError(CommandError):
    """A migration failed or was refused. The text is one line."""


class Applied(NamedTuple):
    migration_id: str
    at: datetime


class MigrationRun(NamedTuple):
    """A run that has the lock."""

    backend: Any  # yoyo's, with the connection on which migrations run
    connection: AdminConnection  # holds the advisory lock, and is free while a migration runs
    done: set[str]


def known() -> list[str]:
    """The ids of all migrations of this code, in order."""
    return sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.sql") if not path.stem.endswith(".rollback"))


def applied(url: str) -> list[Applied]:
    with connected(url) as connection:
        return applied_on(connection)


def pending(url: str) -> list[str]:
    done = {migration.migration_id for migration in applied(url)}
    return [migration_id for migration_id in known() if migration_id not in done]


def apply(url: str, to: str | None = None) -> list[str]:
    """Applies the pending migrations, up to and including `to`. Returns their ids."""
    with _exclusively(url) as run:
        chosen = _to_apply(run.done, to)
        _run(run, "apply", chosen)
        _keep_checksums(run.backend.connection)
        if not set(known()) - run.done - set(chosen):
            _grant(run.backend)
    return chosen


def roll_back(url: str, to: str | None = None) -> list[str]:
    """Rolls back the last migration, or with `to` all after it, newest first. Returns their ids."""
    with _exclusively(url) as run:
        chosen = _to_roll_back(run.done, to)
        _run(run, "rollback", chosen)
    return chosen


def files_to_apply(url: str, to: str | None = None) -> list[Path]:
    """The files that `apply` would run. The grants come last, whenever all migrations are applied then."""
    done = _ids(applied(url))
    chosen = _to_apply(done, to)
    grants = [POST_APPLY] if not set(known()) - done - set(chosen) else []
    return [_file(migration_id, "apply") for migration_id in chosen] + grants


def files_to_roll_back(url: str, to: str | None = None) -> list[Path]:
    return [_file(migration_id, "rollback") for migration_id in _to_roll_back(_ids(applied(url)), to)]


def _to_apply(done: set[str], to: str | None) -> list[str]:
    return [migration_id for migration_id in _up_to(known(), to) if migration_id not in done]


def _to_roll_back(done: set[str], to: str | None) -> list[str]:
    ahead = sorted(done - set(known()))
    if ahead:
        raise MigrationError(f"the database is ahead of this code; roll back {ahead[-1]} with the code that has it")
    newest_first = [migration_id for migration_id in reversed(known()) if migration_id in done]
    return newest_first[:1] if to is None else [each for each in newest_first if each not in _up_to(known(), to)]


def _up_to(migration_ids: list[str], to: str | None) -> list[str]:
    if to is None:
        return migration_ids
    if to not in migration_ids:
        raise MigrationError(f"there is no migration {to}")
    return migration_ids[: migration_ids.index(to) + 1]


def _run(run: MigrationRun, direction: Literal["apply", "rollback"], chosen: Sequence[str]) -> None:
    every = {migration.id: migration for migration in _read(chosen)}
    for migration_id in chosen:
        if direction == "rollback" and not _file(migration_id, direction).is_file():
            raise MigrationError(f"there is no migrations/{migration_id}.rollback.sql; nothing was undone")
    run.backend.ensure_internal_schema_updated()
    for migration_id in chosen:
        migration = every[migration_id]
        if not migration.use_transactions:
            concurrent_migrations.run(run.backend.connection, run.connection, _file(migration_id, direction))
        try:
            # The migration and its entry in yoyo's table are committed together. yoyo itself commits the entry in a
            # second transaction; killed in between, it would run the same migration again, and fail, for ever.
            with run.backend.transaction():
                if migration.use_transactions:
                    rows(run.backend.connection, CHANGE_SHARDS_IN_TURN)
                    migration.process_steps(run.backend, direction)
                _write_down(run, migration, direction)
        except psycopg.Error as error:
            undone = "and was undone" if migration.use_transactions else "to be entered as done, and will run again"
            raise MigrationError(f"{migration_id} failed {undone}: {one_line(error)}") from None


def _write_down(run: MigrationRun, migration: Any, direction: Literal["apply", "rollback"]) -> None:
    """Enters into yoyo's tables that the migration was applied or rolled back."""
    run.backend.log_migration(migration, direction)
    mark = run.backend.mark_one if direction == "apply" else run.backend.unmark_one
    mark(migration, log=False)
    if direction == "apply":
        _keep_checksums(run.backend.connection, migration.id)


def _keep_checksums(connection: AdminConnection, just_applied: str | None = None) -> None:
    if has_checksums(connection):
        checksums.keep(connection, applied_files(connection), just_applied)


def _file(migration_id: str, direction: Literal["apply", "rollback"]) -> Path:
    return MIGRATIONS / f"{migration_id}{'.rollback' if direction == 'rollback' else ''}.sql"


def _grant(backend: Any) -> None:
    """Runs migrations/post-apply.sql, the grants of the running service, once all tables exist."""
    try:
        backend.run_post_apply(_read([]))
    except psycopg.Error as error:
        raise MigrationError(f"post-apply failed and was undone: {one_line(error)}") from None


def _read(chosen: Sequence[str]) -> MigrationList:
    """All migrations; the chosen ones are loaded, so that one that cannot be read fails before any is applied. The
    others are not: yoyo splits a file into its statements with a parser that takes some milliseconds for each."""
    every = yoyo.read_migrations(str(MIGRATIONS))
    try:
        for migration in every:
            if migration.id in chosen:
                migration.load()
    except BadMigration as error:
        raise MigrationError(f"a migration cannot be read: {error}") from None
    return every


@contextmanager
def _exclusively(url: str) -> Iterator[MigrationRun]:
    """Lets one migration run work at a time, with an advisory lock, which the server releases when its session ends.

    yoyo's own lock is a row in a table, which a killed run leaves behind: it is not used, and an old row goes."""
    with connected(url) as connection:
        _lock(connection)
        done = _ids(applied_on(connection))
        if not done:
            _refuse_foreign_tables(connection)
        _name_the_user()
        try:
            backend = yoyo.get_backend(for_yoyo(url))
            with closing(backend.connection):
                backend.break_lock()
                yield MigrationRun(backend, connection, done)
        except LockTimeout:
            raise MigrationError("another migration is running; try again when it has ended") from None
        except psycopg.errors.UndefinedTable:
            # yoyo could not create its own tables, and hides that error.
            raise MigrationError("the role of DATABASE_URL may not create tables in this schema") from None
        except psycopg.Error as error:
            raise MigrationError(one_line(error)) from None


def _name_the_user() -> None:
    """Sets LOGNAME if the user has no name, as in a container: yoyo records the user's name and fails without one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError since Python 3.13
        os.environ["LOGNAME"] = str(os.geteuid())


def _lock(connection: AdminConnection) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while not rows(connection, TRY_LOCK, lock_key=LOCK_KEY)[0]["is_locked"]:
        if time.monotonic() > deadline:
            raise MigrationError("another migration is running; try again when it has ended")
        time.sleep(0.2)


def _refuse_foreign_tables(connection: AdminConnection) -> None:
    foreign = sorted(set(OUR_TABLES) & _our_tables(connection))
    if foreign:
        raise MigrationError(
            f"the database has a table {' and a table '.join(foreign)} that these migrations did not make; "
            "nothing was changed"
        )


def has_checksums(connection: AdminConnection) -> bool:
    return CHECKSUM_TABLE in _our_tables(connection)


def applied_files(connection: AdminConnection) -> dict[str, Path]:
    """The files of this code's migrations that are applied, by their ids."""
    done = _ids(applied_on(connection))
    return {migration_id: _file(migration_id, "apply") for migration_id in known() if migration_id in done}


def is_exactly_applied(connection: AdminConnection) -> bool:
    """Whether all migrations of this code are applied, and none of a newer release."""
    return _ids(applied_on(connection)) == set(known())


def applied_on(connection: AdminConnection) -> list[Applied]:
    if YOYO_TABLE not in _our_tables(connection):
        [session] = rows(connection, GET_SCHEMA)
        if session["schema_name"] is None:
            raise NotPermittedError(f"the role {session['role_name']} may use no schema of its search_path")
        return []
    return [Applied(row["migration_id"], row["applied_at_utc"]) for row in rows(connection, LIST_APPLIED)]


def _ids(migrations: list[Applied]) -> set[str]:
    return {migration.migration_id for migration in migrations}


def _our_tables(connection: AdminConnection) -> set[str]:
    return {row["table_name"] for row in rows(connection, FIND_OUR_TABLES)}
