"""sql/roles.sql and migrations/post-apply.sql: the privileges and the limits of the runtime role."""

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
from psycopg import pq

from service.db import migrations
from service.db.statements import SQL, read
from tests import databases
from tests.databases import Urls
from tests.support import new_email

ROLES = (SQL / "roles.sql").read_bytes()


@pytest.fixture(autouse=True)
def _roles_of_our_own(with_roles: bool) -> None:
    if not with_roles:
        pytest.skip("the server has a role todo_owner or todo_runtime already: they are left alone")


@pytest.fixture
def runtime(urls: Urls) -> Iterator[psycopg.Connection]:
    """A transaction as the runtime role, rolled back at the end."""
    with psycopg.connect(urls.runtime) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "CREATE SCHEMA mine",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE INDEX ON tasks (title)",
        "CREATE ROLE mine",
        "ALTER TABLE tasks ADD COLUMN mine int",
        "ALTER TABLE tasks DISABLE TRIGGER ALL",
        "ALTER TABLE users DROP CONSTRAINT users_email_lower_case",
        "ALTER ROLE todo_owner PASSWORD 'mine'",
        "DROP TABLE tasks",
        "TRUNCATE tasks",
        "SET ROLE todo_owner",
        "SET log_parameter_max_length = -1",
        "UPDATE tasks SET user_id = gen_random_uuid()",
        "UPDATE tasks SET id = gen_random_uuid()",
        "UPDATE tasks SET created_at = now()",
        "UPDATE users SET id = gen_random_uuid()",
        "UPDATE users SET created_at = now()",
        "UPDATE users SET issuer = 'https://mine.example'",
        "UPDATE users SET subject = 'mine'",
        "UPDATE attempts SET bucket = 'mine'",
        "UPDATE idempotency_keys SET key = 'mine'",
        "UPDATE deleted_outside_users SET subject = 'mine'",
        "UPDATE task_counters SET user_id = gen_random_uuid()",
        "DELETE FROM task_counters",
        "UPDATE deleted_tasks SET user_id = gen_random_uuid()",
        "UPDATE deleted_tasks SET version = 0",
        "UPDATE idempotency_keys SET user_id = gen_random_uuid()",
        "INSERT INTO histories DEFAULT VALUES",
        "UPDATE histories SET started_at = now()",
        "DELETE FROM histories",
        "INSERT INTO _yoyo_migration (migration_id) VALUES ('9999_mine')",
        "DELETE FROM _yoyo_migration",
        "UPDATE migration_checksums SET sha256 = ''",
        "DELETE FROM migration_checksums",
        "SELECT * FROM _yoyo_log",
        "SELECT * FROM elsewhere.secrets",
        "SELECT * FROM pg_authid",
        "COPY tasks TO PROGRAM 'true'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_runtime_role_is_refused_statements_outside_its_grants(
    urls: Urls, runtime: psycopg.Connection, statement: str
) -> None:
    with psycopg.connect(urls.admin) as admin:
        admin.execute("CREATE SCHEMA IF NOT EXISTS elsewhere")
        admin.execute("CREATE TABLE IF NOT EXISTS elsewhere.secrets ()")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        runtime.execute(statement.encode())


def test_runtime_role_reads_and_writes_rows(runtime: psycopg.Connection) -> None:
    insert = "INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id"
    [[user_id]] = runtime.execute(insert.encode(), [new_email()])
    [[task_id]] = runtime.execute("INSERT INTO tasks (user_id, title) VALUES (%s, 'x') RETURNING id", [user_id])
    change = "UPDATE tasks SET title = 'y', description = 'z', is_completed = TRUE, updated_at = now() WHERE id = %s"
    runtime.execute(change.encode(), [task_id])
    runtime.execute("UPDATE users SET password_hash = 'y', updated_at = now() WHERE id = %s", [user_id])
    assert runtime.execute("SELECT id, title FROM tasks WHERE id = %s", [task_id]).fetchall() == [(task_id, "y")]
    assert runtime.execute("DELETE FROM tasks WHERE id = %s RETURNING id", [task_id]).fetchall() == [(task_id,)]
    assert runtime.execute("DELETE FROM users WHERE id = %s RETURNING id", [user_id]).fetchall() == [(user_id,)]


def test_runtime_role_sets_its_own_timeouts_and_search_path(runtime: psycopg.Connection) -> None:
    shown = runtime.execute("SELECT name, setting FROM pg_settings WHERE source = 'user' ORDER BY name").fetchall()

    assert shown == [
        ("idle_in_transaction_session_timeout", "10000"),
        ("lock_timeout", "100"),
        ("log_parameter_max_length", "0"),
        ("search_path", "public"),
        ("statement_timeout", "10000"),
    ]


def test_runtime_role_keeps_parameters_out_of_auto_explain_where_it_prints_them(database: psycopg.Connection) -> None:
    query = "SELECT unnest(setconfig) FROM pg_db_role_setting WHERE setrole = 'todo_runtime'::regrole"
    given = [setting for [setting] in database.execute(query.encode()) if setting.startswith("auto_explain")]

    prints_them = database.info.server_version >= 160000
    assert given == (["auto_explain.log_parameter_max_length=0"] if prints_them else [])


def test_server_log_holds_statements_of_the_runtime_role_without_parameters(own_database: Urls) -> None:
    logged: list[str] = []
    with psycopg.connect(own_database.admin, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET log_min_duration_statement = 0".encode())
        admin.execute(f"ALTER DATABASE {name} SET client_min_messages = log".encode())
    with psycopg.connect(own_database.runtime, autocommit=True) as runtime:
        runtime.add_notice_handler(lambda notice: logged.append(f"{notice.message_primary}{notice.message_detail}"))
        found = runtime.pgconn.exec_params(read("accounts/find_credentials").text.encode(), [b"ann@example.com"])

    assert found.status == pq.ExecStatus.TUPLES_OK
    assert any("find_credentials" in line for line in logged)
    assert not any("ann@example.com" in line for line in logged)


@pytest.fixture
def monitor(urls: Urls) -> Iterator[psycopg.Connection]:
    """A transaction as a member of pg_monitor, rolled back at the end."""
    name, password = f"monitor_{uuid4().hex[:12]}", uuid4().hex
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE pg_monitor".encode())
        with psycopg.connect(databases.url_of_role(urls.admin, name, password)) as connection:
            yield connection
            connection.rollback()
        admin.execute(f"DROP ROLE {name}".encode())


def test_member_of_pg_monitor_sees_sessions_of_others(urls: Urls, monitor: psycopg.Connection) -> None:
    with psycopg.connect(urls.runtime) as runtime:
        runtime.execute("SELECT 'of the runtime role'")
        query = "SELECT usename, query FROM pg_stat_activity WHERE pid = %s"
        shown = monitor.execute(query.encode(), [runtime.info.backend_pid]).fetchall()

    assert shown == [("todo_runtime", "SELECT 'of the runtime role'")]


def test_member_of_pg_monitor_sees_no_value_of_a_column(urls: Urls, monitor: psycopg.Connection) -> None:
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        admin.execute("INSERT INTO users (email, password_hash) VALUES (%s, 'x')", [new_email()])
        admin.execute("ANALYZE users")
        of_all = "SELECT count(*) FROM pg_stats WHERE schemaname = 'public'"
        [[for_admin], [for_monitor]] = [each.execute(of_all.encode()).fetchone() or () for each in (admin, monitor)]

    assert for_admin > 0
    assert for_monitor == 0


@pytest.mark.parametrize(
    "statement",
    [
        *(f"SELECT FROM {table}" for table in (
            "users", "tasks", "task_counters", "deleted_tasks", "idempotency_keys", "histories", "attempts",
            "deleted_outside_users", "migration_checksums", "_yoyo_migration",
        )),
        "INSERT INTO tasks (user_id, title) VALUES (gen_random_uuid(), 'x')",
        "UPDATE tasks SET title = 'x'",
        "DELETE FROM tasks",
        "CREATE TABLE mine ()",
        "CREATE TEMPORARY TABLE mine ()",
        "SET ROLE todo_runtime",
    ],
)  # fmt: skip
def test_member_of_pg_monitor_is_refused_statements_on_tables(monitor: psycopg.Connection, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        monitor.execute(statement.encode())


def test_role_without_a_grant_of_connect_cannot_connect(urls: Urls) -> None:
    name, password = f"stranger_{uuid4().hex[:12]}", uuid4().hex
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(databases.url_of_role(urls.admin, name, password))
        admin.execute(f"DROP ROLE {name}".encode())


def test_roles_are_added_to_a_database_in_use(empty_database: str) -> None:
    migrations.apply(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute("INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x')")
        admin.execute(ROLES)
        admin.execute(ROLES)

    urls = databases.migrate(empty_database, with_roles=True)

    with psycopg.connect(urls.runtime) as runtime:
        assert runtime.execute("SELECT email FROM users").fetchall() == [("a@example.com",)]
    with psycopg.connect(urls.owner) as owner:
        owner.execute("ALTER TABLE tasks ADD COLUMN later int")
        for (domain,) in owner.execute("SELECT typname FROM pg_type WHERE typtype = 'd' AND typname LIKE 'task_%'"):
            owner.execute(f"ALTER DOMAIN {domain} DROP DEFAULT".encode())


def test_grants_are_given_only_once_every_table_exists(empty_database: str) -> None:
    with psycopg.connect(empty_database, autocommit=True) as admin:
        admin.execute(ROLES)

    assert migrations.apply(empty_database, migrations.known()[0]) == migrations.known()[:1]
    assert granted(empty_database) == 0
    migrations.apply(empty_database)
    assert granted(empty_database) == 10


def granted(url: str) -> int:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' "
            "AND has_table_privilege('todo_runtime', oid, 'SELECT')"
        ).fetchone()
    assert found is not None
    number: int = found[0]
    return number
