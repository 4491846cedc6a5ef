"""A copy of the checkout with its own PostgreSQL server, for one fault at a time."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests import databases
from tests.support import ROOT

# Durability is off because the databases are temporary.
SERVER_SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=200")


class Outcome(NamedTuple):
    is_noticed: bool
    by: str  # the first test that failed
    seconds: float
    output: str


class Tree:
    def __init__(self, directory: Path, number: int) -> None:
        self._root = directory / "tree"
        self._temporary = directory / "tmp"
        self._pg = directory / "pg"
        self._number = number
        self._written_at = int(time.time())
        self._server = ExitStack()
        self._url = ""

    @classmethod
    @contextmanager
    def made(cls, directory: Path, number: int) -> Iterator["Tree"]:
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0"):
            if (ROOT / name).is_file():
                (directory / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, directory / "tree" / name)
        tree = cls(directory, number)
        try:
            tree._start_server()
            yield tree
        finally:
            tree._server.close()

    def run(self, tests: Sequence[str], timeout: float, file: str = "", planted: bytes = b"") -> Outcome:
        """Runs the tests with the planted file, if given, and restores the file afterwards."""
        before = (self._root / file).read_bytes() if file else b""
        if file:
            self._write(file, planted)
        try:
            return self._tested(tests, timeout)
        finally:
            if file:
                self._write(file, before)

    def _tested(self, tests: Sequence[str], timeout: float) -> Outcome:
        self._temporary.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        own = {"DATABASE_URL": self._url, "TMPDIR": str(self._temporary)}
        # Gives each tree its own range of ports: tests/support.py chooses it by the pytest-xdist worker.
        own["PYTEST_XDIST_WORKER"] = f"gw{9 - self._number}"
        command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
        began = time.monotonic()
        process = subprocess.Popen(
            command, cwd=self._root, env=kept | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.end_all()
            process.communicate()
            self._server.close()  # removes leftover databases and roles
            self._start_server()
            return Outcome(is_noticed=True, by=f"the timeout of {timeout:.0f} s", seconds=timeout, output="")
        finally:
            self.end_all()
            shutil.rmtree(self._temporary, ignore_errors=True)
        failed = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", output, re.MULTILINE)
        by = failed[1] if failed else f"pytest's exit code {process.returncode}"
        return Outcome(process.returncode != 0, by, time.monotonic() - began, output)

    def end_all(self) -> None:
        """Kills all processes of this tree. Services run in other sessions, so they are found by TMPDIR."""
        mark = f"TMPDIR={self._temporary}\0".encode()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):  # the process has just ended
                if mark in environment.read_bytes():
                    os.kill(int(environment.parent.name), signal.SIGKILL)

    def _write(self, file: str, content: bytes) -> None:
        """Writes the file with a new time in seconds, because Python detects a stale .pyc by seconds and size alone."""
        (self._root / file).write_bytes(content)
        self._written_at += 1
        os.utime(self._root / file, (self._written_at, self._written_at))

    def _start_server(self) -> None:
        shutil.rmtree(self._pg, ignore_errors=True)
        self._pg.mkdir()
        # Tests search for letters beyond A to Z, which the locale C does not know.
        server = databases.own_server(self._pg, SERVER_SETTINGS, locale="C.UTF-8")
        self._url = self._server.enter_context(server).url
