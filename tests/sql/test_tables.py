"""sql/tables.md declares each table, and statements reach no more of a table than its kind allows."""

import psycopg
import pytest

from tests.sql.faults import (
    ID,
    OWNER,
    SMALL_TREE,
    TASK,
    Plant,
    all_findings,
    declare,
    findings,
    findings_in_texts,
    new_statement,
)

LISTS = """
CREATE TABLE lists (user_id uuid NOT NULL REFERENCES users, id uuid UNIQUE, title text, PRIMARY KEY (user_id, id));
CREATE TABLE items (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), list_id uuid REFERENCES lists (id), title text);
CREATE INDEX ON items (list_id);
CREATE TABLE logins (id uuid PRIMARY KEY, account_id uuid NOT NULL REFERENCES users, title text);
CREATE INDEX ON logins (account_id);
CREATE TABLE colours (name text PRIMARY KEY, code text);
"""
DECLARED = (
    "| `lists` | owned | `user_id` | lists of tasks |",
    "| `items` | child of `lists` | `list_id` | what stands in a list |",
    "| `logins` | child of `users` | `account_id` | of a user |",
    "| `colours` | shared | | the same for all users |",
)
LIST, TITLE = "-- $2 list_id  uuid", "-- $2 title  text"


@pytest.fixture
def lists_url(any_own_small_url: str) -> str:
    with psycopg.connect(any_own_small_url) as connection:
        connection.execute(LISTS.encode())
    return any_own_small_url


@pytest.mark.parametrize(
    ("made", "declared", "finding"),
    [
        ("TABLE notes (id uuid)", None, "1: must declare the table notes: owned, child of an owned table, or shared"),
        ("TABLE notes (owner_id uuid)", None, "1: must declare the table notes"),
        ("TABLE task_tags (task_id uuid)", None, "1: must declare the table task_tags"),
        ("TABLE notes (id uuid)", "| `notes` | owned | `user_id` | x |", "6: notes is declared as owned, and has no"),
        ("TABLE notes (user_id uuid)", "| `notes` | shared | | x |", "6: notes has user_id: it is owned"),
        (
            "TABLE notes (user_id uuid)",
            "| `notes` | owned | `user_id` | x |",
            "6: notes must have an index that starts with user_id",
        ),
        (
            "TABLE notes (id uuid, user_id uuid, PRIMARY KEY (id, user_id))",
            "| `notes` | owned | `user_id` | x |",
            "6: notes must have an index that starts with user_id",
        ),
        (
            "TABLE notes (owner_id uuid REFERENCES users)",
            "| `notes` | shared | | x |",
            "6: notes refers to users: it is owned, or a child of users",
        ),
        (
            "TABLE task_tags (task_id uuid)",
            "| `task_tags` | child of `tasks` | `task_id` | x |",
            "6: task_tags must have a foreign key of task_id to tasks",
        ),
        (
            "TABLE notes (id uuid PRIMARY KEY, above uuid REFERENCES notes)",
            "| `notes` | child of `notes` | `above` | x |",
            "6: notes must be the child of an owned table, not of notes",
        ),
        (
            "TABLE notes (id uuid)",
            "| `notes` | shared | | |",
            "6: must have a value for each of: table, kind, key, why",
        ),
        (
            "TABLE notes (id uuid)",
            "| `notes` | common | | x |",
            "6: notes must be account, owned, shared, migrations or",
        ),
        ("TABLE notes (id uuid)", "| `notes` | shared | `id` | x |", "6: the key of notes, which is shared, must be"),
        ("SEQUENCE numbers", "| `notes` | shared | | x |", "6: declares notes, which is no table"),
        ("SEQUENCE numbers", "| `tasks` | shared | | x |", "6: declares tasks twice"),
        ("RULE hide AS ON DELETE TO tasks DO INSTEAD NOTHING", None, "1: must declare the rule hide of tasks"),
        (
            ("TRIGGER look BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"),
            None,
            "1: must declare the trigger look of tasks: statements do not show what it does",
        ),
    ],
)
def test_a_table_a_trigger_or_a_rule_that_is_not_rightly_declared_is_a_finding(
    any_own_small_url: str, plant: Plant, made: str, declared: str | None, finding: str
) -> None:
    with psycopg.connect(any_own_small_url) as connection:
        connection.execute(f"CREATE {made}".encode())
    root = plant("accounts/get_user")
    if declared:
        declare(root, declared)

    assert any(each.startswith(f"sql/tables.md:{finding}") for each in findings(any_own_small_url, root))


def test_other_schemas_are_not_looked_at_and_no_statement_may_touch_them(own_small_url: str, plant: Plant) -> None:
    with psycopg.connect(own_small_url) as connection:
        connection.execute("CREATE SCHEMA audit; CREATE TABLE audit.seen (id uuid)")
    root = plant("accounts/get_user")
    assert findings(own_small_url, root) == []

    plant("tasks/new_statement", new=new_statement("tasks/new_statement", "SELECT id FROM audit.seen", ID))
    assert findings(own_small_url, root) == [
        "sql/tasks/new_statement.sql:5: must not touch audit.seen: sql/tables.md does not declare it"
    ]


def test_a_declared_trigger_and_the_partitions_of_a_declared_table_have_no_finding(
    any_own_small_url: str, plant: Plant
) -> None:
    with psycopg.connect(any_own_small_url) as connection:
        connection.execute(
            "CREATE TRIGGER look BEFORE UPDATE ON tasks FOR EACH ROW "
            "EXECUTE FUNCTION suppress_redundant_updates_trigger()"
        )
        connection.execute(
            "CREATE TABLE notes (user_id uuid, id uuid, PRIMARY KEY (user_id, id)) PARTITION BY HASH (user_id)"
        )
        for rest in (0, 1):
            connection.execute(
                f"CREATE TABLE notes_{rest} PARTITION OF notes FOR VALUES WITH (MODULUS 2, REMAINDER {rest})".encode()
            )
    body = "SELECT id FROM notes WHERE user_id = $1"
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, OWNER, ID))
    declare(root, "| `notes` | owned | `user_id` | x |")
    declare(root, "", "| trigger or rule | table | why |", "|---|---|---|", "| `look` | `tasks` | x |")

    assert findings(any_own_small_url, root) == []


def test_a_tree_without_declared_tables_is_a_finding_also_without_a_server(plant: Plant) -> None:
    root = plant("accounts/get_user")
    (root / "tables.md").unlink()

    assert findings_in_texts(root) == ["sql/tables.md:1: is missing: it declares what the rows of each table belong to"]


@pytest.mark.parametrize(
    ("body", "header"),
    [
        ("SELECT id FROM items WHERE list_id = $1", ["-- $1 list_id  uuid", ID]),
        ("SELECT id FROM items WHERE list_id = $2 AND $1::uuid IS NOT NULL", [OWNER, LIST, ID]),
        (
            "SELECT items.id FROM items INNER JOIN lists ON items.title = lists.title WHERE lists.user_id = $1",
            [OWNER, ID],
        ),
        (
            "SELECT items.id FROM lists LEFT JOIN items ON items.list_id > lists.id WHERE lists.user_id = $1",
            [OWNER, ID],
        ),
        ("DELETE FROM items WHERE id = $2 AND $1::uuid IS NOT NULL", [OWNER, TASK]),
        ("INSERT INTO items (id, list_id) VALUES ($1, $2)", [OWNER, LIST]),
        (
            "INSERT INTO items (id, list_id) SELECT lists.id, $2 FROM lists WHERE lists.user_id = $1",
            [OWNER, LIST],
        ),
        ("SELECT id FROM items", [ID]),
        (
            ("SELECT id FROM items WHERE list_id = $2 UNION ALL SELECT id FROM lists WHERE user_id = $1 AND id = $2"),
            [OWNER, LIST, ID],
        ),
        (
            (
                "SELECT items.id FROM items LEFT JOIN lists ON items.list_id = lists.id AND lists.user_id = $1 "
                "AND lists.id = $2 WHERE items.list_id = $2"
            ),
            [OWNER, LIST, ID],
        ),
    ],
)
def test_a_child_that_is_not_bound_to_a_row_of_its_parent_is_a_finding(
    lists_url: str, plant: Plant, body: str, header: list[str]
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))
    declare(root, *DECLARED)

    wanted = "items must be bound by its list_id to a row of lists, in a join with an index"
    assert any(wanted in finding for finding in findings(lists_url, root))


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (
            "SELECT items.id FROM items INNER JOIN lists ON items.list_id = lists.id WHERE lists.user_id = $1",
            [OWNER, ID],
        ),
        (
            (
                "SELECT items.id FROM items INNER JOIN lists ON items.list_id = lists.id "
                "WHERE lists.user_id = $1 AND lists.id = $2"
            ),
            [OWNER, LIST, ID],
        ),
        (
            ("DELETE FROM items USING lists WHERE items.list_id = lists.id AND lists.user_id = $1 AND items.id = $2"),
            [OWNER, TASK],
        ),
        (
            (
                "INSERT INTO items (list_id, title) SELECT lists.id, lists.title "
                "FROM lists WHERE lists.user_id = $1 AND lists.id = $2"
            ),
            [OWNER, LIST],
        ),
        ("SELECT id FROM logins WHERE account_id = $1", [OWNER, ID]),
        ("SELECT code AS id FROM colours WHERE name = $1", ["-- $1 name  text", "-- -> id  text"]),
    ],
)
def test_a_child_that_is_bound_to_a_row_of_its_parent_has_no_finding(
    lists_url: str, plant: Plant, body: str, header: list[str]
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))
    declare(root, *DECLARED)

    assert findings(lists_url, root) == []


CHANGES = [
    ("DELETE FROM colours", "delete all rows of colours"),
    ("DELETE FROM colours WHERE TRUE", "delete all rows of colours"),
    ("DELETE FROM colours WHERE 1 = 1", "delete all rows of colours"),
    ("DELETE FROM colours WHERE name = name", "delete all rows of colours"),
    ("DELETE FROM colours WHERE random() >= 0", "delete all rows of colours"),
    ("DELETE FROM colours WHERE current_user <> 'colours.name'", "delete all rows of colours"),
    ("DELETE FROM colours USING lists WHERE lists.id IS NOT NULL AND random() >= 0", "delete all rows of colours"),
    ("UPDATE colours SET code = 'x'", "update all rows of colours"),
    ("WITH gone AS (DELETE FROM colours RETURNING name) SELECT 1 AS one FROM gone", "delete all rows of colours"),
    ("DELETE FROM colours USING colours AS other", "delete all rows of colours"),
]


@pytest.mark.parametrize(("body", "what"), CHANGES)
def test_a_change_of_all_rows_of_a_shared_table_is_a_finding_outside_maintenance(
    lists_url: str, plant: Plant, body: str, what: str
) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body))
    plant("maintenance/new", new=new_statement("maintenance/new", body, "-- across owners: they have none"))
    declare(root, *DECLARED)

    found = [each for each in findings(lists_url, root) if "must not" in each]
    assert found == [f"sql/tasks/new_statement.sql:4: must not {what}: it needs a condition"]


@pytest.mark.parametrize(
    "body",
    [
        "DELETE FROM users",
        "DELETE FROM tasks",
        "UPDATE tasks SET title = 'x' WHERE TRUE",
        "DELETE FROM items",
        "UPDATE users SET issuer = 'x'",
    ],
)
def test_a_change_of_all_rows_of_a_table_with_an_owner_is_a_finding_also_in_maintenance(
    lists_url: str, plant: Plant, body: str
) -> None:
    root = plant("maintenance/new", new=new_statement("maintenance/new", body, "-- across owners: for a test"))
    declare(root, *DECLARED)

    [found] = findings(lists_url, root)
    assert found.startswith("sql/maintenance/new.sql:5: must not ")
    assert found.endswith(": it needs a condition")


@pytest.mark.parametrize(
    "body",
    [
        "DELETE FROM colours WHERE name = $1",
        "UPDATE colours SET code = $1 WHERE code IS NULL",
        "DELETE FROM colours WHERE name IN (SELECT other.name FROM colours AS other WHERE other.code = $1)",
    ],
)
def test_a_change_of_a_shared_table_with_a_condition_has_no_finding(lists_url: str, plant: Plant, body: str) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, "-- $1 word  text"))
    declare(root, *DECLARED)

    assert findings(lists_url, root) == []


@pytest.mark.parametrize(
    "body",
    [
        "SELECT password_hash AS id FROM users WHERE id = $1",
        "SELECT email AS id FROM users WHERE id = $1 AND password_hash > $2",
        "SELECT email AS id FROM users WHERE id = $1 AND password_hash LIKE $2",
        "SELECT email AS id FROM users WHERE id = $1 AND users.password_hash IS NOT NULL",
        "SELECT u.email AS id FROM users AS u WHERE u.id = $1 ORDER BY u.password_hash",
        "SELECT count(*)::text AS id FROM users WHERE id = $1 GROUP BY password_hash",
        "UPDATE users SET issuer = 'x' WHERE id = $1 RETURNING password_hash AS id",
        "UPDATE users SET issuer = password_hash WHERE id = $1",
        "DELETE FROM users WHERE id = $1 AND password_hash = $2",
        "SELECT email AS id FROM users INNER JOIN users AS u USING (password_hash) WHERE users.id = $1 AND u.id = $1",
    ],
)
def test_a_read_of_the_password_hash_outside_its_two_statements_is_a_finding_without_a_server(
    plant: Plant, body: str
) -> None:
    parameters = [OWNER, "-- $2 word  text"] if "$2" in body else [OWNER]
    plant("accounts/find_credentials")
    new = new_statement("accounts/new_statement", body, *parameters, "-- -> id  text")

    found = findings_in_texts(plant("accounts/new_statement", new=new))
    assert found
    message = "must not read password_hash: accounts/find_credentials and accounts/get_password do"
    assert all(each.startswith("sql/accounts/new_statement.sql:") and each.endswith(message) for each in found)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("SELECT n FROM generate_series(1, $1) AS n", "must call generate_series with constants"),
        ("SELECT generate_series(1, $1) AS n", "must call generate_series with constants"),
        (
            "SELECT n FROM (SELECT $1 AS most) AS x CROSS JOIN LATERAL generate_series(1, x.most) AS n",
            "must call generate_series with constants",
        ),
        ("SELECT id AS n FROM tasks ORDER BY user_id, id LIMIT 5 OFFSET $1", "must not use OFFSET"),
        ("SELECT id AS n FROM tasks ORDER BY user_id, id OFFSET 5", "must not use OFFSET"),
        ("SELECT u.n FROM users AS u NATURAL JOIN tasks", "must name its columns: no NATURAL JOIN"),
        ("SELECT j::text AS n FROM (users CROSS JOIN tasks) AS j", "must name its columns: no whole row"),
    ],
)
def test_rows_by_number_offsets_and_unnamed_columns_are_findings_without_a_server(
    plant: Plant, body: str, why: str
) -> None:
    parameters = ["-- $1 number  bigint"] if "$1" in body else []
    new = new_statement("tasks/new_statement", body, *parameters, "-- -> n  bigint")

    found = findings_in_texts(plant("tasks/new_statement", new=new))
    assert any(why in each for each in found)


def test_generate_series_of_constants_has_no_finding(plant: Plant) -> None:
    body = "SELECT n FROM generate_series(1, 7::bigint) AS n"
    new = new_statement("tasks/new_statement", body, "-- -> n  bigint")

    assert findings_in_texts(plant("tasks/new_statement", new=new)) == []


@pytest.mark.parametrize(
    ("name", "good", "bad", "used"),
    [
        ("tasks/get_task", "tasks_pkey", "tasks_newest_first", "tasks_pkey"),
        ("tasks/get_task", "tasks_pkey", "none", "tasks_pkey"),
        ("tasks/get_task", "tasks_pkey", "tasks_pkey, users_pkey", "tasks_pkey"),
        ("tasks/get_task", "tasks_pkey", "tasks_key", "tasks_pkey"),
        ("tasks/list_tasks", "index: tasks_newest_first", "index: tasks_pkey", "tasks_newest_first"),
        ("tasks/delete_task", "task_counters_pkey, tasks_pkey", "tasks_pkey", "task_counters_pkey, tasks_pkey"),
        ("tasks/create_task", "index: none", "index: tasks_pkey", "none"),
        ("accounts/find_credentials", "index: users_email_key", "index: users_pkey", "users_email_key"),
    ],
)
def test_an_index_line_that_is_not_true_is_a_finding(
    any_small_url: str, plant: Plant, name: str, good: str, bad: str, used: str
) -> None:
    root = plant(name, (good, bad))

    [found] = all_findings(any_small_url, root)
    says = bad.removeprefix("index: ")
    assert found.startswith(f"sql/{name}.sql:")
    assert found.endswith(f": uses {used}, and its header says {says}")


def test_the_index_lines_of_the_small_tree_are_true(any_small_url: str) -> None:
    assert all_findings(any_small_url, SMALL_TREE / "sql") == []
