"""make locks: applies each migration to full tables while connections read and write, and writes the longest waits
into migrations/README.md.

A migration is measured on the schema before it: each table is filled as soon as the migration that makes it is applied.
"""

import os
import tempfile
import textwrap
import time
from pathlib import Path

import psycopg

from service.cli import embedded_postgres
from service.db import migrations
from tests import databases
from tests.locks import data, probes, table, taken
from tests.locks.lines import README
from tests.locks.table import Measured

CALM_SECONDS = 3.0  # before each migration
WIDTH = 125


def measure(server_url: str) -> str:
    """The caption and the table."""
    load, *_ = os.getloadavg()
    measured = []
    calm: list[tuple[float | None, float | None]] = []
    with databases.new_database(server_url) as locks_url, databases.new_database(server_url) as url:
        taken.observe(locks_url)
        taken.observe(url)
        for migration_id in migrations.known():
            # Held up, an index would take as long as the transaction that it waits for: its locks are read elsewhere.
            locks = taken.applied(locks_url, migration_id)
            write_checkpoint(url)
            with probes.running(url) as waits:
                ready = time.monotonic()
                time.sleep(CALM_SECONDS)
                began = time.monotonic()
                done = taken.applied(url, migration_id, held_up=False)
                ended = time.monotonic()
            calm.append(waits.worst(ready, began))
            measured.append(Measured(migration_id, locks._replace(seconds=done.seconds), *waits.worst(began, ended)))
            print(table.table(measured[-1:], calm[-1]), flush=True)  # noqa: T201 - the command's output
            data.fill(url, done.new_tables)
        rows = table.table(measured, _worst(calm))
        return f"{_caption(url, load, len(calm) * CALM_SECONDS)}\n\n{rows}"


def write_checkpoint(url: str) -> None:
    """Writes out the pages of the filled tables, which would slow down the measurement."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CHECKPOINT")


def _worst(waits: list[tuple[float | None, float | None]]) -> tuple[float | None, float | None]:
    [readers, writers] = ([each for each in kind if each is not None] for kind in zip(*waits, strict=True))
    return max(readers, default=None), max(writers, default=None)


def _caption(url: str, load: float, calm_seconds: float) -> str:
    with psycopg.connect(url) as connection:
        [tasks, users] = connection.execute("SELECT (SELECT count(*) FROM tasks), count(*) FROM users").fetchone() or ()
        version = connection.info.server_version
    text = (
        f"Measured in {time.strftime('%B %Y')} on PostgreSQL {version // 10000}.{version % 10000} and {os.cpu_count()}"
        f" processors, with a load average of {load:.1f} before: {_grouped(tasks)} tasks of {_grouped(users)} users,"
        f" while {len(probes.READERS)} connections read and {len(probes.WRITERS)} wrote users and tasks without a"
        " pause, with the service's statements, or with shorter ones where the schema is older than their columns. A"
        " wait is the longest statement that ran during `migrate`; the last row shows the longest of"
        f" {calm_seconds:.0f} s without a migration. The duration is that of the migration's transactions."
    )
    return textwrap.fill(text, WIDTH)


def _grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def main() -> None:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET autovacuum = off")
            connection.execute("SELECT pg_reload_conf()")
        text = measure(server_url)
    README.write_text(table.in_document(README.read_text(), text))


if __name__ == "__main__":
    main()
