"""One database server and one service for the whole run. Every test signs up users of its own and cleans up nothing."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest

from service import embedded, migrations
from tests import support
from tests.support import FEBRUARY, JANUARY, OLD_SECRET, SECRET, Contract, Service, User


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DATABASE_URL, whose user may create databases, or an embedded server of the tests' own."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    with embedded.running(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    with support.new_database(server_url) as url:
        yield url


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    with support.new_database(server_url) as url:
        migrations.apply(url)
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[psycopg.Connection]:
    """A look behind the service: what it stored, and what no client could do."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def service(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    with support.running(
        directory, DATABASE_URL=database_url, BETTER_AUTH_SECRET=SECRET, BETTER_AUTH_SECRET_OLD=OLD_SECRET
    ) as started:
        yield started


@pytest.fixture
def start_service(database_url: str, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Another service on the same database, with other settings."""
    with ExitStack() as stack:

        def start(**settings: object) -> Service:
            wanted = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET} | settings
            return stack.enter_context(support.running(tmp_path, **wanted))

        yield start


@pytest.fixture
def http(service: Service) -> httpx.Client:
    service.http.cookies.clear()
    return service.http


@pytest.fixture(params=[FEBRUARY, JANUARY], ids=str)
def contract(request: pytest.FixtureRequest) -> Contract:
    chosen: Contract = request.param
    return chosen


@pytest.fixture
def ann(http: httpx.Client) -> User:
    return support.sign_up(http)


@pytest.fixture
def bob(http: httpx.Client) -> User:
    return support.sign_up(http)
