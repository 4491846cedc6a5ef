"""More connections than MAX_CONNECTIONS pipeline large answers and read very slowly: newcomers must be served."""

import asyncio
import os
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import psycopg

from service.cli import embedded_postgres
from service.db import migrations
from tests import support
from tests.attacks import Measurement
from tests.storm import BackgroundProcess, get_tasks
from tests.support import SECRET

CONNECTIONS = 1150
PIECE_BYTES, PIECE_SECONDS = 2048, 8.0
RECEIVE_BYTES = 16 * 1024  # the client's receive buffer
NEWCOMERS = 206
PAUSE_SECONDS = 0.05
SETTLE_SECONDS = 6.0
LONGEST_SECONDS = 1.0
FILL = """
INSERT INTO tasks (user_id, title, description)
SELECT %s, 'Task ' || n, repeat('x', 100) FROM generate_series(1, 420) AS n
"""


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


# Small answers follow the large ones, so that each connection has just enough unsent to pause its requests.
ICONS = 600 * get("/docs/favicon-32x32.png")
DOCUMENTS = get("/docs/swagger-ui.css") + get("/docs/openapi.json") + ICONS


async def read_slowly(port: int, requests: bytes, seconds: float, comes_again: bool) -> int:
    """Keeps the slow connections open, and returns how many were closed by the service."""
    os.nice(19)  # newcomers on the same cores should wait for the service, not for this process
    loop = asyncio.get_running_loop()
    closed = 0

    async def one() -> None:
        nonlocal closed
        while True:
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
                connection.settimeout(0)
                with suppress(OSError):
                    await loop.sock_connect(connection, ("127.0.0.1", port))
                    await loop.sock_sendall(connection, requests)
                    while await loop.sock_recv(connection, PIECE_BYTES):  # noqa: ASYNC110 - the pace of the attack
                        await asyncio.sleep(PIECE_SECONDS)
            closed += 1
            if not comes_again:
                return
            await asyncio.sleep(0.1)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
            for _ in range(CONNECTIONS):
                tasks.create_task(one())
    return closed


async def come_anew(port: int, address: str, token: str) -> list[tuple[int, float]]:
    """Status and seconds of each newcomer; status 0 if its connection was closed without an answer."""
    found: list[tuple[int, float]] = []

    async def one(request: bytes) -> None:
        started = time.perf_counter()
        head = b""
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            writer.write(request)
            while more := await reader.read(65536):
                head = head or more
                if more.endswith(b"}"):
                    break
            writer.close()
        found.append((int(head[9:12] or 0), time.perf_counter() - started))

    paths = cycle([get("/"), get("/health"), get("/health/live"), get_tasks(token)])
    async with asyncio.TaskGroup() as tasks:
        for _, request in zip(range(NEWCOMERS), paths, strict=False):
            tasks.create_task(one(request))
            await asyncio.sleep(PAUSE_SECONDS)
    return found


def measure(url: str, directory: Path) -> Iterator[Measurement]:
    greedy = None
    for wanted, comes_again in (("documents", False), ("420 tasks", False), ("documents", True)):
        with support.running(directory, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET) as service:
            if greedy is None:
                greedy, user = support.sign_up(service.http), support.sign_up(service.http)
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(FILL, [greedy.id])
            requests = DOCUMENTS if wanted == "documents" else get_tasks(greedy.token) + ICONS
            seconds = 2 * NEWCOMERS * PAUSE_SECONDS + 2 * SETTLE_SECONDS
            attack = BackgroundProcess(read_slowly, service.port, requests, seconds, comes_again)
            time.sleep(SETTLE_SECONDS)
            for title, address in (("own", "127.0.0.1"), ("another", "127.0.0.2")):
                found = BackgroundProcess(come_anew, service.port, address, user.token).result()
                served = sum(status == 200 and took < LONGEST_SECONDS for status, took in found)
                longest = max(took for _, took in found)
                again = ", closed ones come again" if comes_again else ""
                statuses = dict(Counter(status for status, _ in found))
                name = f"{wanted}{again}: newcomers of {title} address served in 1 s"
                detail = f"{name} (longest {longest * 1000:.0f} ms, {statuses})"
                yield Measurement(detail, f"{NEWCOMERS}", f"{served}", served == NEWCOMERS)
            attack.result()


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as server_url:
        migrations.apply(server_url)
        yield from measure(server_url, Path(name))
