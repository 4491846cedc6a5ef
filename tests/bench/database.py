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
DESCRIPTION = "Before Friday, the number is on the fridge. Ask for the price."


class Group(NamedTuple):
    """Users with another number of tasks, all of them for routes that only read."""

    users: int
    tasks_each: int


MANY = Group(100, 200)
HALF_DONE = Group(100, 40)  # every second task is completed
DEEP = Group(20, 10_000)  # the default of TASKS_PER_USER
GROUPS = (MANY, HALF_DONE, DEEP)  # in the order of their users, who follow those with 20 tasks


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
# Some tasks have a due date, fewer a time, fewer a zone; a task of a group with many has a time of a day, not a day.
SEED = """
SET session_replication_role = replica;

INSERT INTO users (id, email, password_hash)
SELECT md5('user ' || n)::uuid, 'user' || n || '@example.com', {password_hash}
FROM generate_series(1, {all_users}) AS n;

INSERT INTO tasks (
    id, user_id, title, description, is_completed, due_on, due_time, time_zone, priority, tags, completed_at,
    created_at, updated_at
)
SELECT
    md5('task ' || n || ' ' || k)::uuid, md5('user ' || n)::uuid, 'Call the plumber, ' || k, {description},
    is_completed,
    CASE WHEN k % 4 = 0 THEN date '2026-12-24' + k % 7 END,
    CASE WHEN k % 8 = 0 THEN time '09:30' END,
    CASE WHEN k % 16 = 0 THEN 'Europe/Berlin' END,
    k % 4,
    CASE WHEN k % 5 = 0 THEN '["home", "Küche"]'::jsonb ELSE '[]' END,
    CASE WHEN is_completed THEN at END,
    at, at
FROM
    unnest({first_users}::int[], {last_users}::int[], {tasks_each}::int[]) AS g (first_user, last_user, tasks_each),
    generate_series(first_user, last_user) AS n,
    generate_series(1, tasks_each) AS k,
    LATERAL (
        SELECT
            timestamptz '2025-01-01' + n % 80000 * interval '1.000123 second'
            + k * CASE WHEN tasks_each > 365 THEN interval '1 minute' ELSE interval '1 day' END,
            tasks_each = {half_done} AND k % 2 = 0
    ) AS made (at, is_completed)
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
    """A database of `users` users with 20 tasks each, followed by the users of the groups."""

    server: Server
    name: str
    users: int

    @property
    def url(self) -> str:
        return self.server.url(self.name)

    @property
    def rows(self) -> int:
        return self.users * TASKS_EACH + sum(group.users * group.tasks_each for group in GROUPS)

    def numbers(self, group: Group) -> range:
        """The users of a group."""
        first = self.users + 1 + sum(before.users for before in GROUPS[: GROUPS.index(group)])
        return range(first, first + group.users)

    def make(self) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(self.name)))
        migrations.apply(self.url)
        password_hash = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(ROUNDS)).decode()
        parts = [(range(1, self.users + 1), TASKS_EACH), *((self.numbers(group), group.tasks_each) for group in GROUPS)]
        values = {
            "all_users": parts[-1][0][-1],
            "first_users": [numbers[0] for numbers, _ in parts],
            "last_users": [numbers[-1] for numbers, _ in parts],
            "tasks_each": [tasks_each for _, tasks_each in parts],
            "half_done": HALF_DONE.tasks_each,
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
