"""The PostgreSQL of a run: its settings, its seeded rows, and the reset after each measurement.

Every id is the hash of a number: clients need no list of ids, and the ids look random to an index.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import md5
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import bcrypt
import psycopg
from psycopg import sql

from service.db import migrations
from tests import databases, support

PASSWORD = "correct horse battery"
ROUNDS = 12  # the default of BCRYPT_ROUNDS
TASKS_EACH = 20
USERS_OF_MANY, MANY_TASKS = 100, 200
DESCRIPTION = "Before Friday, the number is on the fridge. Ask for the price."

# No waits for a disk and no background work during a measurement. The benchmark compares the peers, and the database
# server is the same for all of them.
SETTINGS = {
    "shared_buffers": "512MB",
    "max_connections": "1000",
    "synchronous_commit": "off",
    "fsync": "off",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
}

# Rows are inserted in the order of their times, so the tasks of one user are spread over the whole table.
# Tasks created by a run have later times than any of these, which is how the sweep finds them.
SEED = """
SET session_replication_role = replica;

INSERT INTO users (id, email, password_hash)
SELECT md5('user ' || n)::uuid, 'user' || n || '@example.com', {password_hash}
FROM generate_series(1, {users} + {users_of_many}) AS n;

INSERT INTO tasks (id, user_id, title, description, created_at, updated_at)
SELECT md5('task ' || n || ' ' || k)::uuid, md5('user ' || n)::uuid, 'Call the plumber, ' || k, {description}, at, at
FROM
    generate_series(1, {users} + {users_of_many}) AS n,
    generate_series(1, CASE WHEN n > {users} THEN {many_tasks} ELSE {tasks_each} END) AS k,
    LATERAL (SELECT timestamptz '2025-01-01' + k * interval '1 day' + n % 80000 * interval '1.000123 second') AS t (at)
ORDER BY k, md5(n::text);

INSERT INTO task_counters (user_id, task_count, counted_at)
SELECT user_id, count(*), now() FROM tasks GROUP BY user_id;
"""
END_OF_SEED = "2026-01-01"

SWEEP = "DELETE FROM tasks WHERE user_id = ANY(%s) AND created_at >= %s"
COUNT = """
UPDATE task_counters SET task_count = (SELECT count(*) FROM tasks WHERE tasks.user_id = task_counters.user_id)
WHERE user_id = ANY(%s)
"""
PILE = """
INSERT INTO tasks (user_id, title) SELECT owner, 'To be deleted'
FROM unnest(%s::uuid[]) AS owner, generate_series(1, %s) ORDER BY random() RETURNING user_id, id
"""


def user_id(number: int) -> UUID:
    return UUID(md5(f"user {number}".encode(), usedforsecurity=False).hexdigest())


def task_id(number: int, task: int) -> UUID:
    return UUID(md5(f"task {number} {task}".encode(), usedforsecurity=False).hexdigest())


def email(number: int) -> str:
    return f"user{number}@example.com"


class Server(NamedTuple):
    port: int
    pid: int

    def url(self, name: str = "postgres") -> str:
        """The URL over TCP, as in production."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"


@contextmanager
def running_server(directory: Path) -> Iterator[Server]:
    port = support.free_port()
    settings = SETTINGS | {"listen_addresses": "127.0.0.1", "port": str(port)}
    with databases.own_server(directory, [f"{name}={value}" for name, value in settings.items()]) as server:
        yield Server(port, int((server.data / "postmaster.pid").read_text().split()[0]))


class Database(NamedTuple):
    """A database of `users` users with 20 tasks each, followed by a hundred users with 200 tasks each."""

    server: Server
    name: str
    users: int

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    @property
    def rows(self) -> int:
        return self.users * TASKS_EACH + USERS_OF_MANY * MANY_TASKS

    def make(self) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(self.name)))
        migrations.apply(self.url)
        password_hash = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(ROUNDS)).decode()
        values = {
            "users": self.users,
            "users_of_many": USERS_OF_MANY,
            "tasks_each": TASKS_EACH,
            "many_tasks": MANY_TASKS,
            "password_hash": password_hash,
            "description": DESCRIPTION,
        }
        with psycopg.connect(self.url, autocommit=True) as connection:
            seed = sql.SQL(SEED).format(**{name: sql.Literal(value) for name, value in values.items()})
            connection.execute(seed)
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def sweep(self, numbers: Sequence[int]) -> None:
        """Deletes the tasks that a run created for these users, then vacuums and writes a checkpoint."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(SWEEP, [[user_id(number) for number in numbers], END_OF_SEED])
            connection.execute(COUNT, [[user_id(number) for number in numbers]])
            connection.execute("VACUUM tasks, task_counters")
            connection.execute("CHECKPOINT")

    def pile(self, numbers: Sequence[int], each: int) -> list[tuple[UUID, UUID]]:
        """Inserts `each` new tasks for each of these users, and returns owners and ids in random order."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            rows = connection.execute(PILE, [[user_id(number) for number in numbers], each]).fetchall()
            connection.execute(COUNT, [[user_id(number) for number in numbers]])
            connection.execute("CHECKPOINT")
        return [(owner, task) for owner, task in rows]

    def version(self) -> str:
        with psycopg.connect(self.url) as connection:
            number = connection.info.server_version
            return f"{number // 10000}.{number % 10000}"
