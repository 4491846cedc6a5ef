"""The backup commands of docs/operating.md are run, and the restored database is checked; always embedded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest

from service.cli import embedded_postgres
from service.db import migrations
from tests import databases, support
from tests.databases import Urls
from tests.documents import DOCS, block, section
from tests.replica import Replica
from tests.support import FEBRUARY, PASSWORD, ROOT, SECRET, Service, User, sign_up

SECTION = section(DOCS / "operating.md", "Backup")
COMMANDS = block(SECTION, "sh")
LIVE, RESTORED = (f"postgresql://postgres:secret@127.0.0.1:5432/{name}" for name in ("todo", "todo_restored"))
NEW_PASSWORD = "battery staple"

# Owners and privileges of tables, columns, the schema and the database.
PRIVILEGES = """
SELECT relname::text, relkind::text, pg_get_userbyid(relowner)::text, relacl::text, attributes.acl
FROM pg_class
CROSS JOIN LATERAL (
    SELECT string_agg(attname || attacl::text, ',' ORDER BY attnum) AS acl
    FROM pg_attribute WHERE attrelid = pg_class.oid
) AS attributes
WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'schema', '', pg_get_userbyid(nspowner), array(SELECT unnest(nspacl)::text ORDER BY 1)::text, ''
FROM pg_namespace WHERE nspname = 'public'
UNION ALL SELECT 'database', '', pg_get_userbyid(datdba), array(SELECT unnest(datacl)::text ORDER BY 1)::text, ''
FROM pg_database WHERE datname = current_database()
ORDER BY 1
"""


class Backup(NamedTuple):
    live: Urls
    restored: Urls
    dump: Path
    said: str
    ann: User  # has tasks in the backup
    tasks: list[dict[str, Any]]
    bob: User  # changed the tasks after the backup, and revoked all tokens
    copies: list[Replica]  # of Bob's tasks: from before the backup, and from after the changes
    cleo: User  # deleted the account after the backup
    dora: User  # wrote the first task after the backup
    dora_before: tuple[str, str, str]  # the ETag of that task and of the list then, and the id of the task


def in_the_shell(commands: str) -> subprocess.CompletedProcess[str]:
    """Run commands in the root of the project, with the embedded server's programs first in PATH."""
    programs = f"{Path(embedded_postgres.binary('pg_dump')).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [shutil.which("sh") or "sh", "-euc", commands.replace("python ", f"{sys.executable} ")],
        cwd=ROOT, env=support.environment(LOG_LEVEL="WARNING") | {"PATH": programs},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The embedded server, as pg_dump and pg_restore of the wheel have its version."""
    if databases.given_server() is None:
        assert request.getfixturevalue("with_roles")
        yield request.getfixturevalue("server_url")
        return
    with embedded_postgres.running(tmp_path_factory.mktemp("pg")) as url:
        yield url


@contextmanager
def serving(url: str, directory: Path, **settings: object) -> Iterator[Service]:
    wanted = {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, "TOKEN_RECHECK": 0} | settings
    with support.running(directory, **wanted) as service:
        yield service


@pytest.fixture(scope="module")
def backup(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backup]:
    directory = tmp_path_factory.mktemp("backup")
    dump = directory / "todo.dump"
    restored = databases.url_of_database(server, "todo_restored")
    with databases.new_database(server) as url:
        live = databases.migrate(url, with_roles=True)
        assert LIVE in COMMANDS
        assert RESTORED in COMMANDS
        commands = COMMANDS.replace(RESTORED, f"'{restored}'").replace(LIVE, f"'{url}'").replace("todo.dump", str(dump))
        variables, dumping, restoring = commands.split("\n\n")
        with serving(live.runtime, directory) as service:
            ann, bob, cleo, dora = (sign_up(service.http) for _ in range(4))
            for title, is_completed in (("Buy milk", True), ("Straße 🙂", False)):
                task = ann.creates(FEBRUARY, title, description="two\nlines")
                ann.put(f"/api/tasks/{task['id']}", {"is_completed": is_completed})
            tasks = ann.get("/api/tasks").json()["tasks"]
            bobs = [bob.creates(FEBRUARY) for _ in range(2)]
            copies = [copy_of(bob)]
            in_the_shell(f"{variables}\n{dumping}")
            ann.creates(FEBRUARY, "after the backup")
            bob.delete(f"/api/tasks/{bobs[0]['id']}")
            bob.put(f"/api/tasks/{bobs[1]['id']}", {"title": "after the backup"})
            copies.append(copy_of(bob))
            task_id = str(uuid4())
            made = dora.put(f"/api/tasks/{task_id}", {"title": "lost"}, headers={"If-None-Match": "*"})
            dora_before = made.headers["ETag"], dora.get("/api/tasks").headers["ETag"], task_id
            assert bob.post("/api/auth/logout-all").status_code == 204
            assert cleo.delete("/api/auth/me", json={"password": PASSWORD}).status_code == 204
        with psycopg.connect(server, autocommit=True) as connection:
            try:
                said = in_the_shell(f"{variables}\n{restoring}").stdout
                yield Backup(
                    live, Urls(*(databases.url_of_database(each, "todo_restored") for each in live)),
                    dump, said, ann, tasks, bob, copies, cleo, dora, dora_before,
                )  # fmt: skip
            finally:
                connection.execute("DROP DATABASE IF EXISTS todo_restored WITH (FORCE)")


def copy_of(user: User) -> Replica:
    replica = Replica()
    while replica.apply(user.get("/api/changes", params=replica.wanted(1)).json()):
        pass
    return replica


def log_in(service: Service, user: User) -> User:
    answer = service.http.post("/api/auth/login", json={"email": user.email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return User(service.http, user.id, user.email, answer.json()["token"])


def with_token(service: Service, user: User) -> int:
    return User(service.http, user.id, user.email, user.token).get("/api/tasks").status_code


def test_a_user_logs_in_on_the_restored_database_and_finds_the_tasks(backup: Backup, tmp_path: Path) -> None:
    with serving(backup.restored.runtime, tmp_path) as service:
        health = service.http.get("/health")
        user = log_in(service, backup.ann)

        assert (health.status_code, health.json()) == (200, {"status": "healthy"})
        assert user.get("/api/tasks").json()["tasks"] == backup.tasks
        assert user.creates(FEBRUARY)["title"] == "Water the plants"
        # The restored database knows neither the revocation nor the deletion after the backup.
        assert [with_token(service, each) for each in (backup.bob, backup.cleo)] == [200, 200]

    with serving(backup.restored.runtime, tmp_path, BETTER_AUTH_SECRET=SECRET[::-1]) as service:
        assert [with_token(service, each) for each in (backup.ann, backup.bob, backup.cleo)] == [401, 401, 401]
        assert log_in(service, backup.ann).get("/api/tasks").status_code == 200


def test_a_copy_of_tasks_from_before_the_restore_is_found_out_and_made_anew(backup: Backup, tmp_path: Path) -> None:
    """Also one from before the backup: the restored database would go on with the numbers of the changes it lost."""
    expired = {"error": "Start again without a cursor", "code": "CURSOR_EXPIRED"}
    with serving(backup.restored.runtime, tmp_path) as service:
        bob = log_in(service, backup.bob)
        answers = [bob.get("/api/changes", params=copy.wanted(1000)) for copy in backup.copies]
        listed = bob.get("/api/tasks").json()["tasks"]

        assert [(each.status_code, each.json()) for each in answers] == [(410, expired)] * 2
        assert copy_of(bob).tasks == {task["id"]: task for task in listed} == backup.copies[0].tasks


def test_an_etag_from_before_the_restore_fits_nothing_that_is_written_after_it(backup: Backup, tmp_path: Path) -> None:
    """Dora wrote her first task after the backup, so the restored database has never given her a number."""
    tag, list_tag, task_id = backup.dora_before
    with serving(backup.restored.runtime, tmp_path) as service:
        dora = log_in(service, backup.dora)
        path = f"/api/tasks/{task_id}"
        first = dora.get("/api/tasks", headers={"If-None-Match": list_tag})
        made = dora.put(path, {"title": "from another device"}, headers={"If-None-Match": "*"})
        stale = dora.put(path, {"title": "from before the restore"}, headers={"If-Match": tag})
        asked = dora.get(path, headers={"If-None-Match": tag})
        listed = dora.get("/api/tasks", headers={"If-None-Match": list_tag})

        assert (first.status_code, first.json()["tasks"]) == (200, [])
        assert made.status_code == 201
        assert (stale.status_code, stale.json()["current"]) == (412, made.json())
        assert (asked.status_code, asked.json()) == (200, made.json())
        assert (listed.status_code, listed.json()["tasks"]) == (200, [made.json()])
        assert made.json()["version"] < 2**53  # JavaScript reads it exactly


def test_the_numbers_of_a_user_go_on_above_those_that_the_restore_has_taken_back(
    backup: Backup, tmp_path: Path
) -> None:
    before = max(task["version"] for task in backup.copies[1].tasks.values())
    with serving(backup.restored.runtime, tmp_path) as service:
        bob = log_in(service, backup.bob)
        task, *_ = bob.get("/api/tasks").json()["tasks"]

        assert bob.put(f"/api/tasks/{task['id']}", {"title": "x"}).json()["version"] > before


def test_no_migration_is_pending_after_a_restore(backup: Backup, tmp_path: Path) -> None:
    status = [line for line in backup.said.splitlines() if line[:4].isdigit()]

    assert [line.partition(": ")[0] for line in status] == migrations.known()
    assert all(": applied " in line for line in status)
    done = support.command(tmp_path, "migrate", DATABASE_URL=backup.restored.owner, LOG_LEVEL="WARNING")
    assert (done.stdout, done.stderr) == ("applied nothing\n", "")


def test_roles_have_the_same_privileges_on_the_restored_database(backup: Backup) -> None:
    def privileges(url: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            return connection.execute(PRIVILEGES).fetchall()

    assert privileges(backup.restored.admin) == privileges(backup.live.admin)
    with (
        psycopg.connect(backup.restored.runtime) as runtime,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        runtime.execute("CREATE TABLE mine ()")


def test_a_restore_for_a_single_role_needs_no_owners_and_no_grants(backup: Backup, server: str) -> None:
    assert "`--no-owner --no-privileges`" in " ".join(SECTION.split())
    with databases.new_database(server) as admin, psycopg.connect(admin, autocommit=True) as connection:
        connection.execute("CREATE ROLE only_one LOGIN")
        try:
            connection.execute("GRANT ALL ON SCHEMA public TO only_one")
            url = databases.url_of_role(admin, "only_one", "")
            in_the_shell(f"pg_restore --single-transaction --no-owner --no-privileges --dbname='{url}' '{backup.dump}'")

            owners = "SELECT DISTINCT tableowner::text FROM pg_tables WHERE schemaname = 'public'"
            assert connection.execute(owners.encode()).fetchall() == [("only_one",)]
            assert migrations.pending(url) == []
        finally:
            connection.execute("DROP OWNED BY only_one")
            connection.execute("DROP ROLE only_one")


def test_a_copy_of_a_data_directory_has_the_tasks(tmp_path: Path) -> None:
    with support.running(tmp_path, DATA_DIR=".data") as service:
        ann = sign_up(service.http)
        ann.creates(FEBRUARY)
        tasks = ann.get("/api/tasks").json()
    shutil.copytree(tmp_path / ".data", tmp_path / "copy")

    with support.running(tmp_path, DATA_DIR="copy") as service:
        assert User(service.http, ann.id, ann.email, ann.token).get("/api/tasks").json() == tasks
