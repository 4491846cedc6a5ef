"""An account at its quota is deleted while 16 of its own clients write: duration, deadlocks, failed requests."""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg

from service.cli import embedded_postgres
from tests import databases, support
from tests.attacks import Measurement
from tests.databases import Urls
from tests.storm import BackgroundProcess, Client
from tests.support import FEBRUARY, PASSWORD, SECRET, Service, User

LIMIT = 10_000
WRITERS = 16
ROUNDS = 5
MAX_DELETE_SECONDS = 0.5
EXPECTED = {200, 201, 204, 401, 404, 409}


def request(method: str, path: str, token: str, body: object = None) -> bytes:
    sent = b"" if body is None else json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n"
    return head.encode() + b"\r\n" + sent


async def delete_beside_writers(port: int, token: str, task_ids: list[str]) -> tuple[float, int, dict[int, int]]:
    """Seconds and status of the deletion, and the number of each status that the writers got."""
    seen: Counter[int] = Counter()

    async def write(first: int) -> None:
        async with Client(port) as client:
            number = first
            while not seen[401]:
                path = f"/api/tasks/{task_ids[number % len(task_ids)]}"
                for each in (
                    request("PUT", path, token, {"is_completed": True}),
                    request("POST", "/api/tasks", token, {"title": "another"}),
                    request("DELETE", path, token),
                ):
                    status, _, _ = await client.ask(each)
                    seen[status] += 1
                number += WRITERS

    writers = [asyncio.create_task(write(first)) for first in range(WRITERS)]
    await asyncio.sleep(0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    started = time.perf_counter()
    writer.write(request("DELETE", "/api/auth/me", token, {"password": PASSWORD}))
    head = await reader.readuntil(b"\r\n\r\n")
    seconds = time.perf_counter() - started
    writer.close()
    await asyncio.gather(*writers)
    return seconds, int(head.split(b" ", 2)[1]), dict(seen)


def user_at_the_limit(service: Service, urls: Urls) -> tuple[User, list[str]]:
    user = support.sign_up(service.http)
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        insert = "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, %s) RETURNING id"
        task_ids = [str(row[0]) for row in connection.execute(insert.encode(), [user.id, LIMIT - 1])]
    user.creates(FEBRUARY)
    return user, task_ids


def measure(urls: Urls, directory: Path, workers: int) -> Iterator[Measurement]:
    """Uses the low BCRYPT_ROUNDS of the tests, to measure the deletion and not the hash before it."""
    settings = {"DATABASE_URL": urls.runtime, "BETTER_AUTH_SECRET": SECRET, "WORKERS": workers}
    longest, unexpected = 0.0, 0
    with support.running(directory, **settings) as service:
        for _ in range(ROUNDS):
            user, task_ids = user_at_the_limit(service, urls)
            seconds, status, seen = BackgroundProcess(
                delete_beside_writers, service.port, user.token, task_ids
            ).result()
            longest = max(longest, seconds)
            unexpected += (status != 204) + sum(number for each, number in seen.items() if each not in EXPECTED)
    name = f"WORKERS={workers}, the longest of {ROUNDS} deletions at the limit"
    yield Measurement(name, f"< {MAX_DELETE_SECONDS} s", f"{longest:.3f} s", longest < MAX_DELETE_SECONDS)
    yield Measurement(f"WORKERS={workers}, answers that are errors", "0", str(unexpected), unexpected == 0)


def run() -> Iterator[Measurement]:
    with (
        tempfile.TemporaryDirectory() as name,
        embedded_postgres.running(Path(name)) as server_url,
        databases.cluster_roles(server_url) as with_roles,
        databases.new_database(server_url) as url,
    ):
        urls = databases.migrate(url, with_roles=with_roles)
        for workers in (1, 2):
            yield from measure(urls, Path(name), workers)
        with psycopg.connect(urls.admin) as connection:
            found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
            [deadlocks] = found.fetchone() or [0]
        yield Measurement("deadlocks that the server found", "0", str(deadlocks), deadlocks == 0)
