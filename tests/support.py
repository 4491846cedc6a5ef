"""Helpers of all tests: a real service in a separate process, its log, and users of both contracts."""

import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from uuid import uuid4

import httpx

from tests import fork_server
from tests.fork_server import ForkedProcess

ROOT = Path(__file__).resolve().parent.parent
SECRET = "a-secret-of-the-tests-that-is-long-enough"
OLD_SECRET = "the-secret-before-it-that-is-long-enough"
PASSWORD = "correct horse"
FRONTEND = "http://localhost:3000"
# In DATA_DIR while the embedded PostgreSQL runs; its first line is the server's process id.
POSTMASTER = Path("postgresql") / "postmaster.pid"


@dataclass(frozen=True)
class Contract:
    """The differences of a contract, so that a test of both is written once."""

    name: str
    prefix: str
    flag: str
    title_limit: int
    description_limit: int

    def __str__(self) -> str:
        return self.name

    def task(self, body: Any) -> Any:
        """The task in an answer, which January wraps in an object."""
        return body["task"] if self.name == "january" else body

    def list_of(self, *tasks: Any) -> dict[str, Any]:
        """The whole list on one page. January's has no cursor."""
        return {"tasks": list(tasks)} | ({} if self.name == "january" else {"next_cursor": None})

    def token_error(self, code: str, text: str) -> dict[str, str]:
        return {"error": "Unauthorized" if self.name == "january" else text, "code": code}

    def invalid(self, *details: tuple[str, str]) -> dict[str, Any]:
        return {
            "error": details[0][1] if self.name == "january" else "Validation failed",
            "code": "VALIDATION_ERROR",
            "details": [{"field": name, "message": message} for name, message in details],
        }


FEBRUARY = Contract("february", "/api", "is_completed", 200, 2000)
JANUARY = Contract("january", "/v1/api", "completed", 255, 1000)

# Off, because all tests come from one address. Tests of the limits set their own.
NO_LIMITS = {
    "LOGIN_FAILURES": "0",
    "LOGIN_FAILURES_PER_ADDRESS": "0",
    "LOGIN_FAILURES_PER_EMAIL": "0",
    "SIGNUPS_PER_ADDRESS": "0",
}

# Shared, because creating a context takes longer than most requests of the tests, none of which uses https.
TRUST = ssl.create_default_context()

# High limits: one thread could close an excess or idle connection just after another thread has been given it.
LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=60)

TASK_NOT_FOUND = {"error": "Task not found", "code": "NOT_FOUND"}
NOT_FOUND = {"error": "Not found", "code": "NOT_FOUND"}


_addresses = count(1)


def new_email() -> str:
    return f"{uuid4().hex}@example.com"


def new_address() -> str:
    """An address without attempts, for X-Forwarded-For. All services that share a database count attempts together."""
    number = next(_addresses)
    return f"198.51.{number // 256}.{number % 256}"


@dataclass(frozen=True)
class User:
    http: httpx.Client
    id: str
    email: str
    token: str

    def request(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} | arguments.pop("headers", {})
        return self.http.request(method, path, headers=headers, **arguments)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, json: Any = None, **arguments: Any) -> httpx.Response:
        return self.request("POST", path, json=json, **arguments)

    def put(self, path: str, json: Any = None, **arguments: Any) -> httpx.Response:
        return self.request("PUT", path, json=json, **arguments)

    def delete(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("DELETE", path, **arguments)

    def creates(self, contract: Contract, title: str = "Water the plants", **fields: Any) -> dict[str, Any]:
        answer = self.post(f"{contract.prefix}/tasks", {"title": title, **fields})
        assert answer.status_code == 201, answer.text
        task: dict[str, Any] = contract.task(answer.json())
        return task


def sign_up(http: httpx.Client, contract: Contract = FEBRUARY, **fields: Any) -> User:
    given = {"email": new_email(), "password": PASSWORD} | fields
    answer = http.post(f"{contract.prefix}/auth/signup", json=given)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    return User(http, body["user"]["id"], body["user"]["email"], body["token"])


@dataclass
class Service:
    """A running `python -m service` and its log."""

    port: int
    process: subprocess.Popen[bytes] | ForkedProcess
    log: Path
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.url, timeout=60, verify=TRUST, limits=LIMITS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def lines_of(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("request_id") == request_id]

    def raw(self, sent: bytes, *, timeout: float = 30) -> bytes:
        """The whole answer to these bytes until the service closes the connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(sent)
            answer = b""
            while received := connection.recv(65536):
                answer += received
        return answer

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the service ended with {self.process.returncode}: {self.log.read_text()}")
            try:
                if self.http.get("/health/live").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"the service was not ready in time: {self.log.read_text()}")

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(with_signal)
        return self.wait()

    def wait(self) -> int:
        """Waits for the end of the service and returns its exit code."""
        self.http.close()
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()  # or it would disturb every test after this one
            self.process.wait()
            raise


def logs_in(service: Service, user: User) -> int:
    given = {"email": user.email, "password": PASSWORD}
    return service.http.post("/api/auth/login", json=given).status_code


def peak_of_memory(service: Service) -> int:
    """The peak memory in bytes since the start of the service. Linux only."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def environment(**settings: object) -> dict[str, str]:
    """The environment of a service: the test's settings and defaults, without the machine's own settings. The port is a
    free one, because `make run` in another window has the default."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    defaults = {"PYTHONPATH": str(ROOT), "BCRYPT_ROUNDS": "10", "DRAIN": "0", "LOG_FORMAT": "json"}
    # Long, because a busy machine hashes slowly and a request outside the subject of a test must not get a 503.
    defaults["POOL_TIMEOUT"] = "30"
    defaults["PORT"] = str(free_port())
    return kept | defaults | NO_LIMITS | {name: str(value) for name, value in settings.items() if value is not None}


def copy_of_service(directory: Path) -> Path:
    """A copy of what `python -m service` needs, to be changed; PYTHONPATH makes a service run it."""
    for folder in ("service", "sql", "migrations"):
        shutil.copytree(ROOT / folder, directory / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return directory


def start(directory: Path, *command: str, **settings: object) -> Service:
    """Starts a service in `directory`, which has no .env, and does not wait until it is ready."""
    port = int(str(settings.setdefault("PORT", free_port())))
    log = directory / f"service-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *command],
            cwd=directory,
            env=environment(**settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Service(port, process, log)


def fork(directory: Path, **settings: object) -> Service:
    """As `start`, in a third of the time."""
    port = int(str(settings.setdefault("PORT", free_port())))
    log = directory / f"service-{port}.log"
    with log.open("wb") as output:
        process = fork_server.of_this_process().start([], directory, environment(**settings), output, output)
    return Service(port, process, log)


@contextmanager
def running(directory: Path, **settings: object) -> Iterator[Service]:
    service = (fork if fork_server.can_start(settings) else start)(directory, **settings)
    try:
        service.wait_until_ready()
        yield service
    finally:
        if service.process.poll() is None:
            service.process.terminate()
        service.wait()


def command(directory: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Runs `python -m service` with these arguments to its end."""
    given = environment(**settings)
    with TemporaryFile() as output, TemporaryFile() as errors:
        if fork_server.can_start(settings):
            process = fork_server.of_this_process().start([*arguments], directory, given, output, errors)
            try:
                code = process.wait(timeout=120)
            finally:
                process.kill()
        else:
            ordinary = [sys.executable, "-m", "service", *arguments]
            run = partial(subprocess.run, stdout=output, stderr=errors, timeout=120, check=False)
            code = run(ordinary, cwd=directory, env=given).returncode
        output.seek(0)
        errors.seek(0)
        return subprocess.CompletedProcess(arguments, code, output.read().decode(), errors.read().decode())


def candidate_ports() -> Iterator[int]:
    """Ports below Linux's ephemeral range, so that no other connection takes one before the service has bound it.
    Each parallel worker of the tests, of ten at most, has its own thousand ports."""
    of_this_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 10
    first = 20_000 + 1000 * of_this_process
    while True:
        yield from random.sample(range(first, first + 1000), 1000)


_ports = candidate_ports()


def free_port() -> int:
    while True:
        port = next(_ports)
        with socket.socket() as probe, suppress(OSError):  # the port is in use
            probe.bind(("127.0.0.1", port))
            return port
