"""PgBouncer in transaction mode in front of a database, with fewer server sessions than clients."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from service.cli import embedded_postgres

SESSIONS = 3
PORT = 6432  # only a part of the socket's name
PROGRAM = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")


class PgBouncer:
    def __init__(self, url: str, directory: Path, settings: dict[str, object]) -> None:
        self._server: dict[str, Any] = conninfo_to_dict(url)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        users = {"admin": "", self._server["user"]: self._server.get("password", "")}
        (directory / "users").write_text("".join(f'"{user}" "{password}"\n' for user, password in users.items()))
        lines = {
            "listen_addr": "",
            "listen_port": PORT,
            "unix_socket_dir": directory,
            "auth_type": "trust",
            "auth_file": directory / "users",
            "admin_users": "admin",
            "pool_mode": "transaction",
            "default_pool_size": SESSIONS,
            "logfile": directory / "log",
        } | settings
        way = " ".join(f"{name}='{self._server[name]}'" for name in ("host", "port") if name in self._server)
        text = f"[databases]\n* = {way}\n[pgbouncer]\n" + "".join(
            f"{name} = {value}\n" for name, value in lines.items()
        )
        (directory / "pgbouncer.ini").write_text(text)

    @property
    def url(self) -> str:
        return self._url(self._server["user"], self._server["dbname"])

    def _url(self, user: str, database: str) -> str:
        return f"postgresql://{user}@/{database}?host={quote(str(self._directory), safe='')}&port={PORT}"

    def start(self) -> None:
        command = [
            *embedded_postgres.no_root_prefix(),
            str(PROGRAM),
            "--quiet",
            str(self._directory / "pgbouncer.ini"),
        ]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while not (self._directory / f".s.PGSQL.{PORT}").exists():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops at once: PgBouncer does not wait for clients after SIGTERM."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)

    def ask(self, command: str) -> list[dict[str, Any]]:
        """Runs a command on PgBouncer's console, which does not support prepared statements."""
        with psycopg.connect(self._url("admin", "pgbouncer"), autocommit=True) as connection:
            cursor = psycopg.ClientCursor(connection, row_factory=psycopg.rows.dict_row)
            cursor.execute(command.encode())
            return cursor.fetchall() if cursor.description else []

    def transactions(self) -> int:
        """The number of transactions passed on to the database."""
        return sum(int(row["total_xact_count"]) for row in self.ask("SHOW STATS") if row["database"] != "pgbouncer")

    def sessions(self) -> int:
        """The number of current sessions with the database."""
        return sum(1 for row in self.ask("SHOW SERVERS") if row["database"] == self._server["dbname"])


@contextmanager
def in_front_of(url: str, **settings: object) -> Iterator[PgBouncer]:
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed here")
    directory = Path("/tmp") / f"todo-test-{uuid4().hex[:12]}"  # noqa: S108 - a socket's path is short
    directory.mkdir(mode=0o700)
    pooler = PgBouncer(url, directory, settings)
    try:
        pooler.start()
        yield pooler
    finally:
        pooler.stop()
        shutil.rmtree(directory)
