"""`migrate` of an older release after that of a newer one. The newer release is a copy of migrations/ with one more."""

import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from service.db import migrations
from service.db.migrations import MIGRATIONS
from tests import databases

NEXT = "9998_give_tasks_labels"
FORWARD = f"""\
-- depends: {migrations.known()[-1]}

ALTER TABLE users ADD COLUMN nickname text;
ALTER TABLE tasks ADD COLUMN "due on" date;
CREATE TABLE labels (user_id uuid NOT NULL, id uuid NOT NULL, name text, PRIMARY KEY (user_id, id));
"""
NEWER_GRANTS = """
DO $$
BEGIN
    IF to_regrole('todo_runtime') IS NOT NULL THEN
        GRANT SELECT, INSERT, UPDATE (name), DELETE ON labels TO todo_runtime;
        GRANT DELETE ON task_counters TO todo_runtime;
    END IF;
END
$$;
"""

GRANTS = """
SELECT pg_class.relname, NULL AS attname, granted.privilege_type
FROM pg_class CROSS JOIN aclexplode(relacl) AS granted
WHERE relnamespace = 'public'::regnamespace AND granted.grantee = 'todo_runtime'::regrole
UNION ALL
SELECT pg_class.relname, attname, granted.privilege_type
FROM pg_attribute INNER JOIN pg_class ON attrelid = pg_class.oid CROSS JOIN aclexplode(attacl) AS granted
WHERE relnamespace = 'public'::regnamespace AND granted.grantee = 'todo_runtime'::regrole
ORDER BY 1, 2, 3
"""


def grants(url: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(GRANTS).fetchall()


@pytest.fixture(autouse=True)
def _roles_of_our_own(with_roles: bool) -> None:
    if not with_roles:
        pytest.skip("the server has a role todo_owner or todo_runtime already: they are left alone")


@pytest.fixture
def newer_release(tmp_path: Path) -> Path:
    release = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, release)
    (release / f"{NEXT}.sql").write_text(FORWARD)
    with (release / "post-apply.sql").open("a") as post_apply:
        post_apply.write(NEWER_GRANTS)
    return release


def test_migrate_of_an_older_release_keeps_every_grant_of_a_newer_one(
    empty_database: str, newer_release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = databases.migrate(empty_database, with_roles=True).owner
    older_migrations = MIGRATIONS
    monkeypatch.setattr(migrations, "MIGRATIONS", newer_release)
    assert migrations.apply(owner) == [NEXT]
    newer = grants(empty_database)
    assert {("tasks", "due on", "UPDATE"), ("users", "nickname", "UPDATE")} < set(newer)
    assert {("labels", None, "DELETE"), ("labels", "name", "UPDATE"), ("task_counters", None, "DELETE")} < set(newer)

    monkeypatch.setattr(migrations, "MIGRATIONS", older_migrations)
    assert migrations.apply(owner) == []

    assert grants(empty_database) == newer


def test_migrate_revokes_privileges_that_the_running_service_never_gets(empty_database: str) -> None:
    owner = databases.migrate(empty_database, with_roles=True).owner
    wanted = grants(empty_database)
    with psycopg.connect(owner) as connection:
        connection.execute("GRANT UPDATE, TRUNCATE, REFERENCES, TRIGGER ON tasks, users TO todo_runtime")
        connection.execute("GRANT UPDATE (user_id) ON tasks TO todo_runtime")
        connection.execute("GRANT ALL ON _yoyo_migration TO todo_runtime")

    migrations.apply(owner)

    assert grants(empty_database) == wanted
