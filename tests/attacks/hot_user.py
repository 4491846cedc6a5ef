"""50 connections of one user on one task, compared with the same load from 50 users: latency of another user."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from service.cli import embedded_postgres
from tests import databases, support
from tests.attacks import Measurement
from tests.attacks.locks import request
from tests.storm import BackgroundProcess, Client, percentile
from tests.support import FEBRUARY, SECRET

CONNECTIONS = 50
SECONDS = 4.0
ROUNDS = 3
PAUSE_SECONDS = 0.005
MAX_RATIO = 1.5

Target = tuple[str, str]  # a token and a task of its user


def requests(target: Target) -> list[bytes]:
    token, task_id = target
    task = f"/api/tasks/{task_id}"
    return [request("GET", task, token), request("PUT", task, token, {"is_completed": True})]


async def load(port: int, targets: list[Target], seconds: float) -> int:
    """Loads the service over one connection for each target, and returns the number of answers."""

    async def one(target: Target) -> int:
        answered, mixed = 0, requests(target)
        async with Client(port) as client:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                for each in mixed:
                    status, _, _ = await client.ask(each)
                    assert status == 200
                    answered += 1
        return answered

    return sum(await asyncio.gather(*map(one, targets)))


async def bystand(port: int, target: Target, seconds: float) -> list[float]:
    latencies, mixed = [], requests(target)
    async with Client(port) as client:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for each in mixed:
                status, latency, _ = await client.ask(each)
                assert status == 200
                latencies.append(latency)
                await asyncio.sleep(PAUSE_SECONDS)
    return latencies


def beside(port: int, targets: list[Target], bystander: Target) -> tuple[float, float, int]:
    """The median and the p99 of the bystander in milliseconds, and the requests of the load."""
    loading = BackgroundProcess(load, port, targets, SECONDS + 2)
    time.sleep(1)
    latencies = BackgroundProcess(bystand, port, bystander, SECONDS).result()
    return percentile(latencies, 0.5), percentile(latencies, 0.99), loading.result()


def measure(url: str, directory: Path, workers: int) -> Iterator[Measurement]:
    with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, WORKERS=workers) as service:
        users = [support.sign_up(service.http) for _ in range(CONNECTIONS + 1)]
        bystander, *targets = [(user.token, user.creates(FEBRUARY)["id"]) for user in users]
        of_many, of_one = [], []
        for _ in range(ROUNDS):  # alternating, so that a slow moment of the machine affects both
            of_many.append(beside(service.port, targets, bystander))
            of_one.append(beside(service.port, targets[:1] * CONNECTIONS, bystander))
    (p50, p99, answered), (hot_p50, hot_p99, hot_answered) = (
        tuple(median(values) for values in zip(*found, strict=True)) for found in (of_many, of_one)
    )
    title = f"WORKERS={workers}: another user's"
    for name, usual, hot in (("median", p50, hot_p50), ("p99", p99, hot_p99)):
        shown = f"{title} {name}, {hot} ms, of {usual} ms"
        yield Measurement(shown, f"<= {MAX_RATIO}", f"{hot / usual:.2f}", hot <= MAX_RATIO * usual)
    yield Measurement(
        f"WORKERS={workers}: requests of the one user, of those of {CONNECTIONS}",
        "-",
        f"{hot_answered / answered:.2f}",
        is_met=True,
    )


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        for workers in (1, 2):
            with databases.new_database(server_url) as url:
                databases.migrate(url, with_roles=False)
                yield from measure(url, Path(name), workers)
