"""sql explain: the generic plan of a file, or EXPLAIN ANALYZE with the given values."""

import re
from pathlib import Path

import psycopg
import pytest

from service.db.admin_session import CommandError
from service.domain.tasks import CREATE_TASK, NO_FIELDS
from service.review.explain import NULL, explain
from tests.databases import Urls
from tests.support import User, command

GET_TASK = re.compile(r"Index Scan using \w+ on public\.tasks .*Index Cond: .*tasks\.user_id = \$1", re.DOTALL)


@pytest.mark.parametrize("name", ["tasks/get_task", "get_task", "sql/tasks/get_task.sql"])
def test_a_statement_is_found_by_its_name_and_its_generic_plan_shown(any_server: str, name: str) -> None:
    assert GET_TASK.match("\n".join(explain(any_server, name, {})))


def test_a_statement_without_parameters_is_explained_too(any_server: str) -> None:
    assert "_yoyo_migration" in "\n".join(explain(any_server, "list_applied_migrations", {}))


def test_with_values_it_is_run_and_undone(urls: Urls, database: psycopg.Connection, ann: User) -> None:
    sent = {"user_id": ann.id, "title": "It's 100 % mine", "max_tasks": "10000"}
    values = dict.fromkeys(NO_FIELDS, NULL) | sent

    shown = "\n".join(explain(urls.runtime, "tasks/create_task", values))

    assert shown.startswith("CTE Scan on created ")
    assert "actual time=" in shown
    assert "Buffers: " in shown
    assert re.search(rf"\nBuffers touched: [1-9]\d*; the header says {CREATE_TASK.cost}$", shown)
    assert database.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [ann.id]).fetchone() == (0,)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("steal_task", {}, "there is no statement steal_task"),
        ("get_task", {"user_id": "x"}, "tasks/get_task takes user_id=... task_id=..."),
        ("get_task", {"user_id": "x", "id": "y"}, "tasks/get_task takes user_id=... task_id=..."),
        ("find_our_tables", {"x": "y"}, "migrations/find_our_tables takes no parameter"),
        ("get_user", {"user_id": "nobody"}, 'invalid input syntax for type uuid: "nobody"'),
    ],
)
def test_an_unknown_statement_or_wrong_values_are_refused_in_one_line(
    database_url: str, name: str, values: dict[str, str], why: str
) -> None:
    with pytest.raises(CommandError) as refused:
        explain(database_url, name, values)

    assert str(refused.value) == why


def test_the_command_prints_the_plan_or_the_error(untouched_url: str, tmp_path: Path) -> None:
    shown = command(tmp_path, "sql", "explain", "get_task", DATABASE_URL=untouched_url, LOG_LEVEL="WARNING")
    wrong = command(tmp_path, "sql", "explain", "get_task", "user_id", "--database-url", untouched_url)
    elsewhere = command(tmp_path, "sql", "explain", "get_task", "--database-url", "hunter22")

    assert (shown.returncode, shown.stderr) == (0, "")
    assert GET_TASK.match(shown.stdout)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.endswith("error: argument param=value: should be param=value, not user_id\n")
    assert elsewhere.returncode == 2
    assert "hunter22" not in elsewhere.stderr
