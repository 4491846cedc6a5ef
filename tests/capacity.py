"""make capacity: processor time of a request in the service and in PostgreSQL, and bytes of a row.

Measures one run on the embedded server. The numbers in docs/database.md are from here.
"""

import asyncio
import json
import platform
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import bcrypt
import psycopg

from service.auth.tokens import Tokens
from service.cli import embedded_postgres
from service.db import migrations
from tests import storm, support
from tests.processes import processor_seconds
from tests.storm import BackgroundProcess, Client, get_tasks
from tests.support import PASSWORD, SECRET

USERS, TASKS_EACH = 5_000, 20
SEEDED_USERS = 200  # users that send requests in turn
LARGE_USERS, LARGE_LIST = 10, 10_000  # the default of TASKS_PER_USER
CONNECTIONS, REQUESTS, LARGE_REQUESTS, LOGINS = 8, 6_000, 500, 48
ROUNDS = 12  # the default of BCRYPT_ROUNDS
TITLE = "Call the plumber about the kitchen"
DESCRIPTION = "Before Friday, the number is on the fridge. Ask for the price."

SEED = f"""
INSERT INTO users (email, password_hash)
SELECT 'somebody.' || n || '@example.com', '{{password_hash}}' FROM generate_series(1, {USERS}) AS n;

-- Rows are inserted in the order of their times, so the tasks of one user are spread over the whole table.
INSERT INTO tasks (user_id, title, description, created_at, updated_at)
SELECT users.id, '{TITLE}', '{DESCRIPTION}', now() - n * interval '1 hour', now() - n * interval '1 hour'
FROM generate_series(1, {TASKS_EACH}) AS n, users
ORDER BY n DESC, md5(users.id::text)
"""
# After the sizes are measured, because these rows are no typical ones. Every fourth task has a date.
SEED_LARGE = f"""
WITH large AS (
    INSERT INTO users (email, password_hash)
    SELECT 'busy.' || n || '@example.com', '{{password_hash}}' FROM generate_series(1, {LARGE_USERS}) AS n
    RETURNING id, email
),

made AS (
    INSERT INTO tasks (user_id, title, description, due_on, created_at, updated_at)
    SELECT
        id, '{TITLE}', '{DESCRIPTION}', CASE WHEN n % 4 = 0 THEN date '2026-01-01' + n % 365 END,
        now() - n * interval '1 hour', now() - n * interval '1 hour'
    FROM generate_series(1, {LARGE_LIST}) AS n, large
    RETURNING id, user_id
)

SELECT DISTINCT ON (large.id) large.id, large.email, made.id FROM large JOIN made ON made.user_id = large.id
"""


class SeededUser(NamedTuple):
    id: UUID
    email: str
    task_id: UUID

    @property
    def token(self) -> str:
        return Tokens(SECRET, None, 1).issue(self.id, self.email, 0)


def read_task(user: SeededUser) -> bytes:
    return get_tasks(user.token).replace(b"/api/tasks ", f"/api/tasks/{user.task_id} ".encode())


def log_in(user: SeededUser) -> bytes:
    return storm.log_in(user.email)


def list_tasks(user: SeededUser) -> bytes:
    return get_tasks(user.token)


def list_open_tasks(user: SeededUser) -> bytes:
    return asked(user, "is_completed=false")


def page_by_creation(user: SeededUser) -> bytes:
    return asked(user, "limit=50&is_completed=false")


def page_by_due_date(user: SeededUser) -> bytes:
    return asked(user, "limit=50&sort=due_on")


def search(user: SeededUser) -> bytes:
    """For a text that no task has: all of them are looked at."""
    return asked(user, "limit=50&q=electrician")


def asked(user: SeededUser, query: str) -> bytes:
    return get_tasks(user.token).replace(b"/api/tasks ", f"/api/tasks?{query} ".encode())


def create_task(user: SeededUser) -> bytes:
    body = json.dumps({"title": TITLE, "description": DESCRIPTION})
    head = f"POST /api/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


async def send(port: int, requests: list[bytes], count: int) -> float:
    """Sends `count` requests in turn over all connections, and returns the seconds it took."""

    async def one(share: list[bytes]) -> None:
        async with Client(port) as client:
            for request in share:
                status, _, _ = await client.ask(request)
                assert status in (200, 201), status

    in_turn = list(islice(cycle(requests), count))
    started = time.monotonic()
    await asyncio.gather(*(one(in_turn[first::CONNECTIONS]) for first in range(CONNECTIONS)))
    return time.monotonic() - started


def costs(service: support.Service, server_pid: int, requests: list[bytes], count: int) -> dict[str, float]:
    BackgroundProcess(send, service.port, requests, count // 10).result()  # warms the caches and the plans
    pids = {"service_ms": service.process.pid, "postgresql_ms": server_pid}
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    seconds = BackgroundProcess(send, service.port, requests, count).result()
    spent = {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}
    return {name: round(value * 1000 / count, 2) for name, value in spent.items()} | {
        "requests_a_second": round(count / seconds)
    }


def bytes_per_row(connection: psycopg.Connection) -> dict[str, int]:
    """Bytes of each table and its indexes, divided by the number of rows."""
    found = {}
    for table in ("users", "tasks"):
        size = f"SELECT pg_total_relation_size('{table}') / count(*) FROM {table}"
        [found[table]] = connection.execute(size.encode()).fetchone() or [0]
    return found


def measure(directory: Path, url: str) -> dict[str, Any]:
    migrations.apply(url)
    with psycopg.connect(url, autocommit=True) as connection:
        password_hash = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(ROUNDS)).decode()
        connection.execute(SEED.format(password_hash=password_hash).encode())
        connection.execute("VACUUM ANALYZE")
        sizes = bytes_per_row(connection)
        version = f"PostgreSQL {connection.info.server_version // 10000}, CPython {platform.python_version()}"
        one_task = "SELECT DISTINCT ON (users.id) users.id, email, tasks.id FROM users JOIN tasks ON user_id = users.id"
        users = [SeededUser(*row) for row in connection.execute(f"{one_task} LIMIT {SEEDED_USERS}".encode())]
        large = connection.execute(SEED_LARGE.format(password_hash=password_hash).encode())
        large_users = [SeededUser(*row) for row in large]
        connection.execute("VACUUM ANALYZE")
    server_pid = int((embedded_postgres.cluster_dir(directory) / "postmaster.pid").read_text().split()[0])
    settings = {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, "BCRYPT_ROUNDS": ROUNDS, "POOL_TIMEOUT": 60}
    with support.running(directory, **settings) as service:
        found = {
            request_of.__name__: costs(service, server_pid, [request_of(user) for user in those], count)
            for request_of, those, count in (
                (list_tasks, users, REQUESTS),
                (list_open_tasks, users, REQUESTS),
                (read_task, users, REQUESTS),
                (create_task, users, REQUESTS),
                (page_by_creation, large_users, LARGE_REQUESTS),
                (page_by_due_date, large_users, LARGE_REQUESTS),
                (search, large_users, LARGE_REQUESTS),
                (log_in, users, LOGINS),
            )
        }
    return {"versions": version, "bytes per row": sizes} | found


def main() -> None:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as url:
        print(json.dumps(measure(Path(name), url), indent=1))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()
