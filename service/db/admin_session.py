"""One session of the command line's own, beside the pool: for migrations and for the review of the statements."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row

from service.db.statements import Statement
from service.settings.database_url import for_libpq

AdminConnection: TypeAlias = psycopg.Connection[Any]

CONNECT_TIMEOUT = 5
LOCK_WAIT_SECONDS = 10.0
PAUSE_SECONDS = 0.1

UNDONE = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


class CommandError(Exception):
    """What a command cannot do: the database is away or refuses, or it was asked for what there is not. One line."""


@contextmanager
def connected(url: str) -> Iterator[AdminConnection]:
    try:
        with psycopg.connect(for_libpq(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise CommandError(f"DATABASE_URL: should be a database that answers; {one_line(error)}") from None
    except psycopg.Error as error:
        raise CommandError(one_line(error)) from None


def rows(connection: AdminConnection, wanted: Statement, **values: object) -> list[dict[str, Any]]:
    """Sent again where it meets a lock: the role of the running service waits for none for long (sql/roles.sql)."""
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            # RawCursor: the files speak PostgreSQL's own $1, not psycopg's %s.
            with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
                cursor.execute(wanted.text.encode(), wanted.arguments(values))
                return cursor.fetchall()
        except UNDONE:
            is_in_transaction = connection.info.transaction_status is not TransactionStatus.IDLE
            if is_in_transaction or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)


def one_line(error: psycopg.Error) -> str:
    # The primary message alone: the others may quote a row. A failed connection has no diagnosis, only its text.
    return error.diag.message_primary or " ".join(str(error).split())
