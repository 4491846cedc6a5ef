"""Servers, databases and roles for the tests: always real ones."""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
from psycopg import sql

from service import embedded, migrations
from service.statements import SQL

OWNER, RUNTIME = "todo_owner", "todo_runtime"


class Urls(NamedTuple):
    """One database, as those see it who may reach it."""

    admin: str
    owner: str
    runtime: str


@contextmanager
def new_database(server_url: str) -> Iterator[str]:
    """An empty database on the server, gone afterwards."""
    name = f"todo_test_{uuid4().hex[:12]}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        try:
            yield url_of_database(server_url, name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@contextmanager
def cluster_roles(server_url: str) -> Iterator[bool]:
    """Whether the tests may use the roles of sql/roles.sql here. Those that somebody else made are left alone."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute("SELECT to_regrole(%s) IS NULL AND to_regrole(%s) IS NULL", [OWNER, RUNTIME])
        [are_ours] = found.fetchone() or [False]
        yield are_ours
        if are_ours:
            connection.execute(f"DROP ROLE IF EXISTS {OWNER}, {RUNTIME}".encode())


def migrate(url: str, *, with_roles: bool) -> Urls:
    """The schema, made by the owner's role, for the role of the running service."""
    if not with_roles:
        migrations.apply(url)
        return Urls(url, url, url)
    password = make_roles(url)
    urls = Urls(url, url_of_role(url, OWNER, password), url_of_role(url, RUNTIME, password))
    migrations.apply(urls.owner)
    return urls


def make_roles(url: str) -> str:
    """The roles of sql/roles.sql, and the password of both."""
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


def url_of_role(url: str, role: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{role}:{password}@{authority.rpartition('@')[2]}{slash}{path}"


def installed_binaries() -> Path | None:
    """A PostgreSQL of the machine's own packages: an older version than the embedded one, and with contrib."""
    found = sorted(Path("/usr/lib/postgresql").glob("1[5-7]/bin/initdb"))
    return found[0].parent if found else None


@contextmanager
def installed_server(directory: Path, binaries: Path, settings: Sequence[str]) -> Iterator[str]:
    def run(name: str, *arguments: str) -> None:
        command = [*embedded.as_no_root(), str(binaries / name), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=120)

    data, sockets = directory / "data", Path("/tmp") / f"todo-test-{uuid4().hex[:12]}"  # noqa: S108 - a socket's path is short
    sockets.mkdir(mode=0o700)
    try:
        run("initdb", f"--pgdata={data}", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C")
        options = [f"unix_socket_directories={sockets}", "listen_addresses=", "fsync=off", *settings]
        run("pg_ctl", f"--pgdata={data}", f"--log={directory / 'log'}", "--wait", "start",
            "--options=" + " ".join(f"-c {shlex.quote(option)}" for option in options))  # fmt: skip
        try:
            yield f"postgresql://postgres@/postgres?host={sockets}"
        finally:
            run("pg_ctl", f"--pgdata={data}", "--wait", "--mode=immediate", "stop")
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def given_server() -> str | None:
    return os.environ.get("DATABASE_URL")


def has_contrib(binaries: Path) -> bool:
    shared = subprocess.run([str(binaries / "pg_config"), "--sharedir"], check=True, capture_output=True, text=True)
    return (Path(shared.stdout.strip()) / "extension" / "pg_stat_statements.control").exists()
