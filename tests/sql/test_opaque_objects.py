"""The owner rule: views, functions and operators that hide what a statement does are findings."""

import psycopg
import pytest

from tests.sql.faults import ID, OWNER, Plant, findings, new_statement

OPAQUE = """
CREATE FUNCTION tasks_of_all() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM tasks';
CREATE FUNCTION tasks_of(text, text) RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM tasks';
CREATE OPERATOR @@@@ (FUNCTION = tasks_of, LEFTARG = text, RIGHTARG = text);
CREATE VIEW all_tasks AS SELECT id, title, user_id AS owner, tasks_of_all() AS number FROM tasks;
CREATE MATERIALIZED VIEW copied_tasks AS SELECT id, title FROM tasks;
"""


@pytest.mark.parametrize(
    ("body", "header", "why"),
    [
        ("SELECT tasks_of_all() AS id", ["-- -> id  bigint"], "must not call tasks_of_all"),
        ("SELECT public.tasks_of_all() AS id", ["-- -> id  bigint"], "must not call public.tasks_of_all"),
        ("SELECT 'a'::text @@@@ 'b'::text AS id", ["-- -> id  bigint"], "must not use @@@@"),
        ("SELECT 'a'::text OPERATOR(public.@@@@) 'b'::text AS id", ["-- -> id  bigint"], "must not use @@@@"),
        ("SELECT id FROM all_tasks WHERE owner = $1", [OWNER, ID], "must name tables: all_tasks is a view"),
        (
            "SELECT id FROM copied_tasks WHERE id = $1",
            ["-- $1 id  uuid", ID],
            "must name tables: copied_tasks is a view",
        ),
        (
            "UPDATE all_tasks SET owner = $2 WHERE owner = $1",
            [OWNER, "-- $2 other_id  uuid"],
            "must name tables: all_tasks is a view",
        ),
        ("SELECT table_to_xml('tasks', true, true, '') AS id", ["-- -> id  xml"], "must not call table_to_xml"),
        (
            "SELECT set_config('my.word', $1, FALSE) AS id",
            ["-- $1 word  text", "-- -> id  text"],
            "must not call set_config",
        ),
        ("SELECT pg_read_file($1) AS id", ["-- $1 name  text", "-- -> id  text"], "must not call pg_read_file"),
        (
            "SELECT pg_advisory_lock($1)",
            ["-- $1 key  bigint", "-- -> pg_advisory_lock  void"],
            "must not call pg_advisory_lock",
        ),
        (
            "SELECT histogram_bounds::text AS id FROM pg_stats",
            ["-- -> id  text"],
            "must not read the server's own tables",
        ),
        (
            "SELECT stavalues1::text AS id FROM pg_catalog.pg_statistic",
            ["-- -> id  text"],
            "must not read the server's own tables",
        ),
        (
            "SELECT table_name::text AS id FROM information_schema.tables",
            ["-- -> id  text"],
            "must not read the server's own tables",
        ),
        (
            "SELECT t.d FROM tasks AS t (owner, user_id, d) WHERE t.user_id = $1",
            [OWNER, "-- -> d  text"],
            "must not give columns of a table other names",
        ),
        (
            (
                "SELECT j.d FROM (tasks AS a INNER JOIN users AS b ON a.user_id = b.id) AS j (owner, user_id, d) "
                "WHERE j.user_id = $1"
            ),
            [OWNER, "-- -> d  text"],
            "must not give columns of a table other names",
        ),
    ],
)
def test_views_functions_and_operators_with_hidden_effects_are_findings(
    own_small_url: str, plant: Plant, body: str, header: list[str], why: str
) -> None:
    with psycopg.connect(own_small_url) as connection:
        connection.execute(OPAQUE.encode())
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, *header))

    assert any(why in finding for finding in findings(own_small_url, root))


def test_a_function_of_our_own_is_not_run_by_planning_it(own_small_url: str, plant: Plant) -> None:
    with psycopg.connect(own_small_url) as connection:
        connection.execute(
            "CREATE FUNCTION since() RETURNS timestamptz STABLE LANGUAGE plpgsql AS "
            "'BEGIN RAISE EXCEPTION $$it was run$$; END'"
        )
    body = "SELECT id FROM tasks WHERE user_id = $1 AND created_at > since()"
    root = plant("tasks/new_statement", new=new_statement("tasks/new_statement", body, OWNER, ID))

    assert findings(own_small_url, root) == [
        "sql/tasks/new_statement.sql:6: must not call since: no plan shows what it reads or changes"
    ]
