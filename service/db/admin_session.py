"""A single synchronous connection for the command line: migrations, user commands, and the review of statements."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from service.db.statements import Statement
from service.settings.database_url import for_libpq

AdminConnection: TypeAlias = psycopg.Connection[Any]
Result = TypeVar("Result")

CONNECT_TIMEOUT_SECONDS = 5
LOCK_WAIT_SECONDS = 10.0
RETRY_PAUSE_SECONDS = 0.1

RETRYABLE_ERRORS = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class CommandError(Exception):
    """A command failed: the database is away or refuses, or what was asked for does not exist. The text is one line."""


class NotPermittedError(CommandError):
    """The role lacks a right."""


def require_utf8(encoding: str | None) -> None:
    """Refuses a database in which char_length() counts something else than characters, or texts cannot be stored. The
    server reports its encoding when a connection opens, so this needs no statement; None: it did not."""
    if encoding not in ("UTF8", None):
        raise CommandError(
            f"DATABASE_URL: should be a database with the encoding UTF8, not {encoding}; "
            "make it with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


@contextmanager
def connected(url: str) -> Iterator[AdminConnection]:
    try:
        # Nothing is prepared: behind a pooler the next statement may run in another session.
        with psycopg.connect(
            for_libpq(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS, prepare_threshold=None
        ) as connection:
            require_utf8(connection.info.parameter_status("server_encoding"))
            yield connection
    except psycopg.errors.LockNotAvailable as error:
        raise CommandError(f"another session holds a lock on what is to be changed; {one_line(error)}") from None
    except psycopg.OperationalError as error:
        raise CommandError(f"DATABASE_URL: should be a database that answers; {one_line(error)}") from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise NotPermittedError(one_line(error)) from None
    except psycopg.Error as error:
        raise CommandError(one_line(error)) from None


def rows(connection: AdminConnection, wanted: Statement, **values: object) -> list[dict[str, Any]]:
    def run() -> list[dict[str, Any]]:
        # RawCursor: the files have PostgreSQL's own $1, not psycopg's %s.
        with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
            cursor.execute(wanted.text.encode(), wanted.arguments(values))
            return cursor.fetchall()

    return until_unlocked(connection, run)


def in_one_snapshot(connection: AdminConnection, work: Callable[[], Result]) -> Result:
    """Runs statements in one transaction that sees one state of the database: a concurrent write to a row that they
    change makes them start again."""

    def run() -> Result:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with connection.transaction():
            result = work()
        connection.isolation_level = None
        return result

    return until_unlocked(connection, run)


def until_unlocked(connection: AdminConnection, work: Callable[[], Result]) -> Result:
    """Retries after a lock wait: sql/roles.sql gives the role of the running service a short lock_timeout. Inside a
    transaction the whole of it has to be repeated, by the outermost call."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            return work()
        except RETRYABLE_ERRORS:
            is_in_transaction = connection.info.transaction_status is not TransactionStatus.IDLE
            if is_in_transaction or time.monotonic() > deadline:
                raise
        time.sleep(RETRY_PAUSE_SECONDS)


def one_line(error: psycopg.Error) -> str:
    # Only the primary message: the others may quote a row. A failed connection has no diagnosis, only its text.
    return error.diag.message_primary or " ".join(str(error).split())
