"""The cost of each statement of a request is that of its header: the buffers it touches, and whether they grow."""

from collections.abc import Iterator

import pytest

from service.db import migrations
from service.db.admin_session import connected, rows
from service.db.statements import Cost, names_of_requests, read
from service.domain.accounts import CREATE_USER
from service.domain.tasks import CREATE_TASK, DELETE_TASK, GET_TASK, NO_FIELDS, RECOUNT_TASKS
from service.review.buffers import touched_buffers
from service.review.check import check_texts
from service.review.explain import explain
from service.review.static_rules import NO_COST
from tests import databases
from tests.buffers import buffers_of, growing
from tests.plans import seeded_database
from tests.sql.faults import Plant

ROOM_FOR_UPDATES = "0012_leave_room_for_updates"


@pytest.fixture
def growth_url(seeded_url: str) -> Iterator[str]:
    """Another database of the same size and server, to which large owners are added."""
    with seeded_database(seeded_url) as url:
        yield url


def in_headers() -> dict[str, Cost]:
    return {name: cost for name in names_of_requests() if (cost := read(name).cost) is not None}


def test_the_buffers_that_a_statement_touches_are_those_of_its_header(seeded_url: str) -> None:
    assert buffers_of(seeded_url) == {name: cost.buffers for name, cost in in_headers().items()}


def test_the_statements_that_touch_more_for_an_owner_of_10_000_tasks_say_so_in_their_header(growth_url: str) -> None:
    assert growing(growth_url) == {name for name, cost in in_headers().items() if cost.grows}


def test_sql_explain_in_the_same_database_touches_the_buffers_of_the_header(seeded_url: str) -> None:
    with connected(seeded_url) as connection:
        [(user, task)] = connection.execute(
            "SELECT user_id, tasks.id::text FROM users JOIN tasks ON user_id = users.id"
            " WHERE email = 'user78@example.com' ORDER BY tasks.created_at LIMIT 1"
        ).fetchall()

    explained = explain(seeded_url, "tasks/get_task", {"user_id": str(user), "task_id": task})

    assert explained[-1] == f"Buffers touched: {GET_TASK.cost}; the header says {GET_TASK.cost}"


def test_a_statement_of_a_request_without_its_cost_is_a_finding_and_one_of_the_review_with_it(plant: Plant) -> None:
    good = read("tasks/get_task").text
    line = good.splitlines().index("-- buffers: 4") + 1
    plant("tasks/get_task", new=good.replace("-- buffers: 4\n", ""))
    root = plant("review/get_task", new=good.replace("tasks/get_task", "review/get_task"))

    assert [str(finding) for finding in check_texts(root)] == [
        f"sql/review/get_task.sql:{line}: must not say a cost: only statements of requests are measured",
        f"sql/tasks/get_task.sql:1: {NO_COST}",
    ]


def test_the_buffers_are_those_that_pg_stat_statements_counts(installed_url: str) -> None:
    """With the checks of foreign keys, and with a WITH that writes and that nothing reads."""
    binaries = databases.installed_binaries()
    if binaries is None or not databases.has_contrib(binaries):
        pytest.skip("pg_stat_statements is not installed")
    with connected(installed_url) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        [user] = rows(connection, CREATE_USER, email="costs@example.com", password_hash="x", network=b"x")
        new_task = NO_FIELDS | {"user_id": user["id"], "title": "x", "max_tasks": 9}
        gone = {"user_id": user["id"], "versions": None, "kept_days": 91}
        rows(connection, CREATE_TASK, **new_task)
        rows(connection, RECOUNT_TASKS, user_id=user["id"])
        # The first execution of a session also reads the server's own tables.
        deleted, kept = (rows(connection, CREATE_TASK, **new_task)[0]["id"] for _ in range(2))
        rows(connection, DELETE_TASK, **gone | {"task_id": deleted})
        connection.execute("SELECT pg_stat_statements_reset()")
        with connection.transaction():
            before = touched_buffers(connection)
            rows(connection, DELETE_TASK, **gone | {"task_id": kept})
            between = touched_buffers(connection)
            rows(connection, CREATE_TASK, **new_task)
            touched = [between - before, touched_buffers(connection) - between]
        counted = connection.execute(
            "SELECT shared_blks_hit + shared_blks_read FROM pg_stat_statements"
            " WHERE query ~ '/[*] tasks/(create|delete)_task [*]/' ORDER BY query DESC"
        ).fetchall()

    assert [(count,) for count in touched] == counted


@pytest.mark.parametrize(("last", "stays"), [(ROOM_FOR_UPDATES, True), ("0010_know_networks", False)])
def test_an_updated_task_of_a_filled_page_stays_on_its_page_since_0012(
    empty_database: str, last: str, stays: bool
) -> None:
    migrations.apply(empty_database, last)
    with connected(empty_database) as connection:
        [user] = rows(connection, CREATE_USER, email="a@example.com", password_hash="x", network=b"x")
        connection.execute(
            "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, 999)", [user["id"]]
        )
        connection.execute("UPDATE tasks SET is_completed = true WHERE ctid = '(3,1)'")
        found = connection.execute("SELECT ctid::text LIKE '(3,%)' FROM tasks WHERE is_completed").fetchall()

    assert found == [(stays,)]
