"""What the statements are judged on: another server beside that of the services, and copies with faults in them."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from service.cli import embedded_postgres
from service.db import migrations
from service.db.statements import SQL
from tests import databases
from tests.plans import seeded_database
from tests.sql.faults import Plant


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
    """A database of a size that somebody could run, always on the embedded server: plans differ between versions."""
    with ExitStack() as stack:
        if databases.given_server():
            server_url = stack.enter_context(embedded_postgres.running(tmp_path_factory.mktemp("seeded")))
        yield stack.enter_context(seeded_database(server_url))


@pytest.fixture(scope="session")
def untouched_url(server_url: str, with_roles: bool) -> Iterator[str]:
    """A migrated database that nobody writes to: in one that services use, plans follow what they have stored."""
    with databases.new_database(server_url) as url:
        yield databases.migrate(url, with_roles=with_roles).runtime


@pytest.fixture(params=["the server of the tests", "an older one"])
def any_server(request: pytest.FixtureRequest) -> str:
    fixture = "untouched_url" if request.param == "the server of the tests" else "installed_url"
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """A copy of one file of sql/ with a text in it replaced, or a new file, in a tree of its own."""
    root = tmp_path / "sql"

    def plant(name: str, *replaced: tuple[str, str], new: str | None = None) -> Path:
        text = (SQL / f"{name}.sql").read_text() if new is None else new
        for good, bad in replaced:
            assert good in text
            text = text.replace(good, bad)
        file = root / f"{name}.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return root

    return plant
