"""The shared buffers that each statement of a request touches, on the database of the golden plans, and their growth.

A range of an index may end on the next page, and an insert may find its page full. So each statement runs for 17 users,
in transactions that are rolled back, and the median counts. It is the same in each new database, because the seed gives
its rows their ids: with random ids the 81 or 82 buffers of delete_user were on the edge between two medians.
"""

from collections.abc import Iterator
from datetime import datetime
from statistics import median_low
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import namedtuple_row

from service.db.admin_session import AdminConnection
from service.db.statements import SQL, Cost, Statement, names_of_requests, read
from service.domain.account_changes import BEFORE_ALL_IDS, MAX_TASKS_PER_DELETE
from service.domain.task_lists import SORTS, Filters, Sort
from service.domain.tasks import NO_CHANGES, NO_FIELDS, NO_QUOTA
from service.http.json_stream import MAX_PAGE_ROWS
from service.review.buffers import touched_buffers

ISSUER = "https://issuer.example"
PAGE_ROWS = 51  # of a page of 50, with the one that says whether there is a next page
FEW, MANY, MOST = 10, 1_000, 10_000  # tasks of one owner
VACUUM = b"VACUUM users, tasks, task_counters, deleted_tasks, idempotency_keys, attempts, deleted_outside_users"

# A batch of a create and a change.
BATCH = """[
  {"place": 1, "op": "create", "task_id": "0b3f0f5e-5d6d-4a55-9d3a-0f3c4f1f7a10", "version": null,
   "fields": {"title": "Buy milk", "tags": ["Home", "garden"]}},
  {"place": 2, "op": "update", "task_id": "%s", "version": null, "fields": {"is_completed": true}}
]"""

# The list of a large owner is read from as many pages as in a table that grew over years: its order is not that of the
# rows in the table.
LARGE_OWNERS = f"""
INSERT INTO users (email, password_hash)
SELECT 'owner of ' || n, 'x' FROM unnest(ARRAY[{FEW}, {MANY}, {MOST}]) AS n;

INSERT INTO tasks (user_id, title, created_at)
SELECT users.id, 'Task ' || n, now() - n * interval '1 hour'
FROM unnest(ARRAY[{FEW}, {MANY}, {MOST}]) AS total
INNER JOIN users ON users.email = 'owner of ' || total
CROSS JOIN generate_series(1, total) AS n
ORDER BY md5(n::text);

INSERT INTO task_counters (user_id, task_count, counted_at)
SELECT users.id, total, now() - interval '1 hour'
FROM unnest(ARRAY[{FEW}, {MANY}, {MOST}]) AS total
INNER JOIN users ON users.email = 'owner of ' || total
"""

OWNERS = """
SELECT
    users.id AS user_id, users.email, newest.id AS task_id, newest.created_at,
    outside.id AS outside_user_id, outside.subject, attempts.bucket, attempts.attempted_at[1] AS attempted_at
FROM unnest(%s::text[], %s::integer[]) AS wanted (email, n)
INNER JOIN users ON users.email = wanted.email
INNER JOIN users AS outside ON outside.subject = 'user ' || wanted.n
INNER JOIN attempts ON attempts.bucket = sha256(wanted.n::text::bytea)
CROSS JOIN LATERAL (
    SELECT id, created_at FROM tasks WHERE user_id = users.id ORDER BY created_at DESC, id DESC LIMIT 1
) AS newest
ORDER BY wanted.n
"""


class Owner(NamedTuple):
    """A user with the newest of their tasks, a user of an outside issuer, and a bucket of attempts."""

    user_id: UUID
    email: str
    task_id: UUID
    created_at: datetime
    outside_user_id: UUID
    subject: str
    bucket: bytes
    attempted_at: datetime


def values_of(owner: Owner) -> dict[str, dict[str, object]]:
    """Typical parameters of each statement. What it looks for is there, and what it makes is new."""
    user: dict[str, object] = {"user_id": owner.user_id}
    token = user | {"token_generation": 0}
    task = user | {"task_id": owner.task_id}
    outside: dict[str, object] = {"issuer": ISSUER, "subject": owner.subject}
    limit: dict[str, object] = {"bucket": owner.bucket, "most": 10, "window": "15 minutes"}
    new_hash, network = "x" * 60, b"\1" * 32  # as long as those of the service
    return {
        "accounts/change_password": token | {"password_hash": new_hash},
        "accounts/check_token": token,
        "accounts/count_rows_of_user": user,
        "accounts/create_user": {"email": f"new {owner.email}", "password_hash": new_hash, "network": network},
        "accounts/delete_tasks": token | {"after_id": BEFORE_ALL_IDS, "max_tasks": MAX_TASKS_PER_DELETE},
        "accounts/delete_user": token,
        "accounts/find_credentials": {"email": owner.email},
        "accounts/find_deleted_user": outside,
        "accounts/find_outside_user": outside,
        "accounts/get_identity": user,
        "accounts/get_password": user,
        "accounts/get_user": user,
        "accounts/remember_network": user | {"network": network},
        "accounts/revoke_tokens": user,
        "accounts/save_outside_user": {
            "issuer": ISSUER, "subject": f"new {owner.subject}", "email": owner.email, "issued_at": "infinity",
        },
        "accounts/update_outside_email": {"user_id": owner.outside_user_id, "email": f"new {owner.email}"},
        "accounts/upgrade_hash": token | {"new_hash": new_hash},
        "accounts/user_exists": user,
        "attempts/count_attempt": limit,
        "attempts/get_wait": limit,
        "attempts/take_back_attempt": {"bucket": owner.bucket, "attempted_at": owner.attempted_at},
        "health/check_server": {"migration_ids": ["0001_create_users"]},
        "health/count_connections": {},
        "health/get_lock_timeout": {},
        "health/get_server_pid": {},
        "health/is_distributed": {},
        "health/reach_tasks": {"user_id": UUID(int=0)},
        "tasks/count_tasks": user,
        "tasks/create_task": NO_FIELDS | user | {"title": "Buy milk", "max_tasks": NO_QUOTA},
        "tasks/delete_task": task | {"versions": None, "kept_days": 91},
        "tasks/find_answer": user | {"key": "key 3"},
        "tasks/find_used_id": task,
        "tasks/get_history": user,
        "tasks/keep_answer": user
        | {
            "key": "new", "request_digest": b"\1" * 32, "answer": "x" * 600, "kept_hours": 24, "begins_window": False,
        },
        "tasks/get_list_version": user,
        "tasks/get_task": task,
        "tasks/get_tasks": user | {"task_ids": [owner.task_id]},
        "tasks/list_tasks": user | {"max_rows": MAX_PAGE_ROWS},
        "tasks/list_tasks_after": task | {"created_at": owner.created_at, "max_rows": MAX_PAGE_ROWS},
        "tasks/list_changed_tasks": user
        | {"after_version": -1, "after_id": UUID(int=0), "newest": 1000, "max_rows": PAGE_ROWS},
        "tasks/list_deleted_tasks": user | {"after_version": 0, "newest": 1000, "max_rows": PAGE_ROWS},
        "tasks/lock_counter": user,
        "tasks/lower_tags": user | {"tags": '["Home", "garden"]'},
        **{sort.statement.name: user | first_page(sort) for sort in SORTS.values()},
        "tasks/recount_tasks": user,
        "tasks/write_batch": user
        | {
            "operations": BATCH % owner.task_id, "time_zone": ["Europe/Berlin"], "max_tasks": NO_QUOTA, "kept_days": 91,
        },
        "tasks/update_task": NO_CHANGES
        | task
        | {"set_is_completed": True, "is_completed": True, "versions": None},
    }  # fmt: skip


def first_page(sort: Sort, max_rows: int = PAGE_ROWS, **filters: Any) -> dict[str, object]:
    """The parameters of a page, but for its user."""
    return Filters(**filters)._asdict() | sort.after(None) | {"max_rows": max_rows, "with_texts": True}


def buffers_of(url: str) -> dict[str, int]:
    """The median of what each statement touches. The first user only warms up the session."""
    numbers = range(7, 5_000, 290)
    emails = [f"user{n}@example.com" for n in numbers]
    return {name: median_low(each[1:]) for name, each in _measured(url, emails).items()}


def growing(url: str) -> set[str]:
    """The statements that touch more than twice as many buffers for an owner with many tasks as for one with few."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(LARGE_OWNERS.encode())
        connection.execute("ANALYZE")
    measured = _measured(url, ["user7@example.com", *(f"owner of {total}" for total in (FEW, MANY, MOST))])
    return {name for name, (_, few, many, most) in measured.items() if max(many, most) > 2 * few}


def costs_of(url: str, growth_url: str) -> dict[str, Cost]:
    grows = growing(growth_url)
    return {name: Cost(buffers, name in grows) for name, buffers in buffers_of(url).items()}


def write(costs: dict[str, Cost]) -> None:
    """Writes the line into the header of each statement, below its index."""
    for name, cost in costs.items():
        file = SQL / f"{name}.sql"
        lines = [line for line in file.read_text().splitlines(keepends=True) if not line.startswith("-- buffers:")]
        [index] = [place for place, line in enumerate(lines) if line.startswith("-- index:")]
        lines.insert(index + 1, f"-- buffers: {cost}\n")
        file.write_text("".join(lines))


def _measured(url: str, emails: list[str]) -> dict[str, list[int]]:
    """A VACUUM takes away the dead rows of other tests, and those of each write."""
    measured = {}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(VACUUM)
        for statement in map(read, names_of_requests()):
            measured[statement.name] = list(_each_touches(connection, statement, emails))
            if not statement.only_reads:
                connection.execute(VACUUM)
    return measured


def _each_touches(connection: AdminConnection, statement: Statement, emails: list[str]) -> Iterator[int]:
    """The buffers of one execution for each user, in a transaction that is rolled back."""
    with connection.cursor(row_factory=namedtuple_row) as cursor:
        owners = [Owner(*row) for row in cursor.execute(OWNERS, [emails, _outside_numbers(emails)])]
    assert len(owners) == len(emails)
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE measured AS {statement.text}".encode())
        for owner in owners:
            values = [sql.Literal(value) for value in statement.arguments(values_of(owner)[statement.name])]
            given = sql.SQL(" ({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("")
            with connection.transaction(force_rollback=True):
                before = touched_buffers(connection)
                connection.execute(sql.SQL("EXECUTE measured") + given)
                yield touched_buffers(connection) - before
        connection.execute("DEALLOCATE measured")


def _outside_numbers(emails: list[str]) -> list[int]:
    """One user of an outside issuer in each part of the table: every tenth user is one."""
    return [290 * place + 10 for place in range(len(emails))]
