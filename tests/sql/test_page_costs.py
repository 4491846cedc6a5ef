"""What a page costs in buffers, for owners of 10, 1 000 and 10 000 tasks: the first, one in the middle, the last."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import namedtuple_row

from service.db.admin_session import connected
from service.domain.task_lists import GET_TASKS, SORTS, Position, Sort
from service.review.buffers import touched_buffers
from tests.buffers import FEW, LARGE_OWNERS, MANY, MOST, PAGE_ROWS, VACUUM, first_page
from tests.plans import seeded_database

WITH_INDEX = [name for name, sort in SORTS.items() if sort.has_index]
COUNTER = 4  # buffers: down its index, and its row
WITHOUT_INDEX = [name for name, sort in SORTS.items() if not sort.has_index]

# Dates, times, priorities and texts of the tasks of large owners. Two of three have a date.
FIELDS = """
UPDATE tasks SET
    description = repeat('two litres of milk, ', 11) || 'or three',
    due_on = CASE WHEN n % 3 > 0 THEN date '2026-01-01' + n % 365 END,
    due_time = CASE WHEN n % 3 = 2 THEN time '00:00' + n % 1440 * interval '1 minute' END,
    priority = n % 4,
    is_completed = n % 2 = 0,
    updated_at = created_at + n % 7 * interval '1 day'
FROM (
    SELECT tasks.user_id, tasks.id, substring(tasks.title FROM 6)::integer AS n
    FROM tasks INNER JOIN users ON users.id = tasks.user_id WHERE users.email LIKE 'owner of %'
) AS numbered
WHERE tasks.user_id = numbered.user_id AND tasks.id = numbered.id
"""

Cost = Callable[..., int]


@pytest.fixture(scope="module")
def large_url(server_url: str) -> Iterator[str]:
    with seeded_database(server_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(LARGE_OWNERS.encode())
            connection.execute(FIELDS.encode())
            connection.execute("VACUUM FULL tasks")
            connection.execute("ANALYZE")
            connection.execute(VACUUM)
        yield url


@pytest.fixture
def cost(large_url: str) -> Iterator[Cost]:
    """The buffers of a page of 50 of a sort for the owner of so many tasks, behind so many of them."""
    with connected(large_url) as connection, connection.cursor(row_factory=namedtuple_row) as cursor:
        owners = {
            total: connection.execute("SELECT id FROM users WHERE email = %s", [f"owner of {total}"]).fetchall()[0][0]
            for total in (FEW, MANY, MOST)
        }

        def run(sort: Sort, total: int, after: Position | None, max_rows: int, **filters: Any) -> list[Any]:
            values = first_page(sort, max_rows, **filters) | sort.after(after) | {"user_id": owners[total]}
            given = [sql.Literal(value) for value in sort.statement.arguments(values)]
            return cursor.execute(sql.SQL("EXECUTE page ({})").format(sql.SQL(", ").join(given))).fetchall()

        def measure(sort: Sort, total: int, behind: int = 0, **filters: Any) -> int:
            with connection.transaction(force_rollback=True):
                connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
                connection.execute(f"PREPARE page AS {sort.statement.text}".encode())
                last = run(sort, total, None, behind)[-1] if behind else None
                after = Position(*(getattr(last, name) for name in Position._fields)) if last else None
                before = touched_buffers(connection)
                run(sort, total, after, PAGE_ROWS, **filters)
                touched = touched_buffers(connection) - before
                connection.execute("DEALLOCATE page")
                return touched

        yield measure


@pytest.mark.parametrize("name", WITH_INDEX)
def test_a_page_in_the_order_of_an_index_costs_its_rows_wherever_it_is(cost: Cost, name: str) -> None:
    """Up to one buffer for each row, the way down the index, and the owner's counter."""
    costs = {
        (total, behind): cost(SORTS[name], total, behind)
        for total in (MANY, MOST)
        for behind in (0, total // 2, total - PAGE_ROWS)
    }

    assert max(costs.values()) < 1.2 * PAGE_ROWS + COUNTER, costs
    assert cost(SORTS[name], FEW) <= min(costs.values())


@pytest.mark.parametrize("name", WITH_INDEX)
def test_a_filter_costs_the_rows_that_it_looks_at(cost: Cost, name: str) -> None:
    """Every second task is completed: a page of 50 looks at a hundred."""
    for total in (MANY, MOST):
        assert cost(SORTS[name], total, is_completed=True) < 2.4 * PAGE_ROWS


@pytest.mark.parametrize("name", WITHOUT_INDEX)
def test_a_page_in_another_order_costs_the_same_wherever_it_is(cost: Cost, name: str) -> None:
    """It reads all tasks of its owner, in the order in which they lie in the table, and sorts them."""
    for total in (MANY, MOST):
        costs = [cost(SORTS[name], total, behind) for behind in (0, total // 2, total - PAGE_ROWS)]
        assert max(costs) < 1.1 * min(costs)
        assert max(costs) < total


def test_a_piece_of_a_long_page_looks_each_task_up_by_its_key(large_url: str) -> None:
    with connected(large_url) as connection, connection.transaction():
        [owner] = connection.execute("SELECT id FROM users WHERE email = %s", [f"owner of {MOST}"]).fetchall()
        ids = [row[0] for row in connection.execute("SELECT id FROM tasks WHERE user_id = %s LIMIT 250", owner)]
        connection.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        connection.execute(f"PREPARE pieces AS {GET_TASKS.text}".encode())
        given = sql.SQL("EXECUTE pieces ({}, {})").format(sql.Literal(owner[0]), sql.Literal(ids))
        connection.execute(given)
        before = touched_buffers(connection)
        assert len(connection.execute(given).fetchall()) == len(ids)

        assert GET_TASKS.cost is not None
        assert touched_buffers(connection) - before <= GET_TASKS.cost.buffers * len(ids)
