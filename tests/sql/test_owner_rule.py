"""The owner rule: planted statements that break it, each in another way, are findings."""

import psycopg
import pytest

from tests.sql.faults import ID, OWNER, TASK, TITLE, Plant, declare, findings, new_statement


@pytest.mark.parametrize(
    "condition",
    [
        "id = $2 AND $1::uuid IS NOT NULL",
        "id = $2 AND $1 = $1",
        "user_id = $1 AND id = $2 OR TRUE",
        "user_id = $2 AND id = $1",
        "(user_id = $1 OR user_id = $2) AND id = $2",
        "user_id IN ($1, $2) AND id = $2",
        "user_id = ANY(ARRAY[$1, $2]::uuid[]) AND id = $2",
        "user_id = ANY(ARRAY[$2]::uuid[]) AND id = $1",
        "user_id <> ALL(ARRAY[$1]::uuid[]) AND id = $2",
        "user_id >= $1 AND id = $2",
        "user_id <> $1 AND id = $2",
        "NOT user_id = $1 AND id = $2",
        "user_id = coalesce($1, user_id) AND id = $2",
        "(user_id = $1) IS NOT FALSE AND id = $2",
        "user_id::text = $1::text AND id = $2",
        "user_id = (SELECT $1::uuid) AND id = $2",
        "user_id = (SELECT id FROM users WHERE id = $2) AND $1::uuid IS NOT NULL",
        "id = $2 AND 'user_id = $1) AND (tasks.user_id = $1)' <> $1::text",
    ],
)
def test_a_statement_that_is_not_bound_to_its_owner_is_a_finding(
    any_small_url: str, plant: Plant, condition: str
) -> None:
    names = ["tasks/delete_task", "tasks/get_task", "tasks/update_task"]
    for name in names:
        table = "tasks." if name == "tasks/delete_task" else ""
        root = plant(name, (f"{table}user_id = $1 AND {table}id = $2", condition))

    unbound = [
        finding for finding in findings(any_small_url, root) if "tasks must be bound by tasks.user_id = $1" in finding
    ]
    assert [finding.partition(".sql:")[0] for finding in unbound] == [f"sql/{name}" for name in names]


@pytest.mark.parametrize(
    ("body", "header"),
    [
        ("SELECT id FROM tasks ORDER BY user_id, id", [ID]),
        (
            "SELECT tasks.id FROM tasks INNER JOIN users ON tasks.user_id = users.id WHERE users.email = $1",
            ["-- $1 email  text", ID],
        ),
        (
            "SELECT a.id FROM tasks AS a INNER JOIN tasks AS b ON a.title = b.title WHERE a.user_id = $1",
            [OWNER, ID],
        ),
        ("SELECT id FROM tasks WHERE user_id = $1 AND title IN (SELECT t.title FROM tasks AS t)", [OWNER, ID]),
        (
            "SELECT id, (SELECT count(*) FROM tasks) AS tasks_of_all FROM users WHERE id = $1",
            [OWNER, ID, "-- -> tasks_of_all  bigint"],
        ),
        (
            "WITH gone AS (DELETE FROM tasks WHERE id = $2 RETURNING id) SELECT id FROM tasks WHERE user_id = $1",
            [OWNER, TASK, ID],
        ),
        ("SELECT id FROM tasks WHERE user_id = $1 UNION ALL SELECT id FROM tasks", [OWNER, ID]),
        ("SELECT users.id FROM users LEFT JOIN tasks ON tasks.title = users.email WHERE users.id = $1", [OWNER, ID]),
        (
            "UPDATE tasks AS t SET title = $3 FROM users AS u WHERE t.user_id = u.id AND t.id = $2 AND u.email = $1",
            ["-- $1 email  text", TASK, TITLE],
        ),
    ],
)
def test_a_scan_without_its_owner_is_a_finding_in_joins_subselects_and_unions(
    any_small_url: str, plant: Plant, body: str, header: list[str]
) -> None:
    found = findings(
        any_small_url, plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))
    )

    assert any("tasks must be bound by " in finding for finding in found)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (
            "SELECT t.id FROM tasks AS t WHERE t.user_id = $1 AND t.is_completed OR t.user_id = $1 AND t.id = $2",
            [OWNER, TASK, ID],
        ),
        ("SELECT tasks.id FROM tasks INNER JOIN users ON tasks.user_id = users.id WHERE users.id = $1", [OWNER, ID]),
        (
            "SELECT a.id FROM tasks AS a INNER JOIN tasks AS b ON a.user_id = b.user_id WHERE b.user_id = $1",
            [OWNER, ID],
        ),
        ("SELECT id FROM tasks WHERE user_id = ANY(ARRAY[$1]::uuid[]) AND id = $2", [OWNER, TASK, ID]),
        ("UPDATE users SET issuer = 'x' WHERE id = ANY(ARRAY[$1]::uuid[])", [OWNER]),
        ("INSERT INTO tasks (user_id, title) VALUES ($1, $2), ($1::uuid, 'x')", [OWNER, "-- $2 title  text"]),
        ("INSERT INTO tasks (title, user_id) VALUES ($2, $1), ('x', $1), ('y', $1)", [OWNER, "-- $2 title  text"]),
        ('SELECT "My Tasks".id FROM tasks AS "My Tasks" WHERE "My Tasks".user_id = $1', [OWNER, ID]),
        (
            "INSERT INTO tasks (user_id, title) SELECT $1, title FROM tasks WHERE user_id = $1 AND id = $2",
            [OWNER, TASK],
        ),
        (
            (
                "INSERT INTO tasks (title, user_id) VALUES ($3, $1) ON CONFLICT (user_id, id) DO UPDATE SET title = $3 "
                "WHERE tasks.id = $2"
            ),
            [OWNER, TASK, TITLE],
        ),
        ("SELECT id FROM tasks WHERE user_id = $1 ORDER BY id LIMIT 3", [OWNER, ID]),
        ("SELECT id FROM tasks WHERE user_id = $1 AND id = $2 ORDER BY title LIMIT 1", [OWNER, TASK, ID]),
        (
            "SELECT is_completed FROM tasks WHERE user_id = $1 GROUP BY is_completed ORDER BY 1 LIMIT 2",
            [OWNER, "-- -> is_completed  boolean"],
        ),
        (
            (
                "SELECT t.id FROM tasks AS t INNER JOIN users AS u ON t.user_id = u.id WHERE u.id = $1 "
                "ORDER BY t.id LIMIT 3"
            ),
            [OWNER, ID],
        ),
    ],
)
def test_a_statement_that_is_bound_to_its_owner_has_no_finding(
    any_small_url: str, plant: Plant, body: str, header: list[str]
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))

    assert findings(any_small_url, root) == []


@pytest.mark.parametrize(
    ("name", "good", "bad", "finding"),
    [
        (
            "tasks/update_task",
            "title = CASE WHEN $3 THEN $4 ELSE title END",
            "user_id = CASE WHEN $3 THEN $2 END, title = $4",
            "21: must not change user_id: a row never changes its owner",
        ),
        (
            "tasks/update_task",
            "title = CASE WHEN $3 THEN $4 ELSE title END",
            '(title, "user_id") = (CASE WHEN $3 THEN $4 END, $2)',
            "21: must not change user_id: a row never changes its owner",
        ),
        (
            "tasks/create_task",
            "SET task_count = task_counters.task_count + 1",
            "SET user_id = $1",
            "19: must not change user_id: a row never changes its owner",
        ),
        (
            "tasks/create_task",
            "VALUES ($1, 0)",
            "VALUES (gen_random_uuid(), 0)",
            "16: must insert $1 into user_id of task_counters, not gen_random_uuid()",
        ),
        (
            "tasks/create_task",
            "VALUES ($1, 0)",
            "SELECT id, 0 FROM users WHERE id = $1",
            "16: must insert $1 into user_id of task_counters, not users.id",
        ),
        (
            "tasks/create_task",
            "$1 AS user_id",
            "coalesce($1, gen_random_uuid()) AS user_id",
            '25: must insert $1 into user_id of tasks, not "*SELECT*".user_id',
        ),
        (
            "tasks/create_task",
            "VALUES ($1, 0)",
            "VALUES ($1, 0), (gen_random_uuid(), 0)",
            '16: must insert $1 into user_id of task_counters, not "*VALUES*".column1',
        ),
        (
            "tasks/get_task",
            "-- $1 user_id  uuid",
            "-- $1 owner_id  uuid",
            "13: touches tasks: its header must list user_id uuid as $1",
        ),
        (
            "accounts/get_user",
            "WHERE id = $1",
            "WHERE id = $1 OR TRUE",
            "8: users must be bound to a unique key: Seq Scan",
        ),
        (
            "accounts/get_user",
            "WHERE id = $1",
            "WHERE id > $1",
            "8: users must be bound to a unique key: Index Scan, Index Cond: (users.id > $1)",
        ),
        (
            "accounts/find_credentials",
            "WHERE email = $1",
            "WHERE email LIKE $1",
            "9: users must be bound to a unique key: Index Scan, Filter: (users.email ~~ $1)",
        ),
    ],
)
def test_a_changed_or_ignored_owner_is_a_finding(
    any_small_url: str, plant: Plant, name: str, good: str, bad: str, finding: str
) -> None:
    assert f"sql/{name}.sql:{finding}" in findings(any_small_url, plant(name, (good, bad)))


def test_a_sub_select_that_a_plan_shows_as_a_parameter_is_a_finding(older_small_url: str, plant: Plant) -> None:
    """Version 15 shows the result of a sub-select that runs first as $0 or $1, so user_id = $1 proves nothing."""
    body = (
        "SELECT id FROM tasks WHERE id = $2 AND user_id = $1 "
        "AND title = (SELECT email FROM users WHERE id = $1) AND description = (SELECT email FROM users WHERE id = $1)"
    )
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, OWNER, TASK, ID))

    assert findings(older_small_url, root) == [
        "sql/tasks/new_statement.sql:7: a sub-select shows as $1, like a parameter: write it as a join"
    ]


@pytest.mark.parametrize(
    ("conflict", "why"),
    [
        ("(title)", ["7: the conflict on tasks_title_key could be with a row of another owner"]),
        ("(title, user_id)", []),
    ],
)
def test_a_conflict_target_without_user_id_is_a_finding(
    own_small_url: str, plant: Plant, conflict: str, why: list[str]
) -> None:
    with psycopg.connect(own_small_url) as connection:
        connection.execute("CREATE UNIQUE INDEX tasks_title_key ON tasks (title)")
        connection.execute("CREATE UNIQUE INDEX tasks_title_user_id_key ON tasks (title, user_id)")
    body = (
        "INSERT INTO tasks (user_id, title) VALUES ($1, $2) "
        f"ON CONFLICT {conflict} DO UPDATE SET updated_at = now() RETURNING id"
    )
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, OWNER, "-- $2 title  text", ID))

    assert findings(own_small_url, root) == [f"sql/tasks/new_statement.sql:{each}" for each in why]


@pytest.mark.parametrize(
    ("condition", "is_found"),
    [
        ("user_id = $1 AND id = $2", False),
        ("notes.user_id = $1", False),
        ("id = $2 AND $1::uuid IS NOT NULL", True),
        ("user_id = $1 OR id = $2", True),
    ],
)
def test_a_table_without_an_index_of_its_owner_is_bound_by_a_filter(
    own_small_url: str, plant: Plant, condition: str, is_found: bool
) -> None:
    with psycopg.connect(own_small_url) as connection:
        connection.execute("CREATE TABLE notes (id uuid PRIMARY KEY, user_id uuid NOT NULL)")
    body = f"SELECT id FROM notes WHERE {condition} AND $2::uuid IS NOT NULL"
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, OWNER, TASK, ID))
    declare(root, "| `notes` | owned | `user_id` | for a test |")

    found = findings(own_small_url, root)
    assert found.pop(0) == "sql/tables.md:6: notes must have an index that starts with user_id"
    assert ["notes must be bound by notes.user_id = $1" in each for each in found] == [True] * is_found


def test_only_maintenance_works_across_owners_with_a_reason_and_no_parameter(small_url: str, plant: Plant) -> None:
    body = "DELETE FROM tasks WHERE created_at < now() - INTERVAL '100 years'"
    reason = "-- across owners: no task is that old."
    good = new_statement("maintenance/forget_tasks", body, reason)
    assert findings(small_url, plant("maintenance/forget_tasks", new=good)) == []

    silent = new_statement("maintenance/forget_tasks", body)
    asked = new_statement("maintenance/forget_task", f"{body} AND id = $1", "-- $1 task_id  uuid", reason)
    plant("maintenance/forget_tasks", new=silent)
    plant("maintenance/forget_task", new=asked)
    elsewhere = new_statement("tasks/forget_tasks", "SELECT 1 AS one", "-- -> one  integer", reason)

    assert findings(small_url, plant("tasks/forget_tasks", new=elsewhere)) == [
        "sql/maintenance/forget_task.sql:3: must take no parameter: nothing of a request may reach it",
        "sql/maintenance/forget_tasks.sql:4: must say why it works across owners: -- across owners: <why>",
        "sql/tasks/forget_tasks.sql:4: must lie in sql/maintenance/ to work across owners",
    ]


@pytest.mark.parametrize(("returned", "is_found"), [("after_id  uuid", False), ("last_id   uuid", True)])
def test_maintenance_that_walks_along_a_table_takes_what_it_has_returned(
    small_url: str, plant: Plant, returned: str, is_found: bool
) -> None:
    name = returned.split(maxsplit=1)[0]
    body = f"WITH gone AS (DELETE FROM tasks WHERE id > $1 RETURNING id) SELECT id AS {name} FROM gone"
    header = ("-- $1 after_id  uuid", "-- across owners: for a test.", f"-- -> {returned}")
    root = plant("maintenance/forget_tasks", new=new_statement("maintenance/forget_tasks", body, *header))

    why = "sql/maintenance/forget_tasks.sql:3: must take no parameter: nothing of a request may reach it"
    assert findings(small_url, root) == [why] * is_found
