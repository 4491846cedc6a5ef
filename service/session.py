"""One session of the command line's own, beside the pool: for migrations and for the review of the statements."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg
from psycopg.rows import dict_row

from service.database_url import for_libpq
from service.statements import Statement

Connection: TypeAlias = psycopg.Connection[Any]

CONNECT_TIMEOUT = 5


class CommandError(Exception):
    """What a command cannot do: the database is away or refuses, or it was asked for what there is not. One line."""


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    try:
        with psycopg.connect(for_libpq(url), autocommit=True, connect_timeout=CONNECT_TIMEOUT) as connection:
            yield connection
    except psycopg.OperationalError as error:
        raise CommandError(f"DATABASE_URL: should be a database that answers; {one_line(error)}") from None
    except psycopg.Error as error:
        raise CommandError(one_line(error)) from None


def rows(connection: Connection, wanted: Statement, **values: object) -> list[dict[str, Any]]:
    # RawCursor: the files speak PostgreSQL's own $1, not psycopg's %s.
    with psycopg.RawCursor(connection, row_factory=dict_row) as cursor:
        cursor.execute(wanted.text.encode(), wanted.arguments(values))
        return cursor.fetchall()


def one_line(error: psycopg.Error) -> str:
    # The primary message alone: the others may quote a row. A failed connection has no diagnosis, only its text.
    return error.diag.message_primary or " ".join(str(error).split())
