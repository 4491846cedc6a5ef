"""make storm: 50 connections log in without a pause while one other user reads their tasks.

Prints that user's latency alone and during the storm, and the statuses of the logins.
"""

import asyncio
import json
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from service.cli import embedded_postgres
from service.db import migrations
from tests import support
from tests.support import PASSWORD, SECRET

CONNECTIONS = 50
TASKS = 20
PAUSE = 0.005

DEFAULT_LIMITS: dict[str, object] = dict.fromkeys(support.NO_LIMITS)


class Client:
    """A minimal client with one connection, so that the service is measured and not the client."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> tuple[int, float, bool]:
        """Status, seconds, and whether the answer has Retry-After."""
        started = time.perf_counter()
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        return int(head.split(b" ", 2)[1]), time.perf_counter() - started, b"\r\nretry-after:" in head


def get_tasks(token: str) -> bytes:
    return f"GET /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


def log_in(email: str) -> bytes:
    body = json.dumps({"email": email, "password": PASSWORD})
    head = f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n{body}".encode()


async def read_beside(port: int, token: str, seconds: float) -> list[float]:
    request, latencies = get_tasks(token), []
    async with Client(port) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, latency, _ = await client.ask(request)
            assert status == 200
            latencies.append(latency)
            await asyncio.sleep(PAUSE)
    return latencies


async def hammer(port: int, emails: list[str], seconds: float) -> list[tuple[int, float, bool]]:
    async def one(email: str) -> list[tuple[int, float, bool]]:
        request, seen = log_in(email), []
        async with Client(port) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                seen.append(await client.ask(request))
        return seen

    return [each for seen in await asyncio.gather(*map(one, emails)) for each in seen]


def _child(pipe: Any, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    pipe.send(asyncio.run(work(*arguments)))


class BackgroundProcess:
    """Runs a coroutine function in another process, so that the load does not slow down this process."""

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._pipe, other = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_child, args=(other, work, arguments))
        self._process.start()

    def result(self) -> Any:
        found = self._pipe.recv()
        self._process.join()
        return found


def percentile(latencies: list[float], part: float) -> float:
    return round(sorted(latencies)[int(len(latencies) * part)] * 1000, 2)


def measure(url: str, directory: Path, seconds: float, **settings: object) -> dict[str, Any]:
    running: AbstractContextManager[support.Service] = support.running(
        directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, BCRYPT_ROUNDS=12, **settings
    )
    with running as service:
        user = support.sign_up(service.http)
        for number in range(TASKS):
            user.post("/api/tasks", {"title": f"Task {number}", "description": "of the user who does not log in"})
        emails = [f"{uuid4().hex}@example.com" for _ in range(CONNECTIONS)]
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda email: support.sign_up(service.http, email=email), emails))
        idle = BackgroundProcess(read_beside, service.port, user.token, seconds).result()
        storm = BackgroundProcess(hammer, service.port, emails, seconds + 4)
        time.sleep(2)
        beside = BackgroundProcess(read_beside, service.port, user.token, seconds).result()
        logins = storm.result()
    return {
        "reads alone": {"p50_ms": percentile(idle, 0.5), "p99_ms": percentile(idle, 0.99), "count": len(idle)},
        "reads beside": {"p50_ms": percentile(beside, 0.5), "p99_ms": percentile(beside, 0.99), "count": len(beside)},
        "ratio of p99": round(percentile(beside, 0.99) / percentile(idle, 0.99), 2),
        "logins": dict(Counter(status for status, _, _ in logins)),
        "refused without Retry-After": sum(status == 503 and not says for status, _, says in logins),
        "longest login_s": round(max(latency for _, latency, _ in logins), 2),
    }


def main(seconds: float) -> None:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        migrations.apply(server_url)
        for limits, settings in (("off", {}), ("on", DEFAULT_LIMITS)):
            found = measure(server_url, Path(name), seconds, **settings)
            print(json.dumps({"limits": limits} | found, indent=1))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main(float(sys.argv[1]))
