"""The operator's commands for one user: show, reset-password, delete, beside a running service."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from service.domain.account_changes import MAX_TASKS_PER_DELETE
from tests import support
from tests.support import FEBRUARY, PASSWORD, Service, User

UserCommand = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_user_command(database_url: str, tmp_path: Path) -> UserCommand:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return support.command(tmp_path, "user", *arguments, DATABASE_URL=database_url)

    return run


def logs_in(user: User, password: str) -> int:
    return user.http.post("/api/auth/login", json={"email": user.email, "password": password}).status_code


def test_show_prints_the_user_and_the_number_of_tasks(
    run_user_command: UserCommand, ann: User, database: psycopg.Connection
) -> None:
    ann.creates(FEBRUARY)
    ann.creates(FEBRUARY)
    found = database.execute("SELECT created_at FROM users WHERE id = %s", [ann.id]).fetchone()
    assert found is not None

    shown = run_user_command("show", f" {ann.email.upper()} ")

    assert (shown.returncode, shown.stderr, shown.stdout.splitlines()) == (
        0, "",
        [f"id: {ann.id}", f"email: {ann.email}", f"created_at: {found[0]}", "token_generation: 0", "tasks: 2"],
    )  # fmt: skip


def test_reset_password_prints_a_new_password_and_revokes_the_tokens(
    start_service: Callable[..., Service], run_user_command: UserCommand, ann: User
) -> None:
    service = start_service(TOKEN_RECHECK=0)
    user = User(service.http, ann.id, ann.email, ann.token)
    assert user.get("/api/auth/me").status_code == 200

    done = run_user_command("reset-password", ann.email)

    password = done.stdout.removesuffix("\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(password) == 20
    assert (logs_in(ann, PASSWORD), logs_in(ann, password)) == (401, 200)
    assert user.get("/api/auth/me").status_code == 401


def test_delete_removes_the_user_and_the_tasks(
    run_user_command: UserCommand, ann: User, bob: User, database: psycopg.Connection
) -> None:
    ann.creates(FEBRUARY)
    kept = bob.creates(FEBRUARY)

    done = run_user_command("delete", ann.email)

    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"deleted {ann.email}, tasks: 1\n")
    assert database.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [ann.id]).fetchone() == (0,)
    assert logs_in(ann, PASSWORD) == 401
    assert bob.get("/api/tasks").json() == FEBRUARY.list_of(kept)


def test_deleting_an_account_with_many_tasks_removes_all_of_them(
    ann: User, bob: User, database: psycopg.Connection
) -> None:
    kept = bob.creates(FEBRUARY)
    many = "INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, %s)"
    database.execute(many.encode(), [ann.id, 2 * MAX_TASKS_PER_DELETE])

    assert ann.delete("/api/auth/me", json={"password": PASSWORD}).status_code == 204

    assert database.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [ann.id]).fetchone() == (0,)
    assert bob.get("/api/tasks").json() == FEBRUARY.list_of(kept)


@pytest.mark.parametrize("verb", ["show", "reset-password", "delete"])
def test_a_command_for_an_email_without_a_password_user_prints_one_line(
    run_user_command: UserCommand, database: psycopg.Connection, verb: str
) -> None:
    email = support.new_email()
    outside = "INSERT INTO users (issuer, subject, email) VALUES ('https://issuer.example', %s, %s)"
    database.execute(outside, [email, email])

    done = run_user_command(verb, email)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"no user logs in with {email}\n")
    assert database.execute("SELECT count(*) FROM users WHERE email = %s", [email]).fetchone() == (1,)
