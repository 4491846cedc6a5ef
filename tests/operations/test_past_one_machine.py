"""Scaling by Citus as docs/database.md describes it: checked in the catalogue, and on Citus where it is installed."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.db import migrations
from service.db.statements import SQL, names, read
from service.review.explain import explain
from tests import citus, databases
from tests.operations.ledger import CLIENTS, load
from tests.support import FEBRUARY, PASSWORD, ROOT, SECRET, Service, User, running, sign_up

# Reasons why tables cannot be distributed as documented. docs/database.md names the tables of each kind and the column.
OBSTACLES = """
WITH key_columns AS (
    SELECT
        pg_class.relname,
        index_class.relname AS index_name,
        (SELECT attname FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum = indkey[0]) AS first_column
    FROM pg_index
    JOIN pg_class ON pg_class.oid = indrelid
    JOIN pg_class AS index_class ON index_class.oid = indexrelid
    WHERE pg_class.relnamespace = 'public'::regnamespace
),
kinds AS (
    SELECT pg_class.oid, relname, CASE
        WHEN relname = ANY(%(distributed)s) THEN 'distributed'
        WHEN relname = ANY(%(reference)s) THEN 'reference'
        WHEN relname = ANY(%(local)s) THEN 'local'
    END AS kind
    FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'f', 'm', 'v')
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
)
SELECT relname || ': docs/database.md does not say where it goes' FROM kinds WHERE kind IS NULL
UNION ALL
SELECT relname || ': ' || index_name || ' does not start with ' || %(column)s
FROM key_columns WHERE relname = ANY(%(distributed)s) AND first_column IS DISTINCT FROM %(column)s
UNION ALL
SELECT kinds.relname || ': has no primary key'
FROM kinds WHERE kind IN ('distributed', 'reference')
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = kinds.oid AND contype = 'p')
UNION ALL
SELECT kinds.relname || ': ' || conname || ' goes to ' || other.relname
FROM pg_constraint
JOIN kinds ON kinds.oid = conrelid
JOIN kinds AS other ON other.oid = confrelid
WHERE contype = 'f' AND (kinds.kind, other.kind) IS DISTINCT FROM ('distributed', 'reference')
UNION ALL
SELECT kinds.relname || ': ' || conname || ' excludes' FROM pg_constraint
JOIN kinds ON kinds.oid = conrelid WHERE contype = 'x'
UNION ALL
SELECT kinds.relname || ': has the trigger ' || tgname FROM pg_trigger
JOIN kinds ON kinds.oid = tgrelid WHERE NOT tgisinternal
UNION ALL
SELECT kinds.relname || ': has the rule ' || rulename FROM pg_rewrite JOIN kinds ON kinds.oid = ev_class
UNION ALL
SELECT kinds.relname || ': has the policy ' || polname FROM pg_policy JOIN kinds ON kinds.oid = polrelid
UNION ALL
SELECT kinds.relname || ': inherits' FROM pg_inherits JOIN kinds ON kinds.oid = inhrelid
UNION ALL
SELECT kinds.relname || ': ' || attname || ' is counted or computed' FROM pg_attribute
JOIN kinds ON kinds.oid = attrelid
LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE kind IN ('distributed', 'reference')
AND (attidentity <> '' OR attgenerated <> '' OR pg_get_expr(adbin, adrelid) LIKE '%%nextval(%%')
ORDER BY 1
"""


def obstacles(connection: psycopg.Connection, places: Mapping[str, Any]) -> list[str]:
    return [row[0] for row in connection.execute(OBSTACLES.encode(), places)]


@pytest.fixture(scope="module")
def schema(server_url: str) -> Iterator[str]:
    with databases.new_database(server_url) as url:
        migrations.apply(url)
        yield url


@pytest.fixture
def admin(schema: str) -> Iterator[psycopg.Connection]:
    """A connection whose transaction is rolled back."""
    with psycopg.connect(schema) as connection:
        yield connection
        connection.rollback()


def test_the_schema_can_be_distributed_as_documented(admin: psycopg.Connection) -> None:
    places = citus.placed()
    tables = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"

    assert obstacles(admin, places) == []
    named = [*places["distributed"], *places["reference"], *places["local"]]
    assert sorted(named) == sorted(row[0] for row in admin.execute(tables.encode()))


@pytest.mark.parametrize(
    ("change", "obstacle"),
    [
        ("CREATE TABLE tags (id uuid PRIMARY KEY)", "tags: docs/database.md does not say where it goes"),
        ("CREATE VIEW done AS SELECT id FROM tasks", "done: docs/database.md does not say where it goes"),
        ("CREATE INDEX by_title ON tasks (title)", "tasks: by_title does not start with user_id"),
        ("CREATE UNIQUE INDEX by_id ON tasks (id, user_id)", "tasks: by_id does not start with user_id"),
        ("CREATE INDEX by_lower ON tasks (lower(title))", "tasks: by_lower does not start with user_id"),
        ("ALTER TABLE tasks DROP CONSTRAINT tasks_pkey", "tasks: has no primary key"),
        ("ALTER TABLE users ADD last uuid, ADD FOREIGN KEY (id, last) REFERENCES tasks",
         "users: users_id_last_fkey goes to tasks"),
        ("ALTER TABLE attempts ADD owner uuid REFERENCES users", "attempts: attempts_owner_fkey goes to users"),
        ("ALTER TABLE tasks ADD number bigserial", "tasks: number is counted or computed"),
        ("ALTER TABLE tasks ADD number int GENERATED ALWAYS AS IDENTITY", "tasks: number is counted or computed"),
        ("ALTER TABLE users ADD low text GENERATED ALWAYS AS (lower(email)) STORED",
         "users: low is counted or computed"),
        ("CREATE TRIGGER mine BEFORE UPDATE ON tasks EXECUTE FUNCTION suppress_redundant_updates_trigger()",
         "tasks: has the trigger mine"),
        ("CREATE RULE mine AS ON DELETE TO users DO INSTEAD NOTHING", "users: has the rule mine"),
        ("CREATE POLICY mine ON tasks", "tasks: has the policy mine"),
    ],
)  # fmt: skip
def test_a_change_that_prevents_distribution_is_found(admin: psycopg.Connection, change: str, obstacle: str) -> None:
    admin.execute(change.encode())

    assert obstacle in obstacles(admin, citus.placed())


def test_a_second_copy_of_the_service_sees_the_changes_of_the_first(
    service: Service, ann: User, start_service: Callable[..., Service]
) -> None:
    second = start_service(TOKEN_RECHECK=0)
    there = User(second.http, ann.id, ann.email, ann.token)
    task = ann.creates(FEBRUARY)

    assert there.get("/api/tasks").json()["tasks"] == [task]
    assert ann.post("/api/auth/logout-all").status_code == 204
    assert there.get("/api/tasks").status_code == 401


AS_FROM_A_NODE = """
CREATE FUNCTION as_from_a_node() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'unique_violation',
        MESSAGE = 'duplicate key value violates unique constraint "users_email_key_102008"';
END
$$;
CREATE TRIGGER as_from_a_node BEFORE INSERT ON users EXECUTE FUNCTION as_from_a_node()
"""


def test_a_taken_email_is_recognised_by_the_constraint_name_of_a_shard(
    own_database: databases.Urls, tmp_path: Path
) -> None:
    """On the coordinator the constraint has the number of the shard; from another node only the message names it."""
    taken = (409, {"error": "Email already registered", "code": "EMAIL_EXISTS"})
    with (
        psycopg.connect(own_database.admin, autocommit=True) as admin,
        running(tmp_path, DATABASE_URL=own_database.runtime, BETTER_AUTH_SECRET=SECRET) as service,
    ):
        user = sign_up(service.http)
        for change in ("ALTER INDEX users_email_key RENAME TO users_email_key_102008", AS_FROM_A_NODE):
            admin.execute(change.encode())
            again = service.http.post("/api/auth/signup", json={"email": user.email, "password": PASSWORD})
            assert (again.status_code, again.json()) == taken


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[citus.Cluster]:
    binaries = citus.binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL with Citus is installed")
    with citus.cluster(tmp_path_factory.mktemp("citus"), binaries) as started:
        yield started


@contextmanager
def new_distributed_database(cluster: citus.Cluster) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CITUS_WORKERS", cluster.workers)
        with databases.new_database(cluster.coordinator) as url:
            yield databases.migrate(url, with_roles=False).admin


@pytest.fixture(scope="module")
def distributed_url(cluster: citus.Cluster) -> Iterator[str]:
    with new_distributed_database(cluster) as url:
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO users (id, email, password_hash) VALUES (%s, 'x@y', 'x')", [VALUES["uuid"]])
        yield url


VALUES = {
    "uuid": "00000000-0000-4000-8000-000000000000", "task_ids": "{00000000-0000-4000-8000-000000000000}",
    "bigint": "20", "versions": "{20}", "integer": "20", "smallint": "2", "boolean": "true", "bytea": "x",
    "text": "UTC", "text[]": "{UTC}", "jsonb": "[]", "timestamptz": "2026-11-01", "date": "2026-11-01", "time": "12:00",
    "tags": "[]",
}  # fmt: skip
WITHOUT_A_TABLE = ["tasks/lower_tags"]


@pytest.mark.parametrize("name", [each for each in names() if each.startswith("tasks/")])
def test_a_statement_on_tasks_runs_on_one_shard_at_a_time(distributed_url: str, name: str) -> None:
    """A statement with several writes is several commands, one after the other, in a transaction of Citus."""
    values = {parameter: VALUES.get(parameter, VALUES[kind]) for parameter, kind in read(name).parameters}
    plan = explain(distributed_url, name, values)

    assert {line.strip() for line in plan if "Task Count:" in line} == (
        set() if name in WITHOUT_A_TABLE else {"Task Count: 1"}
    )
    assert plan[-1].startswith("Not run: this is Citus")


def placed_tables(connection: psycopg.Connection) -> dict[str, str]:
    """How Citus has placed each table. A local one that refers to users is in its list too."""
    placed = "SELECT table_name::text, citus_table_type FROM citus_tables WHERE citus_table_type <> 'local'"
    found: list[tuple[str, str]] = connection.execute(placed.encode()).fetchall()
    return dict(found)


def documented_places() -> dict[str, str]:
    places = citus.placed()
    return {each: kind for kind in ("distributed", "reference") for each in places[kind]}


def test_tables_are_distributed_as_documented(distributed_url: str) -> None:
    with psycopg.connect(distributed_url) as connection:
        assert placed_tables(connection) == documented_places()


def test_migrations_roll_back_and_apply_on_distributed_tables(cluster: citus.Cluster) -> None:
    back_to = "0006_count_attempts"
    later = migrations.known()[migrations.known().index(back_to) + 1 :]

    with new_distributed_database(cluster) as url:
        assert migrations.roll_back(url, back_to) == later[::-1]
        assert migrations.apply(url) == later
        with psycopg.connect(url, autocommit=True) as connection:
            kept = placed_tables(connection)
            for line in citus.lines():
                if not any(f"'{table}'" in line for table in kept):
                    connection.execute(line.encode())
            placed = placed_tables(connection)
    # A table that a migration made again is local until its line of docs/database.md has run.
    assert kept == {"tasks": "distributed", "users": "reference"}
    assert placed == documented_places()


def test_a_new_history_begins_on_distributed_tables(distributed_url: str) -> None:
    owner, numbers = VALUES["uuid"], "SELECT version FROM task_counters WHERE user_id = %s"
    script = (SQL / "begin_history.sql").read_text().encode()

    with psycopg.connect(distributed_url, autocommit=True) as connection:
        seen = []
        for _ in range(2):
            connection.execute("DELETE FROM task_counters WHERE user_id = %s", [owner])
            connection.execute(script)
            seen.append(connection.execute(numbers, [owner]).fetchone())

    [[first], [second]] = [each or (0,) for each in seen]
    assert 10**15 < first < second < 2**53


@pytest.mark.parametrize("killed", ["coordinator", "worker"])
def test_a_node_that_is_killed_and_comes_back_loses_no_acknowledged_write(
    cluster: citus.Cluster, tmp_path: Path, killed: str
) -> None:
    node = cluster.nodes[0 if killed == "coordinator" else -1]
    with (
        new_distributed_database(cluster) as url,
        running(tmp_path, DATABASE_URL=url, BETTER_AUTH_SECRET=SECRET, POOL_TIMEOUT=1, STATEMENT_TIMEOUT=1) as service,
    ):
        with load([sign_up(service.http) for _ in range(CLIENTS)]) as ledger:
            node.kill()
            ledger.wait_until_all_were_refused()
            node.start()
            ledger.wait_until_all_are_served()
        counts = ledger.compare(url)
        replicas = ledger.wrong_replicas()

    assert ledger.unexpected == replicas == []
    assert (counts["lost"], counts["doubled"], counts["out of nothing"]) == (0, 0, 0)


# Tests that look at the locks of one server, or at names of constraints without the number of a shard, or that change
# the schema in a way that Citus refuses.
NEED_A_SINGLE_SERVER = [
    "tests/contract/test_batches_at_once.py::test_batches_of_a_user_that_wait_hold_up_no_batch_of_another_user",
    "tests/doctor/test_roles.py::test_a_privilege_too_few_or_too_many[REVOKE INSERT ON tasks, users FROM todo_runtime",
    "tests/doctor/test_schema.py::test_a_database_without_any_table",
    "tests/doctor/test_server.py::test_a_locale_without_letters_beyond_ascii",
    "tests/operations/test_erase.py::test_an_undeclared_table_or_trigger_is_no_proof",
    "tests/security/test_revocation.py::test_uncommitted_deletion_is_not_undone_by_the_email_of_an_older_token",
    "tests/sql/test_statements.py::test_create_task_refuses_an_owner_who_is_gone",
    "tests/sql/test_account_statements.py::test_create_user_refuses_a_taken_email",
    "tests/sql/test_version_statements.py::test_create_task_with_the_id_of_a_task_of_the_owner_is_refused",
    "tests/sql/test_version_statements.py::test_lock_counter_refuses_an_owner_who_is_gone",
]


def test_the_tests_of_contracts_statements_and_commands_pass_on_a_citus_cluster(cluster: citus.Cluster) -> None:
    about = ("", "account_", "page_", "server_", "version_")
    statements = [f"tests/sql/test_{name}statements.py" for name in about]
    fields = ["tests/sql/test_kept_answers.py", "tests/sql/test_task_fields.py"]
    commands = [f"tests/operations/test_{name}.py" for name in ("cleanup", "erase", "retention", "user_commands")]
    held = ["tests/contract", "tests/security", *statements, *fields, "tests/doctor", *commands]
    left_out = [f"--deselect={each}" for each in NEED_A_SINGLE_SERVER]
    given = {"DATABASE_URL": cluster.coordinator, "CITUS_WORKERS": cluster.workers}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *held, *left_out],
        cwd=ROOT, env=os.environ | given, capture_output=True, text=True, timeout=2400, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:]
