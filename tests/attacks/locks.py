"""A row of one user is locked for 7 s while that user keeps 12 PUTs waiting for it: latency of 30 other users."""

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import cycle
from pathlib import Path

import psycopg

from service.cli import embedded_postgres
from tests import databases, pgbouncer, support
from tests.attacks import Measurement
from tests.databases import Urls
from tests.storm import BackgroundProcess, Client, percentile
from tests.support import SECRET, User

USERS = 30
TASKS = 50
PUTS = 12
HELD_SECONDS = 7.0
MAX_WAIT_SECONDS = 0.5
LEAST_THROUGHPUT = 0.8


def request(method: str, path: str, token: str, body: object = None) -> bytes:
    sent = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n"
    return head.encode() + b"\r\n" + sent


async def use(port: int, users: list[tuple[str, list[str]]], seconds: float) -> tuple[list[float], int]:
    """Each user reads, updates and creates in turn. Returns the latencies and the number of failed requests."""

    async def one(token: str, task_ids: list[str]) -> tuple[list[float], int]:
        requests = [
            each
            for task_id in task_ids
            for each in (
                request("GET", f"/api/tasks/{task_id}", token),
                request("PUT", f"/api/tasks/{task_id}", token, {"is_completed": True}),
                request("POST", "/api/tasks", token, {"title": "another"}),
            )
        ]
        latencies, failed = [], 0
        async with Client(port) as client:
            end = time.monotonic() + seconds
            for each in cycle(requests):
                if time.monotonic() > end:
                    break
                status, latency, _ = await client.ask(each)
                latencies.append(latency)
                failed += status not in {200, 201}
        return latencies, failed

    found = await asyncio.gather(*(one(*user) for user in users))
    return [each for latencies, _ in found for each in latencies], sum(failed for _, failed in found)


def new_tasks(urls: Urls, user: User, number: int) -> list[str]:
    insert = "INSERT INTO tasks (user_id, title) SELECT %s, 'a task' FROM generate_series(1, %s) RETURNING id"
    with psycopg.connect(urls.admin) as connection:
        return [str(task_id) for [task_id] in connection.execute(insert, [user.id, number])]


def hold_and_put(urls: Urls, user: User, task_id: str) -> None:
    """Holds the lock on the row, and repeats each PUT as soon as it is answered."""
    end = time.monotonic() + HELD_SECONDS

    def put(_: int) -> None:
        while time.monotonic() < end:
            user.put(f"/api/tasks/{task_id}", {"is_completed": True})

    with psycopg.connect(urls.admin) as connection, ThreadPoolExecutor(PUTS) as threads:
        connection.execute("SELECT FROM tasks WHERE user_id = %s AND id = %s FOR UPDATE", [user.id, task_id])
        waiting = [threads.submit(put, number) for number in range(PUTS)]
        time.sleep(max(0, end - time.monotonic()))
        connection.rollback()
        for each in waiting:
            each.result()


def measure(name: str, urls: Urls, url: str, directory: Path, **settings: object) -> Iterator[Measurement]:
    with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, **settings) as service:
        all_users = [support.sign_up(service.http) for _ in range(USERS + 1)]
        # The open transaction prevents pruning of old row versions. With one task for each user there would be
        # thousands of versions of a row, which would slow down reads regardless of the service. Hence many tasks.
        others = [(user.token, new_tasks(urls, user, TASKS)) for user in all_users[1:]]
        [locked] = new_tasks(urls, all_users[0], 1)
        BackgroundProcess(use, service.port, others, 1.0).result()
        before, _ = BackgroundProcess(use, service.port, others, HELD_SECONDS / 2).result()
        beside = BackgroundProcess(use, service.port, others, HELD_SECONDS + 0.5)
        time.sleep(0.5)
        hold_and_put(urls, all_users[0], locked)
        during, failed = beside.result()
        after, _ = BackgroundProcess(use, service.port, others, HELD_SECONDS / 2).result()
        warnings = [
            line for line in service.lines() if line["level"] == "warning" and "lock_timeout" in line["message"]
        ]
    longest, usual = (
        max(during),
        before + after,
    )  # measured before and after, because the machine may slow down meanwhile
    ratio = len(during) / (HELD_SECONDS + 0.5) / (len(usual) / HELD_SECONDS)
    yield Measurement(f"{name}: errors of {USERS} other users", "0", f"{failed}", failed == 0)
    yield Measurement(f"{name}: their longest wait", "< 500 ms", f"{longest * 1000:.0f} ms", longest < MAX_WAIT_SECONDS)
    p99 = percentile(during, 0.99) / percentile(usual, 0.99)
    yield Measurement(f"{name}: their p99, of that without", "-", f"{p99:.2f}", is_met=True)
    yield Measurement(f"{name}: their requests, of those without", ">= 0.8", f"{ratio:.2f}", ratio >= LEAST_THROUGHPUT)
    yield Measurement(f"{name}: warnings about lock_timeout at the start", "0", f"{len(warnings)}", not warnings)


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        for workers in (1, 2):
            with databases.new_database(server_url) as url:
                urls = databases.migrate(url, with_roles=False)
                yield from measure(f"one role, WORKERS={workers}", urls, url, Path(name), WORKERS=workers)
        if pgbouncer.PROGRAM is None:
            return
        with ExitStack() as stack:
            with_roles = stack.enter_context(databases.cluster_roles(server_url))
            url = stack.enter_context(databases.new_database(server_url))
            urls = databases.migrate(url, with_roles=with_roles)
            pooler = stack.enter_context(pgbouncer.in_front_of(urls.runtime, default_pool_size=10))
            yield from measure("two roles, PgBouncer", urls, pooler.url, Path(name), WORKERS=1)
