"""python -m service doctor: the role of DATABASE_URL, its time limits, and where DATABASE_DIRECT_URL leads."""

import re

import psycopg
import pytest

from tests import databases
from tests.databases import Urls
from tests.doctor.diagnosis import lines
from tests.support import free_port

ROLES = "psql DATABASE -v ON_ERROR_STOP=1 -f sql/roles.sql"


HIDE_THE_SCHEMA = """
DO $$ BEGIN
    EXECUTE 'ALTER ROLE todo_runtime IN DATABASE ' || current_database() || ' SET search_path = nowhere';
END $$
"""


@pytest.fixture(autouse=True)
def _roles_of_our_own(with_roles: bool) -> None:
    if not with_roles:
        pytest.skip("the server has a role todo_owner or todo_runtime already: they are left alone")


def execute(url: str, command: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(command.encode())


def test_the_roles_as_they_are_made_are_no_finding(own_database: Urls) -> None:
    assert lines(own_database.runtime) == []
    assert lines(own_database.runtime, database_direct_url=own_database.owner) == []


def test_one_role_that_owns_everything_is_no_finding(own_database: Urls) -> None:
    assert lines(own_database.owner) == []
    assert lines(own_database.owner, database_direct_url=own_database.owner) == []


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (
            "statement_timeout = '1s'",
            (
                "warning: database/statement-timeout: the server ends the statements of todo_runtime after 1000 ms; "
                "STATEMENT_TIMEOUT=5 has no effect: slow requests fail earlier; "
                "ALTER ROLE todo_runtime SET statement_timeout = '10s'"
            ),
        ),
        (
            "lock_timeout = 0",
            (
                "warning: database/lock-timeout: lock_timeout of todo_runtime is not set; a request that waits "
                "for a lock "
                "keeps its connection, and others wait with it; ALTER ROLE todo_runtime SET lock_timeout = '100ms'"
            ),
        ),
        (
            "lock_timeout = '30s'",
            (
                "warning: database/lock-timeout: lock_timeout of todo_runtime is 30000 ms; a request that waits "
                "for a lock "
                "keeps its connection, and others wait with it; ALTER ROLE todo_runtime SET lock_timeout = '100ms'"
            ),
        ),
        (
            "statement_timeout = 0",
            (
                "warning: database/role-limits: todo_runtime has no time limit on statements; "
                f"a session whose client is gone keeps its locks; {ROLES}"
            ),
        ),
        (
            "idle_in_transaction_session_timeout = 0",
            (
                "warning: database/role-limits: todo_runtime has no time limit on transactions; "
                f"a session whose client is gone keeps its locks; {ROLES}"
            ),
        ),
    ],
)
def test_a_time_limit_of_the_role(own_database: Urls, limit: str, said: str) -> None:
    execute(
        own_database.admin, f"ALTER ROLE todo_runtime IN DATABASE {databases.name_of(own_database.admin)} SET {limit}"
    )

    assert lines(own_database.runtime) == [said]


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "REVOKE INSERT ON tasks, users FROM todo_runtime",
            (
                "error: database/privileges: the role todo_runtime lacks INSERT on tasks; INSERT on users; "
                "what needs them fails; python -m service migrate, as the owner of the tables, grants them"
            ),
        ),
        (
            "REVOKE DELETE ON idempotency_keys FROM todo_runtime",
            (
                "error: database/privileges: the role todo_runtime lacks DELETE on idempotency_keys; "
                "what needs them fails; python -m service migrate, as the owner of the tables, grants them"
            ),
        ),
        *(
            (
                f"REVOKE SELECT ON {table} FROM todo_runtime",
                (
                    f"error: database/privileges: {beginning}permission denied for table {table}; "
                    "what needs it fails; python -m service migrate, as the owner of the tables, grants them"
                ),
            )
            for table, beginning in (
                ("_yoyo_migration", ""),
                ("migration_checksums", "the schema was not compared with the migrations: "),
            )
        ),
        *(
            (
                command,
                (
                    "error: database/privileges: the role todo_runtime may use no schema of its search_path; "
                    f"the service does not start; {ROLES}, or: ALTER ROLE todo_runtime RESET search_path"
                ),
            )
            for command in (
                "REVOKE USAGE ON SCHEMA public FROM todo_runtime, PUBLIC",
                HIDE_THE_SCHEMA,
            )
        ),
        (
            "GRANT TRUNCATE, TRIGGER ON tasks TO todo_runtime",
            (
                "warning: database/excess-privileges: todo_runtime has TRIGGER, TRUNCATE on tasks; the service "
                "needs none of "
                f"it; REVOKE it: REVOKE ... ON tasks FROM todo_runtime, and {ROLES}"
            ),
        ),
        (
            "GRANT UPDATE ON tasks TO todo_runtime",
            (
                "warning: database/excess-privileges: todo_runtime has UPDATE (created_at), UPDATE (id), UPDATE "
                "(user_id) on "
                f"tasks; the service needs none of it; REVOKE it: REVOKE ... ON tasks FROM todo_runtime, and {ROLES}"
            ),
        ),
        (
            "GRANT SELECT ON users TO PUBLIC",
            (
                "warning: database/excess-privileges: PUBLIC has SELECT on users; every role of the server can use it; "
                f"REVOKE it: REVOKE ... ON users FROM PUBLIC, and {ROLES}"
            ),
        ),
        (
            "GRANT CREATE ON SCHEMA public TO todo_runtime",
            (
                "warning: database/excess-privileges: todo_runtime has CREATE on schema public; the service "
                "needs none of "
                f"it; REVOKE it: REVOKE ... ON schema public FROM todo_runtime, and {ROLES}"
            ),
        ),
    ],
)
def test_a_privilege_too_few_or_too_many(own_database: Urls, command: str, said: str) -> None:
    execute(own_database.admin, command)

    assert lines(own_database.runtime) == [said]


def test_a_password_that_expires(own_database: Urls) -> None:
    execute(own_database.admin, "ALTER ROLE todo_runtime VALID UNTIL 'tomorrow'")
    try:
        found = lines(own_database.runtime)
    finally:
        execute(own_database.admin, "ALTER ROLE todo_runtime VALID UNTIL 'infinity'")

    assert re.sub(r"for \d more", "for N more", "".join(found)) == (
        "warning: database/password-expires: the password of todo_runtime is valid for N more days; "
        "then the service gets no new connection; ALTER ROLE todo_runtime VALID UNTIL 'infinity'"
    )
    assert lines(own_database.runtime) == []


def test_a_limit_of_connections(own_database: Urls) -> None:
    execute(own_database.admin, f"ALTER DATABASE {databases.name_of(own_database.admin)} CONNECTION LIMIT 9")

    assert lines(own_database.runtime, pool_max=9) == []
    assert lines(own_database.runtime, pool_max=10) == [
        (
            "warning: database/connection-limit: the role or the database has CONNECTION LIMIT 9, and the pools "
            "may open "
            "10 connections; requests get 503 when all are taken; "
            "ALTER ROLE ... or ALTER DATABASE ... CONNECTION LIMIT -1"
        )
    ]


@pytest.mark.parametrize(
    ("setting", "value", "effect"),
    [
        (
            "default_transaction_isolation",
            "serializable",
            "writes of the same moment fail with serialization errors, which clients get as 503",
        ),
        ("session_replication_role", "replica", "no foreign key is checked, and a deleted user's tasks stay"),
    ],
)
def test_a_setting_of_the_session(own_database: Urls, setting: str, value: str, effect: str) -> None:
    execute(own_database.admin, f"ALTER DATABASE {databases.name_of(own_database.admin)} SET {setting} = '{value}'")

    assert lines(own_database.runtime) == [
        (
            f"error: database/session-settings: {setting} is {value}; {effect}; "
            f"ALTER ROLE todo_runtime RESET {setting}, or ALTER DATABASE ... RESET {setting}"
        )
    ]


def test_sessions_that_the_server_hides(own_database: Urls) -> None:
    autovacuum = {"database/autovacuum"}
    with psycopg.connect(own_database.admin):
        [hidden] = lines(own_database.runtime, leave_out=autovacuum)
        execute(own_database.admin, "GRANT pg_monitor TO todo_runtime")
        try:
            seen = lines(own_database.runtime, leave_out=autovacuum)
        finally:
            execute(own_database.admin, "REVOKE pg_monitor FROM todo_runtime")

    assert re.sub(r"hides \d+", "hides N", hidden) == (
        "note: database/hidden-sessions: the server hides N sessions of other roles; their age and host were not "
        "looked at; as a superuser: GRANT pg_monitor TO the role of DATABASE_URL"
    )
    assert seen == []


def test_a_direct_url_of_a_role_that_cannot_migrate(own_database: Urls) -> None:
    [found] = lines(own_database.runtime, database_direct_url=own_database.runtime)

    assert found.startswith("error: database/owner: the role todo_runtime of DATABASE_DIRECT_URL does not own ")
    assert found.endswith(f"the next migration that changes them fails; connect as todo_owner, or: {ROLES}")


def test_a_direct_url_of_another_database(own_database: Urls, server_url: str) -> None:
    with databases.new_database(server_url) as other:
        not_migrated = lines(own_database.runtime, database_direct_url=other)
        databases.migrate(other, with_roles=True)
        migrated = lines(own_database.runtime, database_direct_url=other)

    assert (
        not_migrated
        == migrated
        == [
            (
                "error: database/direct-url: DATABASE_DIRECT_URL leads to another database than DATABASE_URL; "
                "migrations change a database that the service does not use; compare host, port and name of both"
            )
        ]
    )


def test_a_direct_url_where_nothing_answers(own_database: Urls) -> None:
    [found] = lines(own_database.runtime, database_direct_url=f"postgresql://todo@127.0.0.1:{free_port()}/todo")

    assert found.startswith("error: database/direct-url: DATABASE_DIRECT_URL: should be a database that answers; ")
    assert found.endswith('; migrate fails; try: psql "$DATABASE_DIRECT_URL" -c "SELECT 1"')
