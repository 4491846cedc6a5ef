"""yoyo behind three verbs: apply, roll back, pending. What a DBA reads is migrations/*.sql and nothing else."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import yoyo
from psycopg.rows import dict_row
from yoyo.exceptions import LockTimeout
from yoyo.migrations import MigrationList

from service.statements import Statement, statement

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
OURS = ("users", "tasks")
BOOK = "_yoyo_migration"

FIND_OUR_TABLES = statement("migrations/find_our_tables", "many")
LIST_APPLIED = statement("migrations/list_applied_migrations", "many")
LOCK = statement("migrations/lock_migrations", "exec")

LOCK_KEY = 7_466_111  # ours alone; any other number would do
CONNECT_TIMEOUT = 10


class MigrationError(Exception):
    """The database is away or not ours, or a migration failed. One line, without the password."""


class Applied(NamedTuple):
    migration_id: str
    at: datetime


def known() -> list[str]:
    """Every migration this code was written for, in order."""
    return sorted(path.stem for path in MIGRATIONS.glob("*.sql") if not path.stem.endswith(".rollback"))


def applied(url: str) -> list[Applied]:
    with _connection(url) as connection:
        return _applied(connection)


def pending(url: str) -> list[str]:
    done = {migration.migration_id for migration in applied(url)}
    return [migration_id for migration_id in known() if migration_id not in done]


def apply(url: str, to: str | None = None) -> list[str]:
    """Applies what is pending, up to and including `to`. Returns what it applied."""
    with _exclusively(url) as (backend, done):
        wanted = _up_to(known(), to)
        chosen = [migration_id for migration_id in wanted if migration_id not in done]
        _run(backend.apply_migrations, chosen)
    return chosen


def roll_back(url: str, to: str | None = None) -> list[str]:
    """Undoes the last migration, or with `to` every one after it, newest first. Returns what it undid."""
    with _exclusively(url) as (backend, done):
        ahead = sorted(done - set(known()))
        if ahead:
            raise MigrationError(f"the database is ahead of this code; roll back {ahead[-1]} with the code that has it")
        newest_first = [migration_id for migration_id in reversed(known()) if migration_id in done]
        chosen = newest_first[:1] if to is None else [each for each in newest_first if each not in _up_to(known(), to)]
        _run(backend.rollback_migrations, chosen)
    return chosen


def _up_to(migration_ids: list[str], to: str | None) -> list[str]:
    if to is None:
        return migration_ids
    if to not in migration_ids:
        raise MigrationError(f"there is no migration {to}")
    return migration_ids[: migration_ids.index(to) + 1]


def _run(verb: Callable[[MigrationList], None], chosen: Sequence[str]) -> None:
    every = {migration.id: migration for migration in yoyo.read_migrations(str(MIGRATIONS))}
    for migration_id in chosen:
        try:
            verb(MigrationList([every[migration_id]]))
        except psycopg.Error as error:
            raise MigrationError(f"{migration_id} failed and was undone: {_one_line(error)}") from None


@contextmanager
def _exclusively(url: str) -> Iterator[tuple[Any, set[str]]]:
    """Under our lock, which ends with its session, a row in yoyo's own lock table is what a killed run left behind."""
    with _connection(url) as connection:
        _execute(connection, LOCK, LOCK_KEY)
        done = {migration.migration_id for migration in _applied(connection)}
        if not done:
            _refuse_foreign_tables(connection)
        try:
            backend = yoyo.get_backend(f"postgresql+psycopg://{url.partition('://')[2]}")
            backend.break_lock()
            with closing(backend.connection), backend.lock():
                yield backend, done
        except LockTimeout:
            raise MigrationError("another migration is running; try again when it has ended") from None
        except psycopg.Error as error:
            raise MigrationError(_one_line(error)) from None


def _refuse_foreign_tables(connection: psycopg.Connection[Any]) -> None:
    foreign = sorted(set(OURS) & _our_tables(connection))
    if foreign:
        raise MigrationError(
            f"the database has a table {' and a table '.join(foreign)} that these migrations did not make; "
            "nothing was changed"
        )


def _applied(connection: psycopg.Connection[Any]) -> list[Applied]:
    if BOOK not in _our_tables(connection):
        return []
    return [Applied(row["migration_id"], row["applied_at_utc"]) for row in _execute(connection, LIST_APPLIED)]


def _our_tables(connection: psycopg.Connection[Any]) -> set[str]:
    return {row["table_name"] for row in _execute(connection, FIND_OUR_TABLES)}


def _execute(connection: psycopg.Connection[Any], wanted: Statement, *values: object) -> list[dict[str, Any]]:
    # RawCursor: the files speak PostgreSQL's own $1, not psycopg's %s.
    with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
        cursor.execute(wanted.text.encode(), values)
        return cursor.fetchall()


@contextmanager
def _connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise MigrationError(f"DATABASE_URL: should be a database that answers; {_one_line(error)}") from None
    except psycopg.Error as error:
        raise MigrationError(_one_line(error)) from None


def _one_line(error: psycopg.Error) -> str:
    # The primary message alone: the others may quote a row. A failed connection has no diagnosis, only its text.
    return error.diag.message_primary or " ".join(str(error).split())
