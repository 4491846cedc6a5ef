"""A start on a terminal: it says what it does, and ends with the addresses that a developer needs next."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from service.db import migrations
from tests.support import FRONTEND, SECRET, TRUST, environment, free_port

SANIC = [str(Path(sys.executable).parent / "sanic"), "service.cli.factory:app_factory", "--factory"]
SERVE = [sys.executable, "-m", "service"]


class Terminal:
    """A command whose output is a terminal, which nothing but a test reads."""

    def __init__(self, command: list[str], directory: Path, settings: dict[str, object]) -> None:
        self._fd, other_end = os.openpty()
        self.text = ""
        self.process = subprocess.Popen(
            command, cwd=directory, env=environment(LOG_FORMAT="auto", **settings),
            stdin=subprocess.DEVNULL, stdout=other_end, stderr=other_end, start_new_session=True,
        )  # fmt: skip
        os.close(other_end)

    def read(self) -> bool:
        """Whether there may be more."""
        with suppress(OSError):  # the other end is closed
            if not select.select([self._fd], [], [], 0.05)[0]:
                return self.process.poll() is None
            received = os.read(self._fd, 65536)
            self.text += received.decode().replace("\r\n", "\n")
            return bool(received)
        return False

    def end(self) -> None:
        """Sanic's own command line loses a signal in the moment in which it is ready, so it gets another."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if time.monotonic() < deadline else signal.SIGKILL)
            again = time.monotonic() + 2
            while self.read() and self.process.poll() is None and time.monotonic() < again:
                pass
        while self.read():
            pass
        os.close(self._fd)


@contextmanager
def on_a_terminal(command: list[str], directory: Path, port: int, **settings: object) -> Iterator[Terminal]:
    """Until it serves."""
    terminal = Terminal(command, directory, {"PORT": port, **settings})
    deadline = time.monotonic() + 60
    try:
        while terminal.process.poll() is None and time.monotonic() < deadline:
            terminal.read()
            if "ready:" not in terminal.text:
                continue
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health/live", verify=TRUST)
                break
        yield terminal
    finally:
        terminal.end()


def test_a_first_start_says_what_it_does_and_ends_with_the_addresses_the_data_and_the_origins(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    allowed = f"{FRONTEND},https://app.example.com"

    with on_a_terminal(SERVE, tmp_path, port, FRONTEND_URL=allowed) as terminal:
        pass

    lines = [re.sub(r"^\d\d:\d\d:\d\d info +", "", line) for line in terminal.text.splitlines()]
    served = [line for line in lines if not line.startswith("GET ")]
    assert served == [
        "starting an embedded PostgreSQL 18 under .data: for a laptop and for tests, not for production",
        f"applying {len(migrations.known())} migrations",
        *(f"applied migration {migration_id}" for migration_id in migrations.known()),
        "ready:",
        f"  API base URL        {url}",
        f"  January's base URL  {url}/v1",
        f"  documentation       {url}/docs",
        f"  data                {tmp_path / '.data'}",
        f"  allowed origins     {FRONTEND}, https://app.example.com (FRONTEND_URL)",
    ]


@pytest.mark.parametrize(
    ("command", "workers"),
    [(SERVE, 1), (SERVE, 2), ([*SERVE, "serve", "--reload"], 1), (SANIC, 1), ([*SANIC, "--single-process"], 1)],
    ids=["service", "workers", "reload", "sanic", "sanic in one process"],
)
def test_no_way_to_start_shows_sanics_advice_to_run_in_debug_mode(
    database_url: str, tmp_path: Path, command: list[str], workers: int
) -> None:
    port = free_port()
    if command[0] == SANIC[0]:
        command = [*command, "--host", "127.0.0.1", "--port", str(port)]
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "WORKERS": workers}

    with on_a_terminal(command, tmp_path, port, **settings) as terminal:
        assert terminal.process.poll() is None

    assert "/health/live 200" in terminal.text
    assert "PRODUCTION" not in terminal.text
    assert "\x1b[" not in terminal.text, "nothing is coloured"
