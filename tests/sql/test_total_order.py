"""A LIMIT needs an ORDER BY that is total, and which unique keys make it so."""

import psycopg
import pytest

from service.review.total_order import NOT_TOTAL
from tests.sql.faults import ID, OWNER, Plant, findings, new_statement


@pytest.mark.parametrize(
    "limited",
    [
        "SELECT id FROM tasks WHERE user_id = $1 ORDER BY created_at OFFSET 2",
        "SELECT id FROM tasks WHERE user_id = $1 ORDER BY created_at FETCH FIRST 2 ROWS ONLY",
        "SELECT title, id FROM tasks WHERE user_id = $1 ORDER BY 1 LIMIT 2",
        (
            "SELECT mine.id FROM tasks AS mine INNER JOIN tasks AS too ON mine.user_id = too.user_id "
            "WHERE too.user_id = $1 ORDER BY mine.created_at, too.id LIMIT 2"
        ),
        "SELECT is_completed, count(*) AS number FROM tasks WHERE user_id = $1 GROUP BY 1 ORDER BY number LIMIT 2",
        "SELECT id FROM (SELECT id, created_at FROM tasks WHERE user_id = $1) AS mine ORDER BY created_at LIMIT 2",
    ],
)
def test_a_limit_with_an_order_that_is_not_total_is_a_finding(small_url: str, plant: Plant, limited: str) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", limited, OWNER))

    assert any(NOT_TOTAL in finding for finding in findings(small_url, root))


@pytest.mark.parametrize(
    ("index", "is_key"),
    [
        ("UNIQUE INDEX ON tasks (user_id, title)", True),
        ("UNIQUE INDEX ON tasks (title)", True),
        ("INDEX ON tasks (user_id, title)", False),
        ("UNIQUE INDEX ON tasks (user_id, title) WHERE is_completed", False),
        ("UNIQUE INDEX ON tasks (user_id, title, description)", False),
        ("UNIQUE INDEX ON tasks (user_id, lower(title))", False),
    ],
)
def test_an_index_is_a_unique_key_if_it_is_not_partial_and_no_column_can_be_null(
    own_small_url: str, plant: Plant, index: str, is_key: bool
) -> None:
    with psycopg.connect(own_small_url) as connection:
        connection.execute(f"CREATE {index}".encode())
    body = "SELECT id FROM tasks WHERE user_id = $1 ORDER BY title, description LIMIT 2"
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, OWNER, ID))

    found = findings(own_small_url, root)
    assert found == ([] if is_key else [f"sql/tasks/new_statement.sql:6: {NOT_TOTAL}"])


@pytest.mark.parametrize(
    ("order", "is_total"),
    [
        ("a.id, b.id", True),
        ("b.id, a.id", True),
        ("a.id, b.title", False),
        ("a.id", False),
        ("b.id", False),
        ("a.id, b.created_at", False),
    ],
)
def test_the_order_of_a_self_join_is_total_with_a_unique_key_of_each_alias(
    small_url: str, plant: Plant, order: str, is_total: bool
) -> None:
    body = (
        "SELECT a.title FROM tasks AS a INNER JOIN tasks AS b ON a.title = b.title "
        f"WHERE a.user_id = $1 AND b.user_id = $1 ORDER BY {order} LIMIT 2"
    )
    new = new_statement("tasks/new_statement", body, OWNER, "-- -> title  text")

    found = findings(small_url, plant("tasks/new_statement", new=new))
    assert found == ([] if is_total else [f"sql/tasks/new_statement.sql:6: {NOT_TOTAL}"])
