"""The database of a realistic size on which the golden plans are made, and the files that hold them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from service.db import migrations
from service.db.admin_session import connected
from service.db.statements import names, names_of_requests, read
from service.review.golden_plans import PLANS, golden, is_of_older_version, reduced
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

INSERT INTO task_counters (user_id, task_count, counted_at, version)
SELECT id, {TASKS_EACH}, now() - interval '1 hour', 1000 FROM users;

INSERT INTO deleted_tasks (user_id, task_id, version, forget_at)
SELECT users.id, md5(n || ' deleted by ' || users.email)::uuid, n, now() + n * interval '1 day'
FROM generate_series(1, 5) AS n, users
ORDER BY n, md5(users.id::text);

INSERT INTO idempotency_keys (user_id, key, request_digest, answer, forget_at)
SELECT users.id, 'key ' || n, sha256(n::text::bytea), repeat('x', 600), now() + n * interval '1 hour'
FROM generate_series(1, 5) AS n, users
ORDER BY n, md5(users.id::text);

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
    """Writes sql/plans/ from scratch, except the files of older versions: no file of a statement that is gone stays."""
    for file in PLANS.rglob("*.txt"):
        if not is_of_older_version(file):
            file.unlink()
    for name, plan in plans_of(url).items():
        _write(PLANS / f"{name}.txt", reduced(plan))


def write_of_older_version(url: str) -> None:
    """Writes a file for each statement of a request that this server plans in another way than the embedded one."""
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    for file in PLANS.rglob(f"*.{version}.txt"):
        file.unlink()
    plans = plans_of(url)
    for name in names_of_requests():
        if (lines := [*reduced(plans[name])]) != golden(name):
            _write(PLANS / f"{name}.{version}.txt", lines)


def _write(file: Path, lines: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join([*lines, ""]))
