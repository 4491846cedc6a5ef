"""`python -m service sql check`: what it prints, its exit code, and what it needs."""

import re
from pathlib import Path

from service.db.migrations import known
from tests.databases import Urls
from tests.support import ROOT, SECRET, command, copy_of_service


def test_the_command_prints_a_line_for_each_finding_and_exits_with_1(own_database: Urls, tmp_path: Path) -> None:
    tree = copy_of_service(tmp_path)
    arguments = ("sql", "check", "--database-url", own_database.runtime)

    good = command(tree, *arguments, PYTHONPATH=tree)
    file = tree / "sql" / "tasks" / "get_task.sql"
    file.write_text(file.read_text().replace("user_id = $1 AND id = $2", "id = $2 AND user_id <> $1"))
    bad = command(tree, *arguments, PYTHONPATH=tree)
    offline = command(tree, "sql", "check", "--no-server", PYTHONPATH=tree)

    assert (good.returncode, good.stdout, good.stderr) == (0, "", "")
    assert (bad.returncode, bad.stderr) == (1, "")
    assert re.fullmatch(r"sql/tasks/get_task\.sql:\d+: tasks must be bound by tasks\.user_id = \$1: .*\n", bad.stdout)
    assert (offline.returncode, offline.stdout) == (0, "")


def test_sql_check_without_a_database_exits_with_1_and_makes_none(tmp_path: Path) -> None:
    done = command(tmp_path, "sql", "check")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "there is no embedded database here yet: make run makes one, DATABASE_URL names another\n"
    assert list(tmp_path.iterdir()) == []


def test_a_schema_that_is_behind_is_refused_with_the_command_to_run(empty_database: str, tmp_path: Path) -> None:
    done = command(tmp_path, "sql", "check", DATABASE_URL=empty_database, BETTER_AUTH_SECRET=SECRET)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"the schema is behind ({', '.join(known())}); run: python -m service migrate\n"


def test_without_the_parser_the_check_says_what_to_install_and_the_other_commands_work(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "postgast.py").write_text("raise ModuleNotFoundError('not here', name='postgast')\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
        done = command(tmp_path, "sql", *arguments, **settings)
        return done.returncode, done.stdout, done.stderr

    missing = "sql check needs postgast: python -m pip install postgast, or make lint\n"
    assert run("check", "--no-server") == run("check") == (1, "", missing)
    for arguments, shown in ((["list"], "`tasks/list_tasks`"), (["explain", "list_tasks"], "on public.tasks")):
        code, output, errors = run(*arguments)
        assert (code, shown in output, errors) == (0, True, "")
