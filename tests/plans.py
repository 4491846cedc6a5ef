"""The plan of each statement on a database of a realistic size, without the parts that differ between two runs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from service.db import migrations
from service.db.admin_session import connected
from service.db.statements import SQL, names, read
from service.review.plans import Plan, generic_plan, nodes
from tests import databases

PLANS = SQL / "plans"
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

SHOWN = (
    "Index Cond", "Recheck Cond", "Filter", "Join Filter", "Hash Cond", "Merge Cond", "One-Time Filter",
    "Sort Key", "Presorted Key", "Group Key", "Conflict Resolution", "Conflict Arbiter Indexes", "Conflict Filter",
)  # fmt: skip


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


def reduced(plan: Plan, depth: int = 0) -> Iterator[str]:
    """One line for each node and each of its conditions, without costs, widths and row counts."""
    words = [plan.get("Parent Relationship", "") if "Subplan Name" in plan else "", plan.get("Subplan Name", "")]
    words += [plan.get("Join Type", "") if plan.get("Join Type") != "Inner" else "", plan.get("Strategy", "")]
    words.append(plan.get("Operation", plan["Node Type"]))
    if plan.get("Scan Direction") == "Backward":
        words.append("backward")
    if "Index Name" in plan:
        words.append(f"using {plan['Index Name']}")
    if "Relation Name" in plan:
        words.append(f"on {plan['Relation Name']}")
    if plan.get("Alias", plan.get("Relation Name")) != plan.get("Relation Name"):
        words.append(f"as {plan['Alias']}")
    indent = "  " * depth
    yield indent + " ".join(word for word in words if word)
    for key in SHOWN:
        if key in plan:
            value = ", ".join(plan[key]) if isinstance(plan[key], list) else plan[key]
            yield f"{indent}  {key}: {value}"
    for child in plan.get("Plans", []):
        yield from reduced(child, depth + 1)


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
