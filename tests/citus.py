"""A Citus cluster for the tests: a coordinator and two workers, if a PostgreSQL with Citus is installed.

With `make test DATABASE_URL=...` of a coordinator, every test database is spread over CITUS_WORKERS, a list of socket
directories or hosts with a port: db1:5432,db2:5432.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from tests import databases
from tests.documents import DOCS, section

SECTION = section(DOCS / "database.md", "Past one machine")
SETTINGS = [
    "shared_preload_libraries=citus", "max_connections=200", "max_prepared_transactions=200", "max_wal_senders=8",
    "citus.recover_2pc_interval=1s",  # the tests kill nodes, and a transaction that is left prepared holds its locks
]  # fmt: skip
LOCALE = "C.UTF-8"  # in which lower() knows more than ASCII, as on the embedded server


class Cluster(NamedTuple):
    coordinator: str
    workers: str
    nodes: "list[databases.Server]"


def lines() -> list[str]:
    """The statements of docs/database.md in their order."""
    return re.findall(r"^SELECT create_.*;$", SECTION, re.MULTILINE)


def placed() -> dict[str, Any]:
    """The placement of each table according to docs/database.md."""
    distributed = dict(re.findall(r"create_distributed_table\('(\w+)', '(\w+)'\)", "\n".join(lines())))
    [column] = set(distributed.values())
    below = " ".join(SECTION.partition("```sql\n")[2].partition("```\n")[2].split())
    local = below.partition(" stay tables of the coordinator")[0]
    return {
        "distributed": list(distributed),
        "column": column,
        "reference": re.findall(r"create_reference_table\('(\w+)'\)", "\n".join(lines())),
        "local": re.findall(r"`(\w+)`", local),
    }


def binaries() -> Path | None:
    """The directory of the programs of a PostgreSQL with Citus: that of `pg_config` on PATH, else of the system."""
    found = sorted(Path("/usr/lib/postgresql").glob("1[5-8]/bin/pg_config"), reverse=True)
    for program in [*filter(None, [shutil.which("pg_config")]), *map(str, found)]:
        asked = subprocess.run([program, "--bindir", "--sharedir"], check=True, capture_output=True, text=True)
        directory, share = map(Path, asked.stdout.splitlines())
        if (share / "extension" / "citus.control").exists() and (directory / "initdb").exists():
            return directory
    return None


@contextmanager
def cluster(directory: Path, program_files: Path, workers: int = 2) -> Iterator[Cluster]:
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(databases.own_server(directory / name, SETTINGS, program_files, LOCALE))
            for name in ["coordinator", *(f"worker-{number}" for number in range(workers))]
        ]
        coordinator, *others = [node.url for node in nodes]
        yield Cluster(coordinator, ",".join(url.partition("?host=")[2] + ":5432" for url in others), nodes)


def join(url: str) -> None:
    """On a server with Citus, adds a new and empty database to the cluster."""
    with psycopg.connect(url, autocommit=True) as connection:
        if not is_here(connection):
            return
        connection.execute("CREATE EXTENSION citus")
        info = connection.info
        connection.execute("SELECT citus_set_coordinator_host(%s, %s)", [info.host, info.port])
        workers = list(filter(None, os.environ.get("CITUS_WORKERS", "").split(",")))
        if not workers:
            alone = "SELECT citus_set_node_property(%s, %s, 'shouldhaveshards', TRUE)"
            connection.execute(alone.encode(), [info.host, info.port])
        for worker in workers:
            host, _, port = worker.rpartition(":")
            there = f"host={host} port={port} user={info.user}"
            with psycopg.connect(there, dbname="postgres", autocommit=True) as other:
                other.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(info.dbname)))
            with psycopg.connect(there, dbname=info.dbname, autocommit=True) as other:
                other.execute("CREATE EXTENSION citus")
            connection.execute("SELECT citus_add_node(%s, %s)", [host, int(port)])


def spread(url: str) -> None:
    """Runs the statements of docs/database.md on a migrated database."""
    with psycopg.connect(url, autocommit=True) as connection:
        for line in lines() if is_here(connection) else ():
            connection.execute(line.encode())


def is_here(connection: psycopg.Connection) -> bool:
    [loaded] = connection.execute("SHOW shared_preload_libraries").fetchone() or [""]
    return "citus" in loaded
