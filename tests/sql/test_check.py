"""sql check: no finding in sql/, and the right finding in a statement with one fault."""

import psycopg
import pytest

from service.db.admin_session import AdminConnection
from service.review.catalog import Catalog
from service.review.check import check
from service.review.total_order import NOT_TOTAL
from tests.databases import Urls
from tests.sql.faults import COLUMNS, ID, OWNER, TASK, Plant, findings, findings_in_texts, new_statement


def test_the_statements_of_the_service_have_no_findings(any_server: str) -> None:
    assert [str(finding) for finding in check(any_server)] == []


def test_the_statements_have_no_findings_with_many_users_and_no_outside_user(own_database: Urls) -> None:
    """Then a condition on the issuer makes the server prefer the index on it to the primary key."""
    with psycopg.connect(own_database.admin, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO users (email, password_hash) SELECT n || '@a.example', 'x' FROM generate_series(1, 60000) AS n"
        )
        connection.execute("VACUUM ANALYZE users")

    assert [str(finding) for finding in check(own_database.admin)] == []


@pytest.mark.parametrize(
    ("name", "good", "bad", "finding"),
    [
        (
            "tasks/get_task",
            "-- $2 task_id  uuid",
            "-- $2 task_id  text",
            "4: $2 task_id is text in the header and uuid for the server",
        ),
        (
            "tasks/list_tasks",
            "max_rows  bigint",
            "max_rows  integer",
            "4: $2 max_rows is integer in the header and bigint or int8 for the server",
        ),
        (
            "tasks/get_task",
            "-- -> title         text\n",
            "",
            f"1: returns {COLUMNS.replace('title, ', '')} in the header and {COLUMNS} for the server",
        ),
        (
            "tasks/get_task",
            "id, user_id, title",
            "id, title",
            f"1: returns {COLUMNS} in the header and {COLUMNS.replace('user_id, ', '')} for the server",
        ),
        (
            "tasks/get_task",
            "created_at    timestamptz",
            "created_at    timestamp",
            "10: created_at is timestamp in the header and timestamp with time zone or timestamptz for the server",
        ),
        ("tasks/get_task", "FROM tasks", "FROM task", '14: cannot be prepared: relation "task" does not exist'),
        (
            "tasks/get_task",
            "id, user_id, title",
            "id, user_id, titel",
            '13: cannot be prepared: column "titel" does not exist',
        ),
        (
            "tasks/delete_task",
            "-- name: delete_task",
            "-- name: remove_task",
            "1: must start with '-- name: <the file's name> :one', ':many' or ':exec'",
        ),
        (
            "tasks/delete_task",
            "/* tasks/delete_task */",
            "/* tasks/get_task */",
            "8: must repeat its name after the first keyword: /* tasks/delete_task */",
        ),
        (
            "tasks/delete_task",
            "SELECT id, user_id\nFROM gone",
            "SELECT id, user_id\nFROM gone; DELETE FROM tasks",
            "30: must hold exactly one statement, with no semicolon but one at its end",
        ),
        ("tasks/list_tasks", COLUMNS, "*", "13: must name its columns: no *"),
        ("tasks/update_task", COLUMNS, "tasks.*", "26: must name its columns: no *"),
        (
            "tasks/delete_task",
            "RETURNING tasks.id, tasks.user_id",
            "RETURNING tasks.id, tasks.user_id, tasks",
            "19: must name its columns: no whole row",
        ),
        (
            "tasks/create_task",
            "task_counters (user_id, task_count)",
            "task_counters",
            "16: must name the columns it inserts",
        ),
        ("tasks/list_tasks", "ORDER BY created_at DESC, id DESC\n", "", "13: must have an ORDER BY with its LIMIT"),
        ("tasks/list_tasks", "created_at DESC, id DESC", "created_at DESC", f"16: {NOT_TOTAL}"),
        (
            "tasks/get_task",
            "SELECT /* tasks/get_task */ id",
            "SELECT /* tasks/get_task */ id, ,",
            '13: syntax error at or near ","',
        ),
        ("tasks/get_task", "SELECT", "TABLE", '13: syntax error at or near ","'),
    ],
)
def test_a_file_that_differs_from_the_server_is_a_finding_at_its_line(
    any_small_url: str, plant: Plant, name: str, good: str, bad: str, finding: str
) -> None:
    found = findings(any_small_url, plant(name, (good, bad)))

    assert f"sql/{name}.sql:{finding}" in found
    assert all(each.startswith(f"sql/{name}.sql:") for each in found)


@pytest.mark.parametrize(
    ("body", "listed", "finding"),
    [
        (COLUMNS, "timestamptz", None),
        (COLUMNS.replace("title, ", ""), "timestamptz", f"1: returns {COLUMNS} in the header and"),
        (
            COLUMNS,
            "timestamp",
            "5: created_at is timestamp in the header and timestamp with time zone or timestamptz for the server",
        ),
    ],
)
def test_columns_as_those_of_another_file_are_compared_with_the_columns_of_the_server(
    small_url: str, plant: Plant, body: str, listed: str, finding: str | None
) -> None:
    plant("tasks/list_tasks", ("created_at    timestamptz", f"created_at    {listed}"))
    body = f"SELECT {body} FROM tasks WHERE user_id = $1 AND id = $2"
    root = plant(
        "tasks/find_task", new=new_statement("tasks/find_task", body, OWNER, TASK, "-- -> as tasks/list_tasks")
    )

    found = [each for each in findings(small_url, root) if each.startswith("sql/tasks/find_task.sql:")]

    if finding is None:
        assert found == []
    else:
        assert [each.startswith(f"sql/tasks/find_task.sql:{finding}") for each in found] == [True]


@pytest.mark.parametrize(
    ("body", "header", "finding"),
    [
        (
            "SELECT DISTINCT ON (title) id FROM tasks WHERE user_id = $1",
            [OWNER, ID],
            "6: must have an ORDER BY with its LIMIT",
        ),
        (
            "SELECT id FROM tasks WHERE user_id = $1 UNION SELECT id FROM tasks WHERE user_id = $1 ORDER BY 1 LIMIT $2",
            [OWNER, "-- $2 max_rows  bigint", ID],
            None,
        ),
        (
            (
                "SELECT id, created_at FROM tasks WHERE user_id = $1 UNION ALL SELECT id, created_at FROM tasks "
                "WHERE user_id = $1 ORDER BY created_at LIMIT 2"
            ),
            [OWNER, ID, "-- -> created_at  timestamptz"],
            f"7: {NOT_TOTAL}",
        ),
        (
            "SELECT is_completed::text AS id, title FROM tasks WHERE user_id = $1 ORDER BY id LIMIT 1",
            [OWNER, "-- -> id  text", "-- -> title  text"],
            f"7: {NOT_TOTAL}",
        ),
        ("SELECT id FROM tasks WHERE user_id = $1", [OWNER], "1: returns nothing in the header and id for the server"),
        (
            "UPDATE tasks SET title = 'x' WHERE user_id = $1",
            [OWNER, ID],
            "1: returns id in the header and nothing for the server",
        ),
        ("SELECT (VALUES (1), (2) ORDER BY 1 LIMIT 1) AS id", ["-- -> id  integer"], f"5: {NOT_TOTAL}"),
        (
            "SELECT title FROM tasks WHERE user_id = $1 GROUP BY title ORDER BY title LIMIT 3",
            [OWNER, "-- -> title  text"],
            None,
        ),
        (
            "SELECT DISTINCT ON (title) title, id FROM tasks WHERE user_id = $1 ORDER BY title, id",
            [OWNER, "-- -> title  text", ID],
            None,
        ),
        (
            "SELECT id FROM tasks WHERE user_id = $1 -- and not $2",
            [OWNER, TASK, ID],
            "7: takes 2 parameters in the header and 1 for the server",
        ),
        (
            "SELECT id FROM tasks WHERE user_id = $1 AND 1 / 0 = 1",
            [OWNER, ID],
            "6: cannot be planned: division by zero",
        ),
        ("SELECT id INTO stolen FROM tasks WHERE user_id = $1", [OWNER, ID], "6: must not make a table"),
        (
            (
                "INSERT INTO tasks (user_id, id, title, description, is_completed, created_at, updated_at) "
                "SELECT $1::uuid, id, 'x', NULL, TRUE, now(), now() FROM tasks WHERE user_id = $1 UNION ALL "
                "SELECT $1::uuid, id, 'y', NULL, TRUE, now(), now() FROM tasks WHERE user_id = $1"
            ),
            [OWNER],
            "5: must insert $1 into user_id of tasks, not what the plan does not show",
        ),
    ],
)
def test_a_statement_has_the_finding_or_none(
    small_url: str, plant: Plant, body: str, header: list[str], finding: str | None
) -> None:
    found = findings(small_url, plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header)))

    if finding is None:
        assert found == []
    else:
        assert f"sql/tasks/new_statement.sql:{finding}" in found


def test_a_write_of_many_rows_needs_no_limit_and_a_list_in_a_with_does(small_url: str, plant: Plant) -> None:
    write = "WITH gone AS (DELETE FROM tasks WHERE user_id = $1 RETURNING id)\nSELECT id FROM gone"
    read = "WITH found AS (SELECT id FROM tasks WHERE user_id = $1)\nSELECT id FROM found"
    plant("tasks/write_all", new=new_statement("tasks/write_all", write, OWNER, ID).replace(":one", ":many"))
    root = plant("tasks/read_all", new=new_statement("tasks/read_all", read, OWNER, ID).replace(":one", ":many"))

    assert findings(small_url, root) == [
        "sql/tasks/read_all.sql:6: must have a LIMIT: a list of the service never returns all there is"
    ]


def test_a_list_without_a_limit_and_an_exec_that_returns_rows_are_findings(small_url: str, plant: Plant) -> None:
    body = "SELECT id FROM tasks WHERE user_id = $1"
    plant("tasks/all_tasks", new=new_statement("tasks/all_tasks", body, OWNER, ID).replace(":one", ":many"))
    root = plant("tasks/no_tasks", new=new_statement("tasks/no_tasks", body, OWNER, ID).replace(":one", ":exec"))

    assert findings(small_url, root) == [
        "sql/tasks/all_tasks.sql:6: must have a LIMIT: a list of the service never returns all there is",
        "sql/tasks/no_tasks.sql:1: is :exec, and returns rows",
    ]


def test_a_file_that_cannot_be_read_or_planned_does_not_hide_findings_of_others(small_url: str, plant: Plant) -> None:
    root = plant("tasks/get_task", ("user_id = $1 AND id = $2", "user_id = $1 AND id = $2 AND 1 / 0 = 1"))
    plant("tasks/update_task", ("user_id = $1 AND id = $2", "user_id = $2 AND id = $1"))
    (root / "tasks" / "latin.sql").write_bytes(b"-- \xe9\n")
    (root / "steal.sql").write_text("SELECT /* steal */ title FROM tasks\n")
    (root / "roles.sql").write_text("CREATE ROLE anybody;\n")

    found = findings(small_url, root)

    assert [finding.partition(": ")[0] for finding in found] == [
        "sql/steal.sql:1", "sql/tasks/get_task.sql:13", "sql/tasks/latin.sql:1", "sql/tasks/update_task.sql:19",
    ]  # fmt: skip
    assert found[0] == "sql/steal.sql:1: must lie in one of the folders, where it is reviewed"
    assert found[2] == "sql/tasks/latin.sql:1: is no UTF-8"


def test_the_review_runs_in_a_read_only_transaction(
    small_url: str, plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []
    of = Catalog.of

    def look_and_read(connection: AdminConnection) -> Catalog:
        seen.append(connection.execute("SHOW transaction_read_only").fetchone())
        return of(connection)

    monkeypatch.setattr(Catalog, "of", look_and_read)

    assert findings(small_url, plant("tasks/get_task")) == []
    assert seen == [("on",)]


def test_a_locked_table_is_a_finding_after_the_lock_timeout(own_small_url: str, plant: Plant) -> None:
    with psycopg.connect(own_small_url) as other:
        other.execute("LOCK TABLE tasks")

        [finding] = findings(own_small_url, plant("tasks/get_task"))

    assert finding == "sql/tasks/get_task.sql:14: cannot be prepared: canceling statement due to lock timeout"


def test_a_merge_and_a_truncate_are_findings(small_url: str, plant: Plant) -> None:
    merge = "MERGE INTO tasks USING users ON tasks.user_id = users.id WHEN MATCHED THEN DO NOTHING"
    plant("tasks/truncate_tasks", new=new_statement("tasks/truncate_tasks", "TRUNCATE tasks"))
    why = "must be one SELECT, INSERT, UPDATE or DELETE: nothing else can be reviewed"

    assert findings(small_url, plant("tasks/merge_tasks", new=new_statement("tasks/merge_tasks", merge))) == [
        f"sql/tasks/merge_tasks.sql:4: {why}",
        f"sql/tasks/truncate_tasks.sql:4: {why}",
    ]


def test_findings_about_the_text_need_no_server(plant: Plant) -> None:
    plant(
        "tasks/update_task", ("title = CASE WHEN $3 THEN $4 ELSE title END", "user_id = CASE WHEN $3 THEN $4::uuid END")
    )
    root = plant(
        "tasks/get_task",
        ("WHERE user_id = $1 AND id = $2", "LIMIT 3"),
        ("-- $1 user_id  uuid\n-- $2 task_id  uuid\n", ""),
    )

    assert findings_in_texts(root) == [
        "sql/tasks/get_task.sql:11: must have an ORDER BY with its LIMIT",
        "sql/tasks/update_task.sql:21: must not change user_id: a row never changes its owner",
    ]


@pytest.mark.parametrize(
    "name",
    [
        "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema",
        "table_to_xml", "table_to_xmlschema", "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xmlschema",
        "schema_to_xml_and_xmlschema", "database_to_xml", "database_to_xmlschema", "database_to_xml_and_xmlschema",
        "ts_stat", "ts_rewrite",
    ],
)  # fmt: skip
def test_a_function_that_runs_sql_from_its_arguments_is_a_finding_without_a_server(plant: Plant, name: str) -> None:
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", f"SELECT {name}($1) AS id", OWNER, ID))

    assert findings_in_texts(root) == [
        f"sql/tasks/new_statement.sql:6: must not call {name}, which runs SQL that no review sees"
    ]
