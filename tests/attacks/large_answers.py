"""Twenty clients read the longest possible list in a loop while another user updates a task."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from service.cli import embedded_postgres
from service.db import migrations
from tests import support
from tests.attacks import Measurement
from tests.storm import PAUSE, BackgroundProcess, Client, get_tasks, percentile
from tests.support import FEBRUARY, SECRET, User, peak_of_memory

READERS = 20
SECONDS = 10.0
SETTLE_SECONDS = 2.0
LIST_BYTES = 13_000_000

# A control character is one byte in the database and six in JSON. Every tenth description has four-byte characters.
FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, repeat(chr(1), 199) || '.', repeat(CASE WHEN n %% 10 = 0 THEN '🙂' ELSE chr(1) END, 1999) || '.'
FROM generate_series(1, 1000) AS n
"""


class Reader(asyncio.Protocol):
    """Repeats its request after each answer, and looks only for the end of the answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._end = self._newest = b""
        self.answers = 0
        self.bytes = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self.bytes += len(data)
        if not self._end:
            self._end = b"\r\n0\r\n\r\n" if b"transfer-encoding: chunked" in data[:2000].lower() else b"}]}"
        self._newest = self._newest[-10:] + data
        if self._newest.endswith(self._end):
            self.answers, self._end = self.answers + 1, b""
            self._transport.write(self._request)


async def read_lists(port: int, token: str, seconds: float) -> tuple[int, int]:
    """The number of answers and of megabytes read."""
    loop = asyncio.get_running_loop()
    readers = [
        (await loop.create_connection(lambda: Reader(get_tasks(token)), "127.0.0.1", port))[1] for _ in range(READERS)
    ]
    await asyncio.sleep(seconds)
    return sum(reader.answers for reader in readers), sum(reader.bytes for reader in readers) // 1_000_000


async def change_task(port: int, token: str, task_id: str, seconds: float) -> list[float]:
    body = json.dumps({"is_completed": True})
    head = f"PUT /api/tasks/{task_id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    latencies = []
    async with Client(port) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status, latency, _ = await client.ask(request)
            assert status == 200, status
            latencies.append(latency)
            await asyncio.sleep(PAUSE)
    return latencies


def measure(url: str, directory: Path) -> Iterator[Measurement]:
    with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
        user: User = support.sign_up(service.http)
        task_id = user.creates(FEBRUARY)["id"]
        reader = support.sign_up(service.http)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(FILL, [reader.id])
            connection.execute("VACUUM ANALYZE")
        alone = BackgroundProcess(change_task, service.port, user.token, task_id, SECONDS).result()
        readers = BackgroundProcess(read_lists, service.port, reader.token, SECONDS + 2 * SETTLE_SECONDS)
        time.sleep(SETTLE_SECONDS)
        beside = BackgroundProcess(change_task, service.port, user.token, task_id, SECONDS).result()
        answers, megabytes = readers.result()
        memory = peak_of_memory(service) / 1_000_000
        size = len(reader.get("/api/tasks").content)
    assert size > LIST_BYTES, size
    times = percentile(beside, 0.5) / percentile(alone, 0.5)
    p99 = percentile(beside, 0.99)
    found = f"{percentile(alone, 0.5)} -> {percentile(beside, 0.5)} ms"
    yield Measurement(f"another user's PUT, p50 ({found})", "< 5 times", f"{times:.1f} times", times < 5)
    yield Measurement("another user's PUT, p99", "< 250 ms", f"{p99} ms", p99 < 250)
    yield Measurement("memory of the process", "< 200 MB", f"{memory:.0f} MB", memory < 200)
    yield Measurement("lists that were read meanwhile", "> 0", f"{answers}, {megabytes} MB", megabytes > 0)


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        migrations.apply(server_url)
        yield from measure(server_url, Path(name))
