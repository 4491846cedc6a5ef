"""Databases for the checks of the statements, copies of statements with faults, and statements in a transaction."""

import asyncio
import shutil
from collections.abc import Awaitable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import psycopg
import pytest

from service.cli import embedded_postgres
from service.db import migrations
from service.db.statements import Statement
from tests import databases
from tests.plans import seeded_database
from tests.sql.faults import SMALL_TREE, Plant
from tests.sql.owners import Run, new_user


@pytest.fixture(scope="session")
def installed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A migrated database on an older server than the embedded one, with pg_stat_statements."""
    binaries = databases.installed_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL 15 to 17 is installed beside the embedded one")
    settings = ["shared_preload_libraries=pg_stat_statements"] if databases.has_contrib(binaries) else []
    with databases.installed_server(tmp_path_factory.mktemp("installed"), binaries, settings) as url:
        migrations.apply(url)
        yield url


@pytest.fixture(scope="session")
def seeded_url(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database of a realistic size. Always on the embedded server, because plans differ between versions."""
    with ExitStack() as stack:
        if databases.given_server():
            server_url = stack.enter_context(embedded_postgres.running(tmp_path_factory.mktemp("seeded")))
        yield stack.enter_context(seeded_database(server_url))


@pytest.fixture(scope="session")
def untouched_url(server_url: str, with_roles: bool) -> Iterator[str]:
    """A migrated database without rows: in a database that services use, plans change with the stored rows."""
    with databases.new_database(server_url) as url:
        yield databases.migrate(url, with_roles=with_roles).runtime


@pytest.fixture(params=["the server of the tests", "an older one"])
def any_server(request: pytest.FixtureRequest) -> str:
    fixture = "untouched_url" if request.param == "the server of the tests" else "installed_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture(scope="session")
def small_url(server_url: str) -> Iterator[str]:
    """A database with the schema of the planted statements. No test changes it."""
    with databases.new_database(server_url) as url:
        yield with_small_schema(url)


@pytest.fixture(scope="session")
def older_small_url(installed_url: str) -> Iterator[str]:
    with databases.new_database(installed_url) as url:
        yield with_small_schema(url)


@pytest.fixture
def own_small_url(empty_database: str) -> str:
    """A database with the schema of the planted statements, for a test that changes it."""
    return with_small_schema(empty_database)


@pytest.fixture(params=["the server of the tests", "an older one"])
def any_own_small_url(request: pytest.FixtureRequest, server_url: str) -> Iterator[str]:
    """A database with the schema of the planted statements, for a test that changes it."""
    server = server_url if request.param == "the server of the tests" else request.getfixturevalue("installed_url")
    with databases.new_database(server) as url:
        yield with_small_schema(url)


@pytest.fixture(params=["the server of the tests", "an older one"])
def any_small_url(request: pytest.FixtureRequest) -> str:
    fixture = "small_url" if request.param == "the server of the tests" else "older_small_url"
    url: str = request.getfixturevalue(fixture)
    return url


def with_small_schema(url: str) -> str:
    with psycopg.connect(url) as connection:
        connection.execute((SMALL_TREE / "schema.sql").read_bytes())
    return url


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Writes a copy of one file of the small tree with a text replaced, or a new file. Returns the root of the tree."""
    root = tmp_path / "sql"

    def plant(name: str, *replaced: tuple[str, str], new: str | None = None) -> Path:
        text = (SMALL_TREE / "sql" / f"{name}.sql").read_text() if new is None else new
        for good, bad in replaced:
            assert good in text
            text = text.replace(good, bad)
        file = root / f"{name}.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if not (root / "tables.md").exists():
            shutil.copy(SMALL_TREE / "sql" / "tables.md", root)
        return root

    return plant


@pytest.fixture
def run(database_url: str) -> Iterator[Run]:
    """Runs a statement by its named parameters and returns its rows."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        transaction = connection.transaction()
        runner.run(transaction.start())

        def run(statement: Statement, **values: Any) -> list[asyncpg.Record]:
            rows: Awaitable[list[asyncpg.Record]] = connection.fetch(statement.text, *statement.arguments(values))
            return runner.run(rows)  # type: ignore[arg-type]  # a coroutine, which the stubs do not say

        yield run
        runner.run(transaction.rollback())
        runner.run(connection.close())


@pytest.fixture
def owner(run: Run) -> UUID:
    return new_user(run)


@pytest.fixture
def stranger(run: Run) -> UUID:
    return new_user(run)
