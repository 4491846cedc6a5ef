"""The columns by which a batch finds its rows: planted statements return another column under one of their names."""

import psycopg
import pytest

from tests.sql.faults import OWNER, TASK, Plant, declare, findings, new_statement

KEY = ("-- -> id       uuid", "-- -> user_id  uuid")
SHARES = """
CREATE TABLE shares (
    user_id     uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    id          uuid NOT NULL DEFAULT gen_random_uuid(),
    shared_with uuid NOT NULL REFERENCES users,
    task_id     uuid NOT NULL,
    title       text,
    PRIMARY KEY (user_id, id)
)
"""
WITH_TASK = [OWNER, TASK, *KEY]


@pytest.fixture
def shares_url(any_own_small_url: str) -> str:
    with psycopg.connect(any_own_small_url) as connection:
        connection.execute(SHARES)
    return any_own_small_url


@pytest.mark.parametrize(
    ("body", "header", "it_is"),
    [
        ("SELECT id, shared_with AS user_id FROM shares WHERE user_id = $1", [OWNER, *KEY], "shares.shared_with"),
        (
            "SELECT id, shared_with AS user_id FROM shares WHERE user_id = $1 ORDER BY id LIMIT 9",
            [OWNER, *KEY],
            "shares.shared_with",
        ),
        (
            "SELECT x.id, x.user_id FROM (SELECT id, shared_with AS user_id FROM shares WHERE user_id = $1) AS x",
            [OWNER, *KEY],
            "shares.shared_with",
        ),
        (
            "WITH x AS (SELECT id, shared_with AS user_id FROM shares WHERE user_id = $1) SELECT id, user_id FROM x",
            [OWNER, *KEY],
            "shares.shared_with",
        ),
        (
            (
                "WITH x (id, user_id) AS (UPDATE shares SET title = 'x' WHERE user_id = $1 AND id = $2 "
                "RETURNING id, shared_with) SELECT id, user_id FROM x"
            ),
            WITH_TASK,
            "shares.shared_with",
        ),
        (
            "DELETE FROM shares WHERE user_id = $1 AND id = $2 RETURNING id, shared_with AS user_id",
            WITH_TASK,
            "shares.shared_with",
        ),
        (
            (
                "INSERT INTO shares (user_id, shared_with, task_id) VALUES ($1, $2, $2) "
                "RETURNING id, shared_with AS user_id"
            ),
            WITH_TASK,
            "shares.shared_with",
        ),
        (
            (
                "SELECT id, user_id FROM shares WHERE user_id = $1 UNION ALL "
                "SELECT id, shared_with FROM shares WHERE user_id = $1"
            ),
            [OWNER, *KEY],
            "shares.shared_with, shares.user_id",
        ),
        (
            (
                "SELECT id, user_id FROM shares WHERE user_id = $1 UNION ALL "
                "SELECT id, shared_with FROM shares WHERE user_id = $1 ORDER BY id, user_id LIMIT 9"
            ),
            [OWNER, *KEY],
            "shares.shared_with, shares.user_id",
        ),
        (
            "SELECT id, coalesce(shared_with, user_id) AS user_id FROM shares WHERE user_id = $1",
            [OWNER, *KEY],
            "not a table's column",
        ),
        ("SELECT id, gen_random_uuid() AS user_id FROM shares WHERE user_id = $1", [OWNER, *KEY], "not a table's"),
        (
            "SELECT id, user_id, shared_with AS user_id FROM shares WHERE user_id = $1",
            [OWNER, *KEY, KEY[1]],
            "not a table's column",
        ),
        (
            (
                "SELECT users.id AS user_id FROM users WHERE email = $2 AND password_hash IS NOT NULL "
                "AND $1::uuid IS NOT NULL"
            ),
            [OWNER, "-- $2 email  text", KEY[1]],
            "users.id",
        ),
        (
            "INSERT INTO users (email) SELECT email FROM users WHERE id = $1 RETURNING id AS user_id",
            [OWNER, KEY[1]],
            "users.id",
        ),
        (
            "SELECT u.id AS user_id FROM users AS u INNER JOIN users AS me ON u.email = me.email WHERE me.id = $1",
            [OWNER, KEY[1]],
            "users.id",
        ),
    ],
)
def test_another_column_returned_as_user_id_is_a_finding(
    shares_url: str, plant: Plant, body: str, header: list[str], it_is: str
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))

    wanted = (
        "must return as user_id the user_id of an owned table that is bound by $1: a batch finds its rows by it, "
        f"and it is {it_is}"
    )
    assert any(wanted in finding for finding in findings(shares_url, root))


@pytest.mark.parametrize(
    ("body", "it_is"),
    [
        ("SELECT task_id AS id, user_id FROM shares WHERE user_id = $1 AND id = $2", "shares.task_id"),
        ("SELECT id, user_id FROM shares WHERE user_id = $1 AND task_id = $2", "shares.id"),
        (
            (
                "SELECT shares.id, tasks.user_id FROM tasks INNER JOIN shares ON tasks.id = shares.task_id "
                "WHERE tasks.user_id = $1 AND tasks.id = $2 AND shares.user_id = $1"
            ),
            "shares.id",
        ),
        ("SELECT $2::uuid AS id, user_id FROM shares WHERE user_id = $1 AND id > $2", "not a table's column"),
    ],
)
def test_another_column_returned_as_the_id_of_one_task_is_a_finding(
    shares_url: str, plant: Plant, body: str, it_is: str
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *WITH_TASK))

    wanted = (
        "sql/tasks/new_statement.sql:5: must return as id the id of an owned table that is bound by $2: "
        f"a batch finds its rows by it, and it is {it_is}"
    )
    assert wanted in findings(shares_url, root)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        ("SELECT id, user_id FROM shares WHERE user_id = $1", [OWNER, *KEY]),
        ("SELECT s.id, s.user_id FROM shares AS s WHERE s.user_id = $1 AND s.id = $2", WITH_TASK),
        (
            (
                "WITH x AS (UPDATE shares SET title = 'x' WHERE user_id = $1 AND id = $2 RETURNING user_id, id) "
                "SELECT x.id, x.user_id FROM x"
            ),
            WITH_TASK,
        ),
        (
            (
                "SELECT id, user_id FROM shares WHERE user_id = $1 UNION ALL "
                "SELECT id, user_id FROM tasks WHERE user_id = $1"
            ),
            [OWNER, *KEY],
        ),
        (
            (
                "SELECT id, user_id FROM shares WHERE user_id = $1 UNION "
                "SELECT id, user_id FROM tasks WHERE user_id = $1 ORDER BY id, user_id LIMIT 9"
            ),
            [OWNER, *KEY],
        ),
        (
            (
                "SELECT id, user_id FROM tasks INNER JOIN task_counters USING (user_id) "
                "WHERE user_id = $1 ORDER BY id LIMIT 9"
            ),
            [OWNER, *KEY],
        ),
        (
            "SELECT user_id, count(*) AS number FROM shares WHERE user_id = $1 GROUP BY user_id",
            [OWNER, KEY[1], "-- -> number  bigint"],
        ),
        ("SELECT id AS user_id FROM users WHERE id = $1", [OWNER, KEY[1]]),
        ("UPDATE users SET issuer = 'x' WHERE id = $1 RETURNING id AS user_id", [OWNER, KEY[1]]),
        (
            "INSERT INTO tasks (user_id, title) VALUES ($1, $2) RETURNING id, user_id",
            [OWNER, "-- $2 title  text", *KEY],
        ),
    ],
)
def test_an_owned_tables_own_user_id_and_id_have_no_finding(
    shares_url: str, plant: Plant, body: str, header: list[str]
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))
    declare(root, "| `shares` | owned | `user_id` | tasks that a user shares |")

    assert findings(shares_url, root) == []
