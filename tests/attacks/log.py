"""The reader of the log stalls, with stdout and stderr in one pipe: requests and a stop must not block."""

import asyncio
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from service.cli import embedded_postgres
from service.db import migrations
from tests import support
from tests.attacks import Measurement
from tests.storm import BackgroundProcess, Client
from tests.support import SECRET, Service

REQUESTS = 20_000  # each logs a line of about 200 bytes, and a pipe holds 64 KiB
CONNECTIONS = 20
GIVES_UP_SECONDS = 5.0
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


async def ask_on(port: int) -> tuple[int, float]:
    """The number of requests answered in time, and the longest wait in seconds."""

    async def one() -> list[float]:
        waits: list[float] = []
        async with Client(port) as client:
            for _ in range(REQUESTS // CONNECTIONS):
                try:
                    status, seconds, _ = await asyncio.wait_for(client.ask(LIVE), GIVES_UP_SECONDS)
                except TimeoutError:
                    return [*waits, GIVES_UP_SECONDS]
                assert status == 200
                waits.append(seconds)
        return waits

    waits = [wait for found in await asyncio.gather(*(one() for _ in range(CONNECTIONS))) for wait in found]
    return sum(wait < GIVES_UP_SECONDS for wait in waits), max(waits)


def read_for(reader: int, seconds: float) -> bytes:
    received, end = b"", time.monotonic() + seconds
    while time.monotonic() < end:
        if select.select((reader,), (), (), 0.1)[0]:
            received += os.read(reader, 1_000_000)
    return received


def measure(url: str, directory: Path, workers: int) -> Iterator[Measurement]:
    reader, writer = os.pipe()
    port = support.free_port()
    environment = support.environment(DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, PORT=port, WORKERS=workers)
    process = subprocess.Popen(
        [sys.executable, "-m", "service"], cwd=directory, env=environment, stdout=writer, stderr=writer
    )
    os.close(writer)
    Service(port, process, directory / "no log").wait_until_ready()
    read_for(reader, 2)

    answered, longest = BackgroundProcess(ask_on, port).result()
    name = f"{workers} workers" if workers > 1 else "one process"
    yield Measurement(
        f"{name}: requests answered while the reader stalls", str(REQUESTS), str(answered), answered == REQUESTS
    )
    yield Measurement(f"{name}: longest wait", "< 250 ms", f"{longest * 1000:.0f} ms", longest < 0.25)
    log = read_for(reader, 2)
    dropped = sum(map(int, re.findall(rb'"dropped":(\d+)', log)))
    lines = log.count(b"request_id") + dropped
    yield Measurement(f"{name}: lines received or counted ({dropped})", str(REQUESTS), str(lines), lines == REQUESTS)

    BackgroundProcess(ask_on, port).result()
    process.send_signal(signal.SIGTERM)
    started = time.monotonic()
    try:
        code = str(process.wait(30))
    except subprocess.TimeoutExpired:
        code = "none"
        process.kill()
    seconds = time.monotonic() - started
    yield Measurement(f"{name}: exit code at SIGTERM while it stalls", "0", code, code == "0")
    yield Measurement(f"{name}: time until then", "< 9 s", f"{seconds:.1f} s", seconds < 9)
    os.close(reader)


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as url:
        migrations.apply(url)
        for workers in (1, 2):
            yield from measure(url, Path(name), workers)
