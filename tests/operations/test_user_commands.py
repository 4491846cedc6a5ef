"""What an operator may do about one user, from the command line, beside a service that runs."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests import support
from tests.support import FEBRUARY, PASSWORD, Service, User

Says = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def says(database_url: str, tmp_path: Path) -> Says:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return support.command(tmp_path, "user", *arguments, DATABASE_URL=database_url)

    return run


def logs_in(user: User, password: str) -> int:
    return user.http.post("/api/auth/login", json={"email": user.email, "password": password}).status_code


def test_show_says_who_it_is_and_how_much_they_have_here(says: Says, ann: User, database: psycopg.Connection) -> None:
    ann.creates(FEBRUARY)
    ann.creates(FEBRUARY)
    found = database.execute("SELECT created_at FROM users WHERE id = %s", [ann.id]).fetchone()
    assert found is not None

    shown = says("show", f" {ann.email.upper()} ")

    assert (shown.returncode, shown.stderr, shown.stdout.splitlines()) == (
        0, "",
        [f"id: {ann.id}", f"email: {ann.email}", f"created_at: {found[0]}", "token_generation: 0", "tasks: 2"],
    )  # fmt: skip


def test_reset_password_prints_the_new_one_and_voids_the_tokens(
    start_service: Callable[..., Service], says: Says, ann: User
) -> None:
    service = start_service(TOKEN_RECHECK=0)
    user = User(service.http, ann.id, ann.email, ann.token)
    assert user.get("/api/auth/me").status_code == 200

    done = says("reset-password", ann.email)

    password = done.stdout.removesuffix("\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(password) == 20
    assert (logs_in(ann, PASSWORD), logs_in(ann, password)) == (401, 200)
    assert user.get("/api/auth/me").status_code == 401


def test_delete_takes_the_tasks_along(says: Says, ann: User, bob: User, database: psycopg.Connection) -> None:
    ann.creates(FEBRUARY)
    kept = bob.creates(FEBRUARY)

    done = says("delete", ann.email)

    assert (done.returncode, done.stderr, done.stdout) == (0, "", f"deleted {ann.email}, tasks: 1\n")
    assert database.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [ann.id]).fetchone() == (0,)
    assert logs_in(ann, PASSWORD) == 401
    assert bob.get("/api/tasks").json() == {"tasks": [kept]}


@pytest.mark.parametrize("verb", ["show", "reset-password", "delete"])
def test_an_email_that_nobody_logs_in_with_is_one_line(says: Says, database: psycopg.Connection, verb: str) -> None:
    email = support.new_email()
    outside = "INSERT INTO users (issuer, subject, email) VALUES ('https://issuer.example', %s, %s)"
    database.execute(outside, [email, email])

    done = says(verb, email)

    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"nobody logs in with {email}\n")
    assert database.execute("SELECT count(*) FROM users WHERE email = %s", [email]).fetchone() == (1,)
