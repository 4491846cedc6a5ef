"""The rows on which `make locks` measures: those of each table, made as soon as a migration has made the table."""

from collections.abc import Iterable

import psycopg
from psycopg import sql

from tests.capacity import DESCRIPTION, TITLE

USERS, TASKS_EACH = 100_000, 10
MADE_BY_MIGRATE = {"migration_checksums", "histories"}  # with the rows that they have

ROWS = {
    "users": """
INSERT INTO users (email, password_hash)
SELECT 'user.' || n || '@example.com', repeat('x', 60) FROM generate_series(1, %(users)s) AS n
""",
    # In the order of their times, so the tasks of one user are spread over the whole table.
    "tasks": f"""
INSERT INTO tasks (user_id, title, description, created_at, updated_at)
SELECT users.id, '{TITLE}', '{DESCRIPTION}', now() - n * interval '1 hour', now() - n * interval '1 hour'
FROM users CROSS JOIN generate_series(1, {TASKS_EACH}) AS n
ORDER BY n DESC
""",
    "task_counters": f"""
INSERT INTO task_counters (user_id, task_count, counted_at) SELECT id, {TASKS_EACH}, now() FROM users
""",
    "deleted_tasks": """
INSERT INTO deleted_tasks (user_id, task_id, version, forget_at)
SELECT id, gen_random_uuid(), 1, now() + interval '91 days' FROM users
""",
    "idempotency_keys": """
INSERT INTO idempotency_keys (user_id, key, request_digest, answer, forget_at)
SELECT id, 'key', sha256(''), repeat('x', 600), now() + interval '1 day' FROM users
""",
    "attempts": """
INSERT INTO attempts (bucket, attempted_at, ends_at)
SELECT sha256(n::text::bytea), ARRAY[now()], now() + interval '1 hour' FROM generate_series(1, %(users)s) AS n
""",
    "deleted_outside_users": """
INSERT INTO deleted_outside_users (issuer, subject)
SELECT 'https://issuer.example', n::text FROM generate_series(1, %(users)s) AS n
""",
}


def fill(url: str, tables: Iterable[str], users: int = USERS) -> None:
    """Fills the tables, and leaves nothing to do for an autovacuum."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table in tables:
            if table not in MADE_BY_MIGRATE:
                connection.execute((ROWS[table] % {"users": users}).encode())
                connection.execute(sql.SQL("VACUUM ANALYZE {}").format(sql.Identifier(table)))
