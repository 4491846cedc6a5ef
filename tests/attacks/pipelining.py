"""Connections that pipeline requests without end: latency of clients that wait for each answer."""

import asyncio
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from service.cli import embedded_postgres
from service.db import migrations
from tests import support
from tests.attacks import Measurement
from tests.storm import PAUSE, BackgroundProcess, Client, get_tasks, percentile
from tests.support import FEBRUARY, SECRET

SECONDS = 4.0
SETTLE_SECONDS = 1.5
AT_ONCE = 50_000  # requests
BYSTANDERS = 4  # connections, enough that each of two workers gets some
LONGEST_WAIT_MS = 50.0
PATHS = {"GET /": "/", "404": "/nothing", "401": "/api/tasks", "/health/live": "/health/live"}


async def flood(port: int, path: str, connections: int, seconds: float) -> int:
    """Floods the service and returns the number of answers."""
    os.nice(19)  # bystanders on the same cores should wait for the service, not for this process
    requests = AT_ONCE * f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    answers = 0

    async def send(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(requests)
            await writer.drain()
            await asyncio.sleep(0)

    async def read(reader: asyncio.StreamReader) -> None:
        nonlocal answers
        while received := await reader.read(1024 * 1024):
            answers += received.count(b"HTTP/1.1 ")

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for _ in range(connections):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                tasks.create_task(send(writer))
                tasks.create_task(read(reader))
    return answers


async def ask_beside(port: int, token: str, seconds: float) -> list[float]:
    requests = (get_tasks(token), b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")

    async def one(request: bytes) -> list[float]:
        latencies = []
        async with Client(port) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                status, latency, _ = await client.ask(request)
                assert status == 200, status
                latencies.append(latency)
                await asyncio.sleep(PAUSE)
        return latencies

    found = await asyncio.gather(*(one(requests[number % 2]) for number in range(BYSTANDERS)))
    return [each for latencies in found for each in latencies]


def measure(url: str, directory: Path, workers: int) -> Iterator[Measurement]:
    with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, WORKERS=workers) as service:
        user = support.sign_up(service.http)
        for number in range(20):
            user.creates(FEBRUARY, f"Task {number}")
        for title, path in PATHS.items():
            for connections in (1, 10):
                attack = BackgroundProcess(flood, service.port, path, connections, SECONDS + 2 * SETTLE_SECONDS)
                time.sleep(SETTLE_SECONDS)
                waits = BackgroundProcess(ask_beside, service.port, user.token, SECONDS).result()
                answers = attack.result()
                p50, longest = percentile(waits, 0.5), round(max(waits) * 1000, 1)
                name = f"{workers} workers, {connections:2} x {title}, {answers} answers, p50 {p50} ms; longest wait"
                yield Measurement(name, f"< {LONGEST_WAIT_MS:.0f} ms", f"{longest} ms", longest < LONGEST_WAIT_MS)


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        migrations.apply(server_url)
        for workers in (1, 2):
            yield from measure(server_url, Path(name), workers)
