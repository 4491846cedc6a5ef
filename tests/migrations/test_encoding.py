"""A database with another encoding than UTF8 is refused in one line, before the first statement."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests import pgbouncer
from tests.databases import url_of_database
from tests.support import SECRET, command


@pytest.fixture(params=["LATIN1", "SQL_ASCII"])
def encoding(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def other_database(server_url: str, encoding: str) -> Iterator[str]:
    name = f"todo_test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        make = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C' LOCALE_PROVIDER libc"
        connection.execute(make.encode())
        try:
            yield url_of_database(server_url, name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def refusal(encoding: str) -> str:
    return (
        f"DATABASE_URL: should be a database with the encoding UTF8, not {encoding}; "
        "make it with: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0\n"
    )


@pytest.mark.parametrize("arguments", [("migrate",), ("migrate", "status"), ("migrate", "--dry-run"), ("serve",)])
def test_another_encoding_than_utf8_is_refused_in_one_line_and_nothing_is_changed(
    other_database: str, encoding: str, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = command(tmp_path, *arguments, DATABASE_URL=other_database, BETTER_AUTH_SECRET=SECRET, LOG_LEVEL="WARNING")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", refusal(encoding))
    with psycopg.connect(other_database) as connection:
        made = connection.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert made.fetchone() == (0,)


def test_a_start_behind_a_pooler_refuses_another_encoding(other_database: str, encoding: str, tmp_path: Path) -> None:
    with pgbouncer.in_front_of(other_database) as pooler:
        done = command(tmp_path, "serve", DATABASE_URL=pooler.url, BETTER_AUTH_SECRET=SECRET, LOG_LEVEL="WARNING")

    assert (done.returncode, done.stdout, done.stderr) == (1, "", refusal(encoding))
