"""yoyo behind three verbs: apply, roll back, pending. What a DBA reads is migrations/*.sql and nothing else."""

import getpass
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psycopg
import yoyo
from yoyo.exceptions import BadMigration, LockTimeout
from yoyo.migrations import MigrationList

from service.db.admin_session import AdminConnection, CommandError, connected, one_line, rows
from service.db.statements import statement
from service.settings.database_url import for_yoyo

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
OURS = ("users", "tasks")
BOOK = "_yoyo_migration"

FIND_OUR_TABLES = statement("migrations/find_our_tables", "many")
LIST_APPLIED = statement("migrations/list_applied_migrations", "many")
TRY_LOCK = statement("migrations/try_lock_migrations", "one")

LOCK_KEY = 7_466_111  # ours alone; any other number would do
LOCK_TIMEOUT = 60.0  # a second run waits for the first, but not for ever


class MigrationError(CommandError):
    """The database is not ours, or a migration failed. One line."""


class Applied(NamedTuple):
    migration_id: str
    at: datetime


def known() -> list[str]:
    """Every migration this code was written for, in order."""
    return sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.sql") if not path.stem.endswith(".rollback"))


def applied(url: str) -> list[Applied]:
    with connected(url) as connection:
        return _applied(connection)


def pending(url: str) -> list[str]:
    done = {migration.migration_id for migration in applied(url)}
    return [migration_id for migration_id in known() if migration_id not in done]


def apply(url: str, to: str | None = None) -> list[str]:
    """Applies what is pending, up to and including `to`. Returns what it applied."""
    with _exclusively(url) as (backend, done):
        chosen = _to_apply(done, to)
        _run(backend, "apply", chosen)
        if not set(known()) - done - set(chosen):
            _grant(backend)
    return chosen


def roll_back(url: str, to: str | None = None) -> list[str]:
    """Undoes the last migration, or with `to` every one after it, newest first. Returns what it undid."""
    with _exclusively(url) as (backend, done):
        chosen = _to_roll_back(done, to)
        _run(backend, "rollback", chosen)
    return chosen


def files_to_apply(url: str, to: str | None = None) -> list[Path]:
    """What `apply` would run, without running it."""
    return [MIGRATIONS / f"{migration_id}.sql" for migration_id in _to_apply(_ids(applied(url)), to)]


def files_to_roll_back(url: str, to: str | None = None) -> list[Path]:
    return [MIGRATIONS / f"{migration_id}.rollback.sql" for migration_id in _to_roll_back(_ids(applied(url)), to)]


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


def _run(backend: Any, direction: Literal["apply", "rollback"], chosen: Sequence[str]) -> None:
    every = {migration.id: migration for migration in _read()}
    for migration_id in chosen:
        if direction == "rollback" and not (MIGRATIONS / f"{migration_id}.rollback.sql").is_file():
            raise MigrationError(f"there is no migrations/{migration_id}.rollback.sql; nothing was undone")
    backend.ensure_internal_schema_updated()
    for migration_id in chosen:
        migration = every[migration_id]

        try:
            # yoyo commits a migration first and writes it down in a second transaction: killed in between, it would
            # try the same one again for ever. One that cannot run in a transaction has to bear being run again.
            with backend.transaction() if migration.use_transactions else nullcontext():
                migration.process_steps(backend, direction)
                backend.log_migration(migration, direction)
                write_down = backend.mark_one if direction == "apply" else backend.unmark_one
                write_down(migration, log=False)
        except psycopg.Error as error:
            raise MigrationError(f"{migration_id} failed and was undone: {one_line(error)}") from None


def _grant(backend: Any) -> None:
    """migrations/post-apply.sql: what the role of the running service may do, as soon as every table is there."""
    try:
        backend.run_post_apply(_read())
    except psycopg.Error as error:
        raise MigrationError(f"post-apply failed and was undone: {one_line(error)}") from None


def _read() -> MigrationList:
    every = yoyo.read_migrations(str(MIGRATIONS))
    try:
        for migration in every:
            migration.load()
    except BadMigration as error:
        raise MigrationError(f"a migration cannot be read: {error}") from None
    return every


@contextmanager
def _exclusively(url: str) -> Iterator[tuple[Any, set[str]]]:
    """Under our lock, which ends with its session, a row in yoyo's own lock table is what a killed run left behind."""
    with connected(url) as connection:
        _lock(connection)
        done = _ids(_applied(connection))
        if not done:
            _refuse_foreign_tables(connection)
        _name_the_user()
        try:
            backend = yoyo.get_backend(for_yoyo(url))
            with closing(backend.connection):
                backend.break_lock()
                with backend.lock():
                    yield backend, done
        except LockTimeout:
            raise MigrationError("another migration is running; try again when it has ended") from None
        except psycopg.errors.UndefinedTable:
            # yoyo could not make its own tables, and does not say so.
            raise MigrationError("the role of DATABASE_URL may not create tables in this schema") from None
        except psycopg.Error as error:
            raise MigrationError(one_line(error)) from None


def _name_the_user() -> None:
    """yoyo writes down who migrated, and fails where that is a number without a name: a container's user is one."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the second from Python 3.13 on
        os.environ["LOGNAME"] = str(os.geteuid())


def _lock(connection: AdminConnection) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT
    while not rows(connection, TRY_LOCK, lock_key=LOCK_KEY)[0]["is_locked"]:
        if time.monotonic() > deadline:
            raise MigrationError("another migration is running; try again when it has ended")
        time.sleep(0.2)


def _refuse_foreign_tables(connection: AdminConnection) -> None:
    foreign = sorted(set(OURS) & _our_tables(connection))
    if foreign:
        raise MigrationError(
            f"the database has a table {' and a table '.join(foreign)} that these migrations did not make; "
            "nothing was changed"
        )


def _applied(connection: AdminConnection) -> list[Applied]:
    if BOOK not in _our_tables(connection):
        return []
    return [Applied(row["migration_id"], row["applied_at_utc"]) for row in rows(connection, LIST_APPLIED)]


def _ids(migrations: list[Applied]) -> set[str]:
    return {migration.migration_id for migration in migrations}


def _our_tables(connection: AdminConnection) -> set[str]:
    return {row["table_name"] for row in rows(connection, FIND_OUR_TABLES)}
