"""sql plans: today's plans of any database beside the golden ones, in read-only transactions."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from service.db.statements import names_of_requests
from service.review.compare_plans import DIFFERS, INCOMPLETE, SAME, compare
from service.review.golden_plans import golden, needed_privileges
from tests import databases, pgbouncer
from tests.databases import Urls
from tests.support import command

ALL = len(names_of_requests())
READER = ["GRANT USAGE ON SCHEMA public TO {}", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}"]


def test_a_database_with_the_rows_of_the_golden_plans_has_their_plans(any_seeded_url: str) -> None:
    assert compare(any_seeded_url) == (
        [*(f"{name}: same as golden" for name in names_of_requests()), summary(any_seeded_url, same=ALL)],
        SAME,
    )


def summary(url: str, *, same: int, differ: int = 0, not_planned: int = 0) -> str:
    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    said = f"{same} same as golden, {differ} differ, {not_planned} not planned"
    return f"{ALL} statements on PostgreSQL {version}: {said}"


@contextmanager
def changed(url: str, change: str, undo: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change.encode())
        yield
        connection.execute(undo.encode())


def test_without_an_index_the_difference_names_it_and_the_sizes_of_the_tables(any_seeded_url: str) -> None:
    """An index that is not valid is used by no query, and comes back without being built."""
    update = "UPDATE pg_index SET indisvalid = {} WHERE indexrelid = 'tasks_newest_first'::regclass"
    with changed(any_seeded_url, update.format("FALSE"), update.format("TRUE")):
        report = compare(any_seeded_url)

    assert report.exit_code == DIFFERS
    start = report.lines.index("tasks/list_tasks: differs (- golden, + here)")
    end = next(place for place, line in enumerate(report.lines) if place > start and not line.startswith("  "))
    different = {line[2] + line[3:].strip() for line in report.lines[start + 1 : end]}
    assert {"-Index Scan using tasks_newest_first on tasks", "+Sort"} < different
    shown = [re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "TIME", line) for line in report.lines if line[0] != " "]
    assert [line for line in shown if re.match(r"\w+: ", line)] == [
        *(f"{table}: {size}; analyzed TIME" for table, size in sizes(any_seeded_url, shown))
    ]


def sizes(url: str, shown: list[str]) -> Iterator[tuple[str, str]]:
    """The tables that `shown` lists, with their sizes in the catalogue."""
    listed = [line.partition(":")[0] for line in shown if re.match(r"\w+: ", line)]
    assert "tasks" in listed
    with psycopg.connect(url) as connection:
        for table in listed:
            query = "SELECT reltuples::bigint, relpages FROM pg_class WHERE oid = to_regclass(%s)"
            [[rows, pages]] = connection.execute(query.encode(), [table]).fetchall()
            yield table, f"{rows} rows on {pages} pages"


def test_empty_and_small_tables_are_said_to_be_so(any_own_migrated_url: str) -> None:
    never = compare(any_own_migrated_url)
    with psycopg.connect(any_own_migrated_url, autocommit=True) as connection:
        connection.execute("INSERT INTO users (email, password_hash) VALUES ('a@example.com', 'x')")
        connection.execute("ANALYZE users, tasks")
    small = compare(any_own_migrated_url)

    assert (never.exit_code, small.exit_code) == (DIFFERS, DIFFERS)
    assert "tasks: of unknown size, which the planner guesses; never analyzed" in never.lines
    found = [line.partition("; analyzed ")[0] for line in small.lines]
    assert "tasks: 0 rows on 0 pages, so small that a Seq Scan is right" in found
    assert "users: 1 rows on 1 pages, so small that a Seq Scan is right" in found


def make_planning_write(url: str) -> None:
    """The planner runs a function that calls itself immutable, such as this default of a column, to make a constant."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE written (x int)")
        for name, kind, body in (
            ("writes", "VOLATILE", "INSERT INTO written VALUES (1)"),
            ("planned", "IMMUTABLE", "PERFORM writes()"),
        ):
            connection.execute(
                f"CREATE FUNCTION {name}() RETURNS boolean LANGUAGE plpgsql {kind} "
                f"AS 'BEGIN {body}; RETURN FALSE; END'".encode()
            )
        connection.execute("ALTER TABLE tasks ALTER COLUMN is_completed SET DEFAULT planned()")


def test_what_planning_would_write_is_refused_and_nothing_is_written(any_own_migrated_url: str) -> None:
    make_planning_write(any_own_migrated_url)
    report = compare(any_own_migrated_url)
    with psycopg.connect(any_own_migrated_url) as connection:
        written = connection.execute("SELECT count(*) FROM written").fetchone()

    assert (report.exit_code, written) == (INCOMPLETE, (0,))
    refused = "cannot be planned: cannot execute INSERT in a read-only transaction"
    assert [line for line in report.lines if "cannot be planned" in line] == [
        f"tasks/{name}: {refused}" for name in ("create_task", "write_batch")
    ]


def test_a_locked_table_is_waited_for_a_second_and_the_others_are_planned(any_own_migrated_url: str) -> None:
    with psycopg.connect(any_own_migrated_url) as connection:
        connection.execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE")
        report = compare(any_own_migrated_url)
        connection.rollback()
    after = compare(any_own_migrated_url)

    waited = "cannot be planned: canceling statement due to lock timeout"
    refused = [name for name in names_of_requests() if name.startswith("attempts/")]
    assert [line for line in report.lines if "cannot be planned" in line] == [f"{name}: {waited}" for name in refused]
    assert report.exit_code == INCOMPLETE
    assert not any("cannot be planned" in line for line in after.lines)


def test_the_runtime_role_has_all_privileges_also_through_pgbouncer(own_database: Urls) -> None:
    direct = compare(own_database.runtime)
    with pgbouncer.in_front_of(own_database.runtime, default_pool_size=1) as pooler:
        pooled = [compare(pooler.url), compare(pooler.url)]

    assert direct.lines[-1].endswith(", 0 not planned")
    assert pooled == [direct, direct]


def test_a_session_of_a_pooler_keeps_no_prepared_statement(any_own_migrated_url: str) -> None:
    """Also not of a statement that version 15 prepares and cannot plan. The next client would meet its name."""
    make_planning_write(any_own_migrated_url)
    with pgbouncer.in_front_of(any_own_migrated_url, default_pool_size=1) as pooler:
        report = compare(pooler.url)
        with psycopg.connect(pooler.url, autocommit=True) as client:
            left = client.execute("SELECT name FROM pg_prepared_statements").fetchall()

    assert (report.exit_code, left) == (INCOMPLETE, [])


@pytest.fixture
def reader(any_own_migrated_url: str) -> Iterator[Callable[..., str]]:
    """Makes a role with these grants, and returns the URL of the database for it."""
    name = f"reader_{uuid4().hex[:12]}"
    with psycopg.connect(any_own_migrated_url, autocommit=True) as connection:

        def make(*grants: str) -> str:
            password = uuid4().hex
            connection.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'".encode())
            for grant in grants:
                connection.execute(sql.SQL(grant).format(sql.Identifier(name)))
            return databases.url_of_role(any_own_migrated_url, name, password)

        yield make
        connection.execute(f"DROP OWNED BY {name}".encode())
        connection.execute(f"DROP ROLE {name}".encode())


def test_a_role_that_may_only_read_compares_what_reads_and_is_told_what_it_lacks(
    reader: Callable[..., str], any_own_migrated_url: str
) -> None:
    url = reader(*READER)
    report = compare(url)

    role = url.partition("//")[2].partition(":")[0]
    refused = [line for line in report.lines if "cannot be planned: permission denied for table " in line]
    assert report.exit_code == INCOMPLETE
    assert 0 < len(refused) < ALL
    assert report.lines[-1].endswith(f", {len(refused)} not planned")
    assert report.lines[-2] == (
        f"the role {role} lacks INSERT, UPDATE on attempts; INSERT, UPDATE on deleted_outside_users; "
        "INSERT on deleted_tasks; INSERT, UPDATE on idempotency_keys; INSERT, UPDATE on task_counters; "
        "DELETE, INSERT, UPDATE on tasks; "
        "DELETE, INSERT, UPDATE on users: run this as a role that has them, such as todo_runtime"
    )


@pytest.mark.parametrize("grant", ["GRANT pg_monitor TO {}", "GRANT USAGE ON SCHEMA public TO {}"])
def test_a_role_without_privileges_is_told_so_in_one_line(
    reader: Callable[..., str], tmp_path: Path, grant: str
) -> None:
    url = reader(grant)
    done = command(tmp_path, "sql", "plans", "--database-url", url)

    role = url.partition("//")[2].partition(":")[0]
    schema = "; USAGE on schema public; " if "pg_monitor" in grant else "; "
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"the role {role} lacks SELECT on _yoyo_migration; INSERT, SELECT, UPDATE on attempts; "
        "INSERT, SELECT, UPDATE on deleted_outside_users; INSERT, SELECT on deleted_tasks; "
        f"SELECT on histories; INSERT, SELECT, UPDATE on idempotency_keys{schema}"
        "INSERT, SELECT, UPDATE on task_counters; "
        "DELETE, INSERT, SELECT, UPDATE on tasks; DELETE, INSERT, SELECT, UPDATE on users: "
        "run this as a role that has them, such as todo_runtime\n"
    )


def test_the_golden_plans_show_exactly_what_the_runtime_role_may_do(own_database: Urls, with_roles: bool) -> None:
    if not with_roles:
        pytest.skip("the server has a role todo_runtime already")
    needed = {each for name in names_of_requests() for each in needed_privileges(golden(name))}
    with psycopg.connect(own_database.admin) as connection:
        granted = connection.execute(
            "SELECT privilege_type, table_name FROM information_schema.role_table_grants WHERE grantee = 'todo_runtime'"
            "UNION SELECT privilege_type, table_name FROM information_schema.column_privileges "
            "WHERE grantee = 'todo_runtime'"
        ).fetchall()
    # Sent at start and at sign-in: the checksums of migrations, and what maintenance/ deletes.
    not_of_requests = {("SELECT", "migration_checksums")} | {
        ("DELETE", table) for table in ("attempts", "deleted_outside_users", "deleted_tasks", "idempotency_keys")
    }
    assert needed == set(granted) - not_of_requests


def test_a_database_that_is_away_or_without_tables_is_one_line_and_exit_code_2(
    empty_database: str, tmp_path: Path
) -> None:
    done = [
        command(tmp_path, "sql", "plans", "--database-url", url)
        for url in (empty_database, f"postgresql:///todo?host={tmp_path}")
    ]

    assert [(each.returncode, each.stdout) for each in done] == [(2, ""), (2, "")]
    assert done[0].stderr == 'cannot be planned: relation "users" does not exist\n'
    assert done[1].stderr.startswith("DATABASE_URL: should be a database that answers; ")
    assert done[1].stderr.count("\n") == 1


def test_the_command_prints_the_report_and_exits_with_its_code(seeded_url: str, tmp_path: Path) -> None:
    done = command(tmp_path, "sql", "plans", DATABASE_URL=seeded_url, LOG_LEVEL="WARNING")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == compare(seeded_url).lines
