"""The database of a realistic size on which the golden plans are made, and the files that hold them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from service.db import migrations
from service.db.admin_session import connected
from service.db.statements import names, read
from service.review.golden_plans import PLANS, reduced
from service.review.plans import Plan, generic_plan, nodes
from tests import databases

USERS, TASKS_EACH = 5_000, 20

SEED = f"""
-- One user in ten is of an outside issuer, and has no password.
-- The ids follow from the numbers: where a row lies in an index is the same in each database.
INSERT INTO users (id, email, password_hash, issuer, subject)
SELECT
    md5('user ' || n)::uuid,
    'user' || n || '@example.com',
    CASE WHEN n % 10 > 0 THEN 'x' END,
    CASE WHEN n % 10 = 0 THEN 'https://issuer.example' END,
    CASE WHEN n % 10 = 0 THEN 'user ' || n END
FROM generate_series(1, {USERS}) AS n;

-- Rows are inserted in the order of their times, so the tasks of one user are spread over the whole table.
INSERT INTO tasks (id, user_id, title, created_at, updated_at)
SELECT
    md5(n || ' of ' || users.email)::uuid, users.id, 'Task ' || n,
    now() - n * interval '1 hour', now() - n * interval '1 hour'
FROM generate_series(1, {TASKS_EACH}) AS n, users
ORDER BY n, md5(users.id::text);

INSERT INTO task_counters (user_id, task_count, counted_at)
SELECT id, {TASKS_EACH}, now() - interval '1 hour' FROM users;

INSERT INTO attempts (bucket, attempted_at, ends_at)
SELECT sha256(n::text::bytea), ARRAY[now()], now() + n * interval '1 second' - interval '1 hour'
FROM generate_series(1, {USERS}) AS n;

INSERT INTO deleted_outside_users (issuer, subject)
SELECT 'https://issuer.example', n::text FROM generate_series(1, {USERS}) AS n
"""


@contextmanager
def seeded_database(server_url: str) -> Iterator[str]:
    """Analyzed once; autovacuum is off, so the statistics stay the same."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum = off")
        connection.execute("SELECT pg_reload_conf()")
    with databases.new_database(server_url) as url:
        migrations.apply(url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SEED.encode())
            connection.execute("VACUUM ANALYZE")
        yield url


def plans_of(url: str) -> dict[str, Plan]:
    with connected(url) as connection, connection.transaction():
        return {name: generic_plan(connection, read(name)) for name in names()}


def indexes_of(plan: Plan) -> str:
    """The plan's indexes as written in a statement's header."""
    return ", ".join(dict.fromkeys(node["Index Name"] for node in nodes(plan) if "Index Name" in node)) or "none"


def write(url: str) -> None:
    """Writes sql/plans/ from scratch: a file of a statement that is gone disappears."""
    shutil.rmtree(PLANS, ignore_errors=True)
    for name, plan in plans_of(url).items():
        file = PLANS / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join([*reduced(plan), ""]))
