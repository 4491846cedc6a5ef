"""The server names a statement's file in pg_stat_activity, in its log, and in pg_stat_statements."""

import re
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import psycopg
import pytest
from psycopg import pq

from service.db.statements import names, read
from tests import databases
from tests.databases import Urls
from tests.support import FEBRUARY, User

LEADING_COMMENTS_ARE_DROPPED_SINCE = 180000


def test_while_a_statement_runs_the_server_names_its_file(urls: Urls, database: psycopg.Connection, ann: User) -> None:
    task = ann.creates(FEBRUARY)
    with psycopg.connect(urls.admin) as lock, ThreadPoolExecutor(1) as threads:
        lock.execute("SELECT FROM tasks WHERE id = %s FOR UPDATE", [task["id"]])
        answer = threads.submit(ann.put, f"/api/tasks/{task['id']}", {"title": "Later"})
        shown = wait_for_a_blocked_statement(database)
        lock.rollback()

    assert answer.result().status_code == 200
    assert shown.startswith("-- name: update_task :one\n")
    assert "WITH /* tasks/update_task */ counter AS" in shown


def wait_for_a_blocked_statement(database: psycopg.Connection) -> str:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = database.execute(
            "SELECT query FROM pg_stat_activity WHERE state = 'active' AND wait_event_type = 'Lock' "
            "AND datname = current_database()"
        ).fetchone()
        if found:
            return str(found[0])
        time.sleep(0.02)
    raise AssertionError("no statement was waiting")


def test_the_log_names_the_file(urls: Urls) -> None:
    logged: list[str] = []
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: logged.append(notice.message_primary or ""))
        connection.execute("SET client_min_messages = log")
        connection.execute("SET log_min_duration_statement = 0")
        connection.pgconn.exec_params(read("accounts/get_user").text.encode(), [str(uuid4()).encode()])

    lines = [line for line in logged if "get_user" in line]
    assert [line.partition("ms")[2].partition("\n")[0] for line in lines] == [
        f"  {step} <unnamed>: -- name: get_user :one" for step in ("parse", "bind", "execute")
    ]
    assert all("SELECT /* accounts/get_user */ id" in line for line in lines)


@pytest.mark.parametrize("name", names())
def test_the_name_is_in_the_text_that_pg_stat_statements_stores(urls: Urls, name: str) -> None:
    """pg_stat_statements stores the text from the offset at which the parser says the statement starts."""
    trees: list[str] = []
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        connection.add_notice_handler(lambda notice: trees.append(notice.message_detail or ""))
        connection.execute("SET client_min_messages = log")
        connection.execute("SET debug_print_parse = on")
        prepared = connection.pgconn.prepare(b"", read(name).text.encode())
        version = connection.info.server_version

    assert prepared.status == pq.ExecStatus.COMMAND_OK
    [start] = re.findall(r":stmt_location (\d+)\s+:stmt_len 0", "".join(trees))[-1:]
    stored = read(name).text.encode()[int(start) :].decode()
    assert f"/* {name} */" in stored
    assert stored.startswith("--") == (version < LEADING_COMMENTS_ARE_DROPPED_SINCE)


def test_pg_stat_statements_names_the_file(installed_url: str) -> None:
    binaries = databases.installed_binaries()
    if binaries is None or not databases.has_contrib(binaries):
        pytest.skip("pg_stat_statements is not installed")
    with psycopg.connect(installed_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        connection.pgconn.exec_params(read("tasks/list_tasks").text.encode(), [str(uuid4()).encode(), b"20"])
        found = connection.execute("SELECT query FROM pg_stat_statements WHERE query LIKE '%tasks/list_tasks%'")

        stored = read("tasks/list_tasks").text.rstrip("\n").replace("\n        0\n", "\n        $3\n")  # its constant
        assert stored in [row[0] for row in found]
