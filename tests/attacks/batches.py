"""50 connections of one user send batches of 100, each with a key: latency of another user, beside single updates."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from uuid import uuid4

from service.cli import embedded_postgres
from tests import databases, support
from tests.attacks import Measurement
from tests.attacks.hot_user import CONNECTIONS, ROUNDS, SECONDS, Target, bystand, load
from tests.attacks.quota import request
from tests.storm import BackgroundProcess, Client, percentile
from tests.support import FEBRUARY, SECRET

OPERATIONS = 100
MAX_MEDIAN_RATIO, MAX_P99_RATIO = 3, 5


def batch(token: str, task_ids: list[str], *, with_a_key: bool) -> bytes:
    body = {"operations": [{"op": "update", "id": task_id, "is_completed": True} for task_id in task_ids]}
    sent = request("POST", "/api/tasks/batch", token, body)
    key = f"Idempotency-Key: {uuid4()}\r\n".encode() if with_a_key else b""
    return sent.replace(b"Host: x\r\n", b"Host: x\r\n" + key, 1)


async def send_batches(port: int, token: str, task_ids: list[str], seconds: float) -> int:
    """The number of answers. Keys end at the limit of kept answers, so every tenth batch has one."""

    async def one() -> int:
        answered = 0
        async with Client(port) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                status, _, _ = await client.ask(batch(token, task_ids, with_a_key=answered % 10 == 0))
                assert status in {200, 429, 503}, status
                answered += 1
        return answered

    return sum(await asyncio.gather(*(one() for _ in range(CONNECTIONS))))


def measure(url: str, directory: Path) -> Iterator[Measurement]:
    with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
        ann, bob = (support.sign_up(service.http) for _ in range(2))
        task_ids = [ann.creates(FEBRUARY)["id"] for _ in range(OPERATIONS)]
        single: Target = (ann.token, task_ids[0])
        bystander: Target = (bob.token, bob.creates(FEBRUARY)["id"])
        of_updates, of_batches, answers = [], [], []
        for _ in range(ROUNDS):  # alternating, so that a slow moment of the machine affects both
            loading = BackgroundProcess(load, service.port, [single] * CONNECTIONS, SECONDS + 2)
            of_updates.append(_beside(service.port, bystander))
            loading.result()
            loading = BackgroundProcess(send_batches, service.port, ann.token, task_ids, SECONDS + 2)
            of_batches.append(_beside(service.port, bystander))
            answers.append(loading.result())
    for place, (name, most) in enumerate((("median", MAX_MEDIAN_RATIO), ("p99", MAX_P99_RATIO))):
        usual, beside = (median(each[place] for each in found) for found in (of_updates, of_batches))
        shown = f"another user's {name} beside batches, {beside:.1f} ms, of {usual:.1f} ms"
        yield Measurement(shown, f"<= {most}", f"{beside / usual:.2f}", beside <= most * usual)
    yield Measurement(f"batches of {OPERATIONS} a second", "-", f"{median(answers) / (SECONDS + 2):.0f}", is_met=True)


def _beside(port: int, bystander: Target) -> tuple[float, float]:
    time.sleep(1)
    latencies = BackgroundProcess(bystand, port, bystander, SECONDS).result()
    return percentile(latencies, 0.5), percentile(latencies, 0.99)


def run() -> Iterator[Measurement]:
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_postgres.running(Path(name)) as server_url,
        databases.new_database(server_url) as url,
    ):
        databases.migrate(url, with_roles=False)
        yield from measure(url, Path(name))
