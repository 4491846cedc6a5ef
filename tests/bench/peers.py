"""The measured peers: start command, token verification and package versions."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import httpx

from tests.bench.installed import APPS, NODE_MODULES, PYTHON, node_version
from tests.processes import processor_seconds
from tests.support import ROOT, free_port

READY_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Peer:
    name: str
    title: str
    tokens: str  # how it verifies a token, in a line
    command: Callable[[int, int], list[str]]  # takes the port and the number of workers
    versions: Callable[[], dict[str, str]]


class Running(NamedTuple):
    pid: int  # of the parent process; workers are its descendants
    port: int


@contextmanager
def running(peer: Peer, database_url: str, secret: str, workers: int, pool: int, log: Path) -> Iterator[Running]:
    """Runs a peer. `pool` is the number of database connections of all its workers together."""
    port = free_port()
    environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ} | {
        "PYTHONPATH": str(ROOT),
        "NODE_PATH": str(NODE_MODULES),
        "NODE_ENV": "production",
        "DATABASE_URL": database_url,
        "BETTER_AUTH_SECRET": secret,
        "PORT": str(port),
        "WORKERS": str(workers),
        "POOL_MAX": str(pool // workers),
        # Limits of this service only: the peers have none, and all users come from one address.
        "LOGIN_FAILURES": "0",
        "LOGIN_FAILURES_PER_ADDRESS": "0",
        "LOGIN_FAILURES_PER_EMAIL": "0",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            peer.command(port, workers),
            cwd=log.parent,  # a directory without .env
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(peer, process, port, log)
        yield Running(process.pid, port)
    finally:
        _end(process)


def _wait_until_ready(peer: Peer, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Waits until one worker answers and all are idle. Before that, all connections would go to the first worker."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{peer.title} ended with {process.returncode}: {log}\n{log.read_text()[-2000:]}")
        if _is_live(port) and _is_calm(process.pid):
            return
        time.sleep(0.1)
    raise SystemExit(f"{peer.title} was not ready in time: {log}\n{log.read_text()[-2000:]}")


def _is_live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def _is_calm(pid: int) -> bool:
    before = processor_seconds(pid)
    time.sleep(0.5)
    return processor_seconds(pid) - before <= 0.02


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the process group holds only this peer
        process.wait()


def _service(_port: int, _workers: int) -> list[str]:
    return [sys.executable, "-m", "service"]  # its settings come from the environment


def _uvicorn(app: str, port: int, workers: int) -> list[str]:
    module = f"tests.bench.apps.{app}.app:app"
    return [str(PYTHON), "-m", "uvicorn", module, "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]


def _fastify(_port: int, _workers: int) -> list[str]:
    return ["node", str(APPS / "fastify" / "server.js")]


def _sanic(port: int, workers: int) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers), "--no-access-logs", "--no-motd"]
    return [sys.executable, "-m", "sanic", "tests.bench.apps.constant:app", *options]


def _own_versions(*packages: str) -> dict[str, str]:
    return {"CPython": platform.python_version()} | {name: metadata.version(name) for name in packages}


@cache
def _installed_versions() -> dict[str, str]:
    program = (
        "import json, platform; from importlib import metadata; "
        "found = {one.name: one.version for one in metadata.distributions()}; "
        "print(json.dumps({'CPython': platform.python_version()} | found))"
    )
    done = subprocess.run([PYTHON, "-c", program], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def _python_versions(*packages: str) -> dict[str, str]:
    return {name: _installed_versions()[name] for name in ("CPython", *packages)}


def _node_versions(*packages: str) -> dict[str, str]:
    manifests = {name: json.loads((NODE_MODULES / name / "package.json").read_text()) for name in packages}
    return {"Node.js": node_version()} | {name: manifest["version"] for name, manifest in manifests.items()}


PEERS = [
    Peer(
        "service",
        "This service",
        "PyJWT; 10 000 verified tokens remembered, each asked of the database again after 10 seconds",
        _service,
        partial(_own_versions, "sanic", "asyncpg", "pyjwt", "uvloop"),
    ),
    Peer(
        "plans",
        "FastAPI + SQLModel",
        "PyJWT, for each request",
        partial(_uvicorn, "plans_stack"),
        partial(_python_versions, "fastapi", "sqlmodel", "SQLAlchemy", "asyncpg", "uvicorn", "uvloop", "PyJWT"),
    ),
    Peer(
        "fastapi",
        "FastAPI + asyncpg",
        "PyJWT, for each request",
        partial(_uvicorn, "fastapi_asyncpg"),
        partial(_python_versions, "fastapi", "asyncpg", "orjson", "uvicorn", "uvloop", "PyJWT"),
    ),
    Peer(
        "fastify",
        "Fastify + postgres.js",
        "fast-jwt; 10 000 verified tokens remembered, the database is never asked",
        _fastify,
        partial(_node_versions, "fastify", "postgres", "@fastify/jwt", "fast-jwt"),
    ),
]
CONSTANT = Peer("constant", "Sanic, a constant", "none", _sanic, partial(_own_versions, "sanic", "uvloop"))
