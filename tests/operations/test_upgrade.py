"""The upgrade of docs/operating.md, to a made-up next release: a copy of this one with one more migration."""

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from service.db import migrations
from service.db.migrations import MIGRATIONS
from tests import support
from tests.databases import Urls
from tests.documents import DOCS, block, section
from tests.support import FEBRUARY, ROOT, SECRET, User, command, sign_up

SECTION = section(DOCS / "operating.md", "Upgrade")
COMMANDS = block(SECTION, "sh")
LAST = migrations.known()[-1]
NEXT = "9998_give_tasks_a_colour"
HEAD = f"""\
-- Why:    To have a next release.
-- Phase:  before the code that needs it.
-- Locks:  none to speak of.
-- Undo:   {NEXT}.rollback.sql
-- depends: {LAST}

ALTER TABLE tasks ADD COLUMN colour text;
"""


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    release = tmp_path / "next"
    for folder in ("service", "sql", "migrations"):
        shutil.copytree(ROOT / folder, release / folder)
    (release / "migrations" / f"{NEXT}.sql").write_text(HEAD)
    schema = release / "migrations" / "schema.txt"
    schema.write_text(schema.read_text().replace("table users\n", "  column colour text\ntable users\n"))
    (release / "migrations" / f"{NEXT}.rollback.sql").write_text("ALTER TABLE tasks DROP COLUMN colour;\n")
    return release


def test_copies_serve_while_migrations_and_new_code_are_rolled_out_and_back(
    own_database: Urls, tmp_path: Path, next_release: Path
) -> None:
    serving = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET}
    migrating = {"DATABASE_URL": own_database.owner, "LOG_LEVEL": "WARNING"}

    def run(commands: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shutil.which("sh") or "sh", "-euc", commands.replace("python ", f"{sys.executable} ")],
            cwd=next_release, env=support.environment(**migrating, PYTHONPATH=next_release),
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip

    with support.running(tmp_path, **serving) as old:
        user = sign_up(old.http)
        refused = command(next_release, PYTHONPATH=next_release, **serving)
        assert (refused.returncode, refused.stderr) == (
            1, f"the schema is behind ({NEXT}); run: python -m service migrate\n",
        )  # fmt: skip

        said = run(COMMANDS).stdout

        assert f"{NEXT}: pending\n" in said
        assert f"-- would run migrations/{NEXT}.sql\n{HEAD}" in said
        assert said.endswith(f"applied {NEXT}\n")
        assert old.http.get("/health").json() == {"status": "healthy"}
        assert user.creates(FEBRUARY)["title"] == "Water the plants"
        tasks = user.get("/api/tasks").json()
        with support.running(next_release, PYTHONPATH=next_release, **serving) as new:
            assert User(new.http, user.id, user.email, user.token).get("/api/tasks").json() == tasks

        # Rollback: the old copies keep serving. Only the new code has the migration to roll back.
        with_old = command(tmp_path, "migrate", "--rollback", **migrating)
        assert with_old.stderr == f"the database is ahead of this code; roll back {NEXT} with the code that has it\n"
        assert "`python -m service migrate --rollback`" in " ".join(SECTION.split())
        assert run("python -m service migrate --rollback").stdout == f"rolled back {NEXT}\n"
        assert old.http.get("/health").json() == {"status": "healthy"}
        assert user.get("/api/tasks").json() == tasks
    with psycopg.connect(own_database.admin) as connection:
        columns = connection.execute("SELECT * FROM tasks LIMIT 0").description or []
    assert "colour" not in [column.name for column in columns]


def statuses(user: User) -> set[int]:
    """The status codes of requests of every kind: first writes in a transaction, then several requests at once."""
    kept = user.post("/api/tasks", {"title": "kept"}, headers={"Idempotency-Key": uuid4().hex})
    changed = {"operations": [{"op": "update", "id": kept.json().get("id"), "priority": "high"}]}
    answers = [
        kept,
        user.post("/api/tasks/batch", changed, headers={"Idempotency-Key": uuid4().hex}),
        user.put(f"/api/tasks/{uuid4()}", {"title": "own id"}, headers={"If-None-Match": "*"}),
        user.post("/api/tasks/batch", changed),
    ]
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda title: user.post("/api/tasks", {"title": title}), "abcdefgh"))
        tasks = [f"/api/tasks/{answer.json().get('id')}" for answer in created]
        answers += [
            *created,
            *threads.map(user.get, tasks),
            *threads.map(user.get, ["/api/tasks", "/v1/api/tasks"] * 4),
        ]
        answers += threads.map(lambda task: user.put(task, {"tags": ["a"]}), tasks)
    sorts = [f"/api/tasks?sort={sort}" for sort in ("due_on", "-updated_at", "created_at", "-priority")]
    answers += map(user.get, [*sorts, "/api/tasks?q=own", "/api/changes", "/api/auth/me/export"])
    answers.append(user.delete(tasks[0]))
    return {answer.status_code for answer in answers}


@pytest.mark.parametrize("pool_max", [1, 8])
def test_a_migration_that_changes_types_below_a_running_copy_fails_no_request(
    own_database: Urls, tmp_path: Path, pool_max: int
) -> None:
    """The server refuses every statement that was prepared before: "cached plan must not change result type"."""
    changing = MIGRATIONS / "0016_check_fields_by_domain.sql"
    serving = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "POOL_MAX": str(pool_max)}
    with support.running(tmp_path, **serving) as running:
        user = sign_up(running.http)
        assert statuses(user) == {200, 201}

        for file in (changing.with_suffix(".rollback.sql"), changing):
            with psycopg.connect(own_database.owner) as connection:
                connection.execute(file.read_bytes())
            assert statuses(user) == {200, 201}
        assert [line for line in running.lines() if line["level"] == "error"] == []


def test_the_phase_of_every_migration_is_one_of_two() -> None:
    phases = {
        migration_id: re.findall(r"^-- Phase:  (before the|after \d+\.\d+\.\d+)", text, re.MULTILINE)
        for migration_id, text in ((each, (MIGRATIONS / f"{each}.sql").read_text()) for each in migrations.known())
    }

    assert "`Phase: before` the new code" in " ".join(SECTION.split())
    assert [each for each, found in phases.items() if len(found) != 1] == []
    # The first migration of the other kind removes that sentence.
    assert {each for each, found in phases.items() if found != ["before the"]} == set()
    assert "So far all migrations are of this kind." in " ".join(SECTION.split())
