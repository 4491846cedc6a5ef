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
from service.db.statements import names, read
from service.review.explain import explain
from tests import citus, databases
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
    "uuid": "00000000-0000-4000-8000-000000000000", "bigint": "20", "boolean": "true",
    "text": "x", "timestamptz": "2026-11-01",
}  # fmt: skip


@pytest.mark.parametrize("name", [each for each in names() if each.startswith("tasks/")])
def test_a_statement_on_tasks_runs_on_one_shard(distributed_url: str, name: str) -> None:
    plan = explain(distributed_url, name, {parameter: VALUES[kind] for parameter, kind in read(name).parameters})

    assert [line.strip() for line in plan if "Task Count:" in line] == ["Task Count: 1"]


def test_tables_are_distributed_as_documented(distributed_url: str) -> None:
    with psycopg.connect(distributed_url) as connection:
        found = connection.execute("SELECT table_name::text, citus_table_type FROM citus_tables").fetchall()
    places = citus.placed()

    assert dict(found) == {each: kind for kind in ("distributed", "reference") for each in places[kind]}


def test_migrations_roll_back_and_apply_on_distributed_tables(cluster: citus.Cluster) -> None:
    back_to = "0006_count_attempts"
    later = migrations.known()[migrations.known().index(back_to) + 1 :]

    with new_distributed_database(cluster) as url:
        assert migrations.roll_back(url, back_to) == later[::-1]
        assert migrations.apply(url) == later
        # A table that a migration created again is local.
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT table_name::text FROM citus_tables ORDER BY 1").fetchall()
        assert found == [("tasks",), ("users",)]


# Tests that look at the server and not at the service.
NEED_A_SINGLE_SERVER = [
    "tests/security/test_revocation.py::test_uncommitted_deletion_is_not_undone_by_the_email_of_an_older_token",
    "tests/sql/test_statements.py::test_create_task_refuses_an_owner_who_is_gone",
    "tests/sql/test_account_statements.py::test_create_user_refuses_a_taken_email",
]


def test_the_contract_tests_pass_on_a_citus_cluster(cluster: citus.Cluster) -> None:
    statements = [f"tests/sql/test_{name}.py" for name in ("statements", "account_statements", "server_statements")]
    held = ["tests/contract", "tests/security", *statements]
    left_out = [f"--deselect={each}" for each in NEED_A_SINGLE_SERVER]
    given = {"DATABASE_URL": cluster.coordinator, "CITUS_WORKERS": cluster.workers}

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *held, *left_out],
        cwd=ROOT, env=os.environ | given, capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-5000:]
