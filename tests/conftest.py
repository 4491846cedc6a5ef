"""One database server and one service for the whole run. Every test creates its own users and cleans up nothing."""

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import bcrypt
import httpx
import psycopg
import pytest
from sanic import Sanic

from service.app import create_app
from service.auth.tokens import Tokens
from service.cli import embedded_postgres
from service.server.http_protocol import ClientConnection
from service.server.sanic_app import ServerApp
from service.settings import resources
from service.settings.all_settings import load_settings
from tests import databases, pgbouncer, support
from tests.databases import Urls
from tests.support import FEBRUARY, JANUARY, OLD_SECRET, PASSWORD, SECRET, Contract, Service, User


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pgbouncer", action="store_true", help="services reach the database through PgBouncer")


def pytest_xdist_auto_num_workers() -> int:
    """For `--numprocesses auto`: one more than the processors, because tests also wait. There are ports for ten."""
    return min(resources.usable() + 1, 10)


def pytest_collection_finish() -> None:
    """Makes garbage collections rare, and has them leave out the modules and tests that stay until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DATABASE_URL, whose user may create databases, or a new embedded server."""
    given = databases.given_server()
    if given:
        yield given
        return
    with embedded_postgres.running(tmp_path_factory.mktemp("pg")) as url:
        yield url


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    with databases.new_database(server_url) as url:
        yield url


@pytest.fixture(scope="session")
def with_roles(server_url: str) -> Iterator[bool]:
    """Whether services run as todo_runtime. They do not if the server already had a role of that name."""
    with databases.cluster_roles(server_url) as are_ours:
        yield are_ours


@pytest.fixture(scope="session")
def migrated_database(server_url: str, with_roles: bool) -> Iterator[Urls]:
    """The template for own_database. PostgreSQL copies only a database without connections."""
    with databases.new_database(server_url) as url:
        yield databases.migrate(url, with_roles=with_roles)


@pytest.fixture
def own_database(server_url: str, migrated_database: Urls, with_roles: bool) -> Iterator[Urls]:
    """A migrated database for one test alone, which may break it."""
    with databases.copied(server_url, migrated_database, with_roles=with_roles) as urls:
        yield urls


@pytest.fixture(scope="session")
def urls(server_url: str, with_roles: bool) -> Iterator[Urls]:
    with databases.new_database(server_url) as url:
        yield databases.migrate(url, with_roles=with_roles)


@pytest.fixture(scope="session")
def database_url(urls: Urls, request: pytest.FixtureRequest) -> Iterator[str]:
    if not request.config.getoption("--pgbouncer"):
        yield urls.runtime
        return
    with pgbouncer.in_front_of(urls.runtime) as pooler:
        yield pooler.url
        assert pooler.transactions() > 0


@pytest.fixture
def database(urls: Urls) -> Iterator[psycopg.Connection]:
    """Direct access to the service's database as its administrator."""
    with psycopg.connect(urls.admin, autocommit=True) as connection:
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


@pytest.fixture(scope="session")
def password_hash() -> str:
    return bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()


@pytest.fixture
def new_user(http: httpx.Client, database: psycopg.Connection, password_hash: str) -> Callable[[], User]:
    """Inserts users directly, because a sign-up takes the time of a hash and is tested elsewhere."""

    def insert() -> User:
        email = support.new_email()
        row = database.execute(
            "INSERT INTO users (email, password_hash) VALUES (%s, %s) RETURNING id", [email, password_hash]
        ).fetchone()
        assert row is not None
        return User(http, str(row[0]), email, Tokens(SECRET, None, 1).issue(row[0], email, 0))

    return insert


@pytest.fixture
def ann(new_user: Callable[[], User]) -> User:
    return new_user()


@pytest.fixture
def bob(new_user: Callable[[], User]) -> User:
    return new_user()


@pytest.fixture
def make_app(database_url: str) -> Iterator[Callable[..., ServerApp]]:
    """Creates the application in this process, and restores logging and Sanic's registry afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    made: list[ServerApp] = []
    if "_send" not in vars(ClientConnection):
        # In its test mode Sanic keeps the original of a method that it optimises under such a name, and would take the
        # one that the base class keeps for its own method.
        ClientConnection._send = ClientConnection.send  # type: ignore[attr-defined]  # read by Sanic alone

    def make(**settings: object) -> ServerApp:
        given = {"database_url": database_url, "better_auth_secret": SECRET, "log_format": "json"} | settings
        made.append(create_app(load_settings(**given)))
        return made[-1]

    yield make
    for app in made:
        Sanic.unregister_app(app)
    root.handlers[:], root.level = handlers, level
