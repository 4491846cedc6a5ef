"""Starts `python -m service` by forking a process that has imported it already: imports are most of a start.

For tests of a service that runs, not of its start. Linux only; elsewhere they start an ordinary process."""

import atexit
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
# The interpreter and the C library read these once, at the start of a process.
READ_AT_START = ("LANG", "LC_", "MALLOC_", "PYTHON")
MAX_MESSAGE_BYTES = 1 << 16
NUMBER_BYTES = 8


def can_start(settings: dict[str, object]) -> bool:
    return hasattr(os, "pidfd_open") and not any(name.startswith(READ_AT_START) for name in settings)


class ForkedProcess:
    """A process that the fork server has started, with the methods of subprocess.Popen that the tests use.

    The fork server is its parent, and sends its exit status through a pipe."""

    def __init__(self, pid: int, status: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        return self._ended_within(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._ended_within(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("python -m service", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _ended_within(self, seconds: float | None) -> int | None:
        if self.returncode is None:
            with selectors.PollSelector() as selector, suppress(ValueError, KeyError):  # another thread has closed it
                selector.register(self._status, selectors.EVENT_READ)
                selector.select(seconds)
        with self._lock:
            if self.returncode is None and _is_readable(self._status):
                self.returncode = os.waitstatus_to_exitcode(_read_number(self._status))
                os.close(self._status)
        return self.returncode


class ForkServer:
    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fork_server", str(number)],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
            )

    def start(
        self, arguments: list[str], directory: Path, environment: dict[str, str], stdout: BinaryIO, stderr: BinaryIO
    ) -> ForkedProcess:
        message = json.dumps({"arguments": arguments, "directory": str(directory), "environment": environment})
        status, writer = os.pipe()
        try:
            with self._lock:
                files = [stdout.fileno(), stderr.fileno(), writer]
                socket.send_fds(self._connection, [message.encode()], files)
        finally:
            os.close(writer)
        return ForkedProcess(_read_number(status), status)

    def close(self) -> None:
        self._connection.close()
        self._process.wait()


@cache
def of_this_process() -> ForkServer:
    server = ForkServer()
    atexit.register(server.close)
    return server


class Request(NamedTuple):
    given: dict[str, Any]
    stdout: int
    stderr: int
    status: int


def next_request(connection: socket.socket) -> Request | None:
    """Returns in each forked process with what it is to do; None in the server itself, once the tests have ended."""
    selector = selectors.PollSelector()
    selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.data is not None:
                selector.unregister(key.fileobj)
                _report_end(key.fd, *key.data)
                continue
            message, files, *_ = socket.recv_fds(connection, MAX_MESSAGE_BYTES, 3)
            if not message:
                return None
            request = Request(json.loads(message), *files)
            pid = os.fork()
            if pid == 0:
                return request
            os.close(request.stdout)
            os.close(request.stderr)
            _write_number(request.status, pid)
            selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, request.status))


def run(request: Request) -> None:
    """Makes of a forked process what `python -m service` is, and runs it."""
    os.setsid()
    os.chdir(request.given["directory"])
    os.environ.clear()
    os.environ.update(request.given["environment"])
    time.tzset()
    os.dup2(request.stdout, 1)
    os.dup2(request.stderr, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.argv = ["service", *request.given["arguments"]]
    runpy.run_module("service", run_name="__main__", alter_sys=True)


def _report_end(process_file: int, pid: int, status: int) -> None:
    os.close(process_file)
    _write_number(status, os.waitpid(pid, 0)[1])
    os.close(status)


def _write_number(file: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the tests have closed the pipe
        os.write(file, number.to_bytes(NUMBER_BYTES, "big"))


def _read_number(file: int) -> int:
    number = os.read(file, NUMBER_BYTES)
    assert len(number) == NUMBER_BYTES, "the fork server has ended"
    return int.from_bytes(number, "big")


def _is_readable(file: int) -> bool:
    with selectors.PollSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(0))


if __name__ == "__main__":
    import service.cli.main  # noqa: F401 - for the processes that are forked

    gc.freeze()  # no forked process looks at, and so copies, what was imported
    asked = next_request(socket.socket(fileno=int(sys.argv[1])))
    if asked is not None:
        run(asked)
