"""Real PostgreSQL servers, databases and roles for the tests."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
from psycopg import sql

from service.cli import embedded_postgres
from service.db import migrations
from service.db.statements import SQL
from tests import citus

OWNER, RUNTIME = "todo_owner", "todo_runtime"


class Urls(NamedTuple):
    """The URLs of one database for its administrator, its owner role and its runtime role."""

    admin: str
    owner: str
    runtime: str


@contextmanager
def new_database(server_url: str, template: str = "template0") -> Iterator[str]:
    """An empty database on the server, or a copy of another one, dropped afterwards."""
    name = f"todo_test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        names = sql.Identifier(name), sql.Identifier(template)
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(*names))
    try:
        url = url_of_database(server_url, name)
        citus.join(url)
        yield url
    finally:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def copied(server_url: str, original: Urls, *, with_roles: bool) -> Iterator[Urls]:
    """A copy of a migrated database, which is quicker to make than another one. Citus cannot copy one."""
    with psycopg.connect(server_url) as connection:
        can_copy = not citus.is_here(connection)
    with new_database(server_url, *([name_of(original.admin)] if can_copy else [])) as url:
        if can_copy:
            yield _of_roles(url, with_roles=with_roles)  # grants on a database are not copied with it
        else:
            yield migrate(url, with_roles=with_roles)


@contextmanager
def cluster_roles(server_url: str) -> Iterator[bool]:
    """Whether the tests may create the roles of sql/roles.sql here. Roles that exist already are left alone."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute("SELECT to_regrole(%s) IS NULL AND to_regrole(%s) IS NULL", [OWNER, RUNTIME])
        [are_ours] = found.fetchone() or [False]
        yield are_ours
        if are_ours:
            connection.execute(f"DROP ROLE IF EXISTS {OWNER}, {RUNTIME}".encode())


def migrate(url: str, *, with_roles: bool) -> Urls:
    """Applies all migrations as the owner role if there are roles. On Citus the tables are distributed."""
    urls = _of_roles(url, with_roles=with_roles)
    migrations.apply(urls.owner)
    citus.spread(url)
    return urls


def _of_roles(url: str, *, with_roles: bool) -> Urls:
    if not with_roles:
        return Urls(url, url, url)
    password = make_roles(url)
    return Urls(url, url_of_role(url, OWNER, password), url_of_role(url, RUNTIME, password))


def make_roles(url: str) -> str:
    """Creates the roles of sql/roles.sql and returns the password of both."""
    password = uuid4().hex
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((SQL / "roles.sql").read_bytes())
        for role in (OWNER, RUNTIME):
            connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'".encode())
    return password


def url_of_database(server_url: str, name: str) -> str:
    scheme, _, rest = server_url.partition("://")
    authority, _, path = rest.partition("/")
    _, question_mark, query = path.partition("?")
    return f"{scheme}://{authority}/{name}{question_mark}{query}"


def name_of(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


def url_of_role(url: str, role: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{role}:{password}@{authority.rpartition('@')[2]}{slash}{path}"


def patient(url: str) -> str:
    """The URL with long timeouts, for a service that waits for a lock as long as a test holds it."""
    options = "options=-c%20lock_timeout%3D60s%20-c%20statement_timeout%3D60s"
    return f"{url}{'&' if '?' in url else '?'}{options}"


def installed_binaries() -> Path | None:
    """A PostgreSQL of the system's packages: older than the embedded one, and with contrib."""
    found = sorted(Path("/usr/lib/postgresql").glob("1[5-7]/bin/initdb"))
    return found[0].parent if found else None


class Server:
    """A PostgreSQL server for one test, which may stop, kill and freeze it. Its socket has a short path."""

    def __init__(self, directory: Path, binaries: Path, settings: Sequence[str] = (), locale: str = "C") -> None:
        self._binaries = binaries
        self._locale = locale
        self.data = directory / "data"
        self._log = directory / "log"
        self._sockets = Path("/tmp") / f"todo-test-{uuid4().hex[:12]}"  # noqa: S108 - a socket's path is short
        self._settings = (f"unix_socket_directories={self._sockets}", "listen_addresses=", *settings)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self._sockets}"

    def initialise(self) -> None:
        self._sockets.mkdir(mode=0o700)
        self._run("initdb", f"--pgdata={self.data}", "--username=postgres", "--auth=trust", "--encoding=UTF8",
                  f"--locale={self._locale}")  # fmt: skip

    def start(self) -> None:
        """Retries for a minute, because a server that was just killed may still be exiting and block the start."""
        options = " ".join(f"-c {shlex.quote(setting)}" for setting in self._settings)
        deadline = time.monotonic() + 60
        while True:
            try:
                return self._run("pg_ctl", f"--pgdata={self.data}", f"--log={self._log}", "--wait", "start",
                                 f"--options={options}")  # fmt: skip
            except subprocess.CalledProcessError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", f"--pgdata={self.data}", "--wait", f"--mode={mode}", "stop")

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def remove(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _signal(self, number: signal.Signals) -> None:
        """Sends the signal to the server first, because it would restart its children, and then to the children."""
        server = int((self.data / "postmaster.pid").read_text().split()[0])
        children = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # the process has just ended
                if int(path.read_text().rpartition(")")[2].split()[1]) == server:
                    children.append(int(path.parent.name))
        for pid in (server, *children):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _run(self, name: str, *arguments: str) -> None:
        command = [*embedded_postgres.no_root_prefix(), str(self._binaries / name), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=120)


@contextmanager
def own_server(
    directory: Path, settings: Sequence[str] = (), binaries: Path | None = None, locale: str = "C"
) -> Iterator[Server]:
    """A running server of the embedded PostgreSQL, or of the given binaries."""
    server = Server(directory, binaries or Path(embedded_postgres.binary("initdb")).parent, settings, locale)
    try:
        server.initialise()
        server.start()
        yield server
    finally:
        server.remove()


@contextmanager
def installed_server(directory: Path, binaries: Path, settings: Sequence[str]) -> Iterator[str]:
    with own_server(directory, ["fsync=off", *settings], binaries) as server:
        yield server.url


def given_server() -> str | None:
    return os.environ.get("DATABASE_URL")


def has_contrib(binaries: Path) -> bool:
    shared = subprocess.run([str(binaries / "pg_config"), "--sharedir"], check=True, capture_output=True, text=True)
    return (Path(shared.stdout.strip()) / "extension" / "pg_stat_statements.control").exists()
