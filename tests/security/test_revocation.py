"""Revoked tokens: refused at once where they were revoked, elsewhere after the recheck, and without a database too."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import jwt
import psycopg
import pytest

from service.auth.tokens import Tokens
from service.db.admin_session import rows
from service.domain.account_changes import DELETE_USER
from tests import databases, support
from tests.databases import Urls
from tests.issuers import World
from tests.security.test_tokens import INVALID
from tests.support import FEBRUARY, PASSWORD, SECRET, Contract, Service, User, sign_up

RECHECK = 1


def token_of(user: User, generation: object = ...) -> str:
    claims: dict[str, Any] = {"sub": user.id, "exp": int(time.time()) + 600, "jti": uuid4().hex}
    return jwt.encode(claims | ({} if generation is ... else {"gen": generation}), SECRET, "HS256")


def status(service: Service, token: str, path: str = "/api/tasks") -> int:
    return service.http.get(path, headers={"Authorization": f"Bearer {token}"}).status_code


def wait_until_refused(service: Service, token: str) -> None:
    deadline = time.monotonic() + 30
    while status(service, token) == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_token_of_another_generation_than_its_users_returns_401(
    service: Service, ann: User, database: psycopg.Connection, contract: Contract
) -> None:
    database.execute("UPDATE users SET token_generation = 2 WHERE id = %s", [ann.id])

    for generation in (..., 0, 1, 3):
        answer = User(service.http, ann.id, ann.email, token_of(ann, generation)).get(f"{contract.prefix}/tasks/no-id")
        assert (answer.status_code, answer.json()) == (401, contract.token_error(*INVALID))
    assert status(service, token_of(ann, 2)) == 200


def test_token_without_a_generation_counts_as_generation_0(service: Service, ann: User) -> None:
    assert status(service, token_of(ann)) == 200


@pytest.mark.parametrize("odd", [None, True, False, "0", 0.0, 0.5, -1, 2**63, 10**30, [], {}, [0]])
def test_token_with_a_malformed_generation_returns_401(service: Service, ann: User, odd: object) -> None:
    assert status(service, token_of(ann, odd)) == 401


def test_login_issues_a_token_of_the_current_generation(
    http: httpx.Client, ann: User, database: psycopg.Connection
) -> None:
    database.execute("UPDATE users SET token_generation = 7 WHERE id = %s", [ann.id])

    token = http.post("/api/auth/login", json={"email": ann.email, "password": PASSWORD}).json()["token"]

    assert jwt.decode(token, SECRET, ["HS256"])["gen"] == 7


def test_revoked_token_is_refused_by_another_copy_after_its_recheck_and_not_before(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    soon, late = start_service(TOKEN_RECHECK=RECHECK), start_service(TOKEN_RECHECK=300)
    assert (status(soon, ann.token), status(late, ann.token)) == (200, 200)

    database.execute("UPDATE users SET token_generation = 1 WHERE id = %s", [ann.id])

    wait_until_refused(soon, ann.token)
    assert status(late, ann.token) == 200


def test_revoked_token_is_refused_by_the_other_worker_too(start_service: Callable[..., Service], ann: User) -> None:
    service = start_service(WORKERS=2, TOKEN_RECHECK=RECHECK)

    def asks(_: int) -> int:
        headers = {"Authorization": f"Bearer {ann.token}"}
        return httpx.get(f"{service.url}/api/tasks", headers=headers, timeout=60, verify=support.TRUST).status_code

    with ThreadPoolExecutor(8) as threads:  # each request on a new connection, so that either worker may get it
        assert set(threads.map(asks, range(40))) == {200}
        User(service.http, ann.id, ann.email, ann.token).post("/api/auth/logout-all")
        time.sleep(RECHECK)
        assert set(threads.map(asks, range(40))) == {401}


def test_token_due_for_a_recheck_returns_500_while_the_database_is_away(
    server_url: str, own_database: Urls, tmp_path: Path
) -> None:
    settings = {"DATABASE_URL": own_database.runtime, "BETTER_AUTH_SECRET": SECRET, "TOKEN_RECHECK": 0}
    with support.running(tmp_path, **settings) as service:
        user = sign_up(service.http)
        assert user.get("/api/tasks/no-id").status_code == 404
        name = databases.name_of(own_database.admin)
        with psycopg.connect(server_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            answers = [user.get("/api/tasks/no-id"), user.post("/v1/api/tasks", {})]
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())

        assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(500, "DATABASE_ERROR")}
        assert user.get("/api/tasks/no-id").status_code == 404


def test_token_is_refused_after_a_revocation_that_raced_with_requests(service: Service, ann: User) -> None:
    """A check that began before the revocation and is answered after it must not be cached."""
    generation = 0
    with ThreadPoolExecutor(8) as threads:
        for _ in range(15):
            token = Tokens(SECRET, None, 1).issue(UUID(ann.id), ann.email, generation)
            racing = [threads.submit(status, service, token) for _ in range(8)]
            User(service.http, ann.id, ann.email, token).post("/api/auth/logout-all")
            assert status(service, token) == 401
            assert {each.result() for each in racing} <= {200, 401}
            assert status(service, token) == 401
            generation += 1


def test_logout_all_revokes_outside_tokens_that_were_issued_before_it(world: World, contract: Contract) -> None:
    now = int(time.time())
    subject = uuid4().hex
    old, silent = world.user(sub=subject, iat=now - 60), world.user(sub=subject, iat=...)
    other = world.user(iat=now - 60)

    assert old.post("/api/auth/logout-all").status_code == 204

    for user in (old, silent, User(world.service.http, "", "", world.token(sub=subject, iat=now - 30))):
        answer = user.get(f"{contract.prefix}/tasks")
        assert (answer.status_code, answer.json()) == (401, contract.token_error(*INVALID))
    assert world.user(sub=subject, iat=now + 25).id == old.id
    assert other.get("/api/tasks").status_code == 200


def test_older_token_does_not_recreate_a_deleted_outside_account(world: World, database: psycopg.Connection) -> None:
    now = int(time.time())
    subject = uuid4().hex
    user = world.user(sub=subject, iat=now - 60, email="gone@example.com")
    user.creates(support.FEBRUARY)

    assert user.delete("/api/auth/me").status_code == 204

    changed: list[dict[str, Any]] = [{"iat": now - 5, "email": "x@example.com"}, {"iat": ...}]
    tokens = [user.token, *(world.token(sub=subject, **each) for each in changed)]
    assert [world.ask(token).json().get("code") for token in tokens] == ["INVALID_TOKEN"] * 3
    found = "SELECT count(*) FROM users WHERE subject = %s"
    assert database.execute(found, [subject]).fetchone() == (0,)
    kept = "SELECT issuer, deleted_at <= now() FROM deleted_outside_users WHERE subject = %s"
    assert database.execute(kept, [subject]).fetchall() == [(world.issuer, True)]

    again = world.user(sub=subject, iat=now + 25)
    assert again.id != user.id
    assert again.get("/api/tasks").json() == FEBRUARY.list_of()
    assert [world.ask(token).status_code for token in tokens] == [401] * 3


def test_outside_user_deletes_the_account_without_a_body_and_cannot_change_a_password(world: World) -> None:
    user = world.user()
    changed = user.post("/api/auth/password", {"current_password": PASSWORD, "new_password": "battery staple"})
    assert (changed.status_code, changed.json()["details"]) == (
        400, [{"field": "current_password", "message": "Current password is wrong"}],
    )  # fmt: skip

    assert user.delete("/api/auth/me", content=b"whatever").status_code == 204
    assert user.get("/api/tasks").status_code == 401


def test_password_change_by_a_user_without_password_and_email_returns_400_despite_limits(
    start_service: Callable[..., Service], database: psycopg.Connection
) -> None:
    service = start_service(LOGIN_FAILURES=1, LOGIN_FAILURES_PER_EMAIL=1)
    found = database.execute(
        "INSERT INTO users (issuer, subject) VALUES ('https://issuer.example', %s) RETURNING id::text", [uuid4().hex]
    ).fetchone()
    assert found is not None
    user = User(service.http, found[0], "", Tokens(SECRET, None, 1).issue(UUID(found[0]), "", 0))

    for _ in range(3):
        changed = user.post("/api/auth/password", {"current_password": PASSWORD, "new_password": "battery staple"})
        assert (changed.status_code, changed.json()["code"]) == (400, "VALIDATION_ERROR")


def test_requests_that_race_with_a_deletion_do_not_recreate_the_user(
    world: World, database: psycopg.Connection
) -> None:
    """The tokens are new to the service, so each would create the user."""
    issued = int(time.time()) - 60
    for _ in range(5):
        subject = uuid4().hex
        user = world.user(sub=subject, iat=issued)
        emails = [{"email": f"{number}@example.com"} if number % 2 else {} for number in range(8)]
        fresh = [world.token(sub=subject, iat=issued, jti=uuid4().hex, **email) for email in emails]
        with ThreadPoolExecutor(9) as threads:
            asked = [threads.submit(world.ask, token) for token in fresh]
            assert user.delete("/api/auth/me").status_code == 204
            assert {each.result().status_code for each in asked} <= {200, 401}
        assert {world.ask(token).status_code for token in fresh} == {401}
        assert database.execute("SELECT count(*) FROM users WHERE subject = %s", [subject]).fetchone() == (0,)


def test_uncommitted_deletion_is_not_undone_by_the_email_of_an_older_token(
    world: World, database: psycopg.Connection, urls: Urls
) -> None:
    """The deletion commits while the token is being checked: the row exists at first and then does not."""
    subject = uuid4().hex
    user = world.user(sub=subject, iat=int(time.time()) - 60)
    late = world.token(sub=subject, iat=int(time.time()) - 50, email="late@example.com")
    with ThreadPoolExecutor(1) as threads, psycopg.connect(urls.admin) as other:
        assert rows(other, DELETE_USER, user_id=user.id, token_generation=0)
        asked = threads.submit(world.ask, late)
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%outside%%'"
        deadline = time.monotonic() + 30
        while database.execute(waiting).fetchone() == (0,):
            assert time.monotonic() < deadline
        other.commit()
        asked.result()

    assert world.ask(late).status_code == 401
    assert database.execute("SELECT count(*) FROM users WHERE subject = %s", [subject]).fetchone() == (0,)


def test_revoked_token_does_not_change_the_email(world: World, database: psycopg.Connection) -> None:
    subject, issued = uuid4().hex, int(time.time()) - 60
    user = world.user(sub=subject, iat=issued, email="kept@example.com")
    assert user.post("/api/auth/logout-all").status_code == 204

    assert world.ask(world.token(sub=subject, iat=issued, email="other@example.com")).status_code == 401

    found = database.execute("SELECT email FROM users WHERE subject = %s", [subject]).fetchone()
    assert found == ("kept@example.com",)


def test_recreated_account_refuses_older_tokens_after_the_deletion_record_is_gone(
    world: World, database: psycopg.Connection
) -> None:
    subject, now = uuid4().hex, int(time.time())
    old = world.user(sub=subject, iat=now - 60)
    assert old.delete("/api/auth/me").status_code == 204
    assert world.user(sub=subject, iat=now + 25).id != old.id

    database.execute("DELETE FROM deleted_outside_users WHERE subject = %s", [subject])

    assert world.ask(world.token(sub=subject, iat=now - 60, jti=uuid4().hex)).status_code == 401


@pytest.mark.parametrize("action", ["password", "me"])
def test_right_password_is_accepted_while_its_hash_is_being_upgraded(
    start_service: Callable[..., Service], ann: User, action: str
) -> None:
    service = start_service(BCRYPT_ROUNDS=12)
    user = User(service.http, ann.id, ann.email, ann.token)
    login = {"email": ann.email, "password": PASSWORD}
    assert service.http.post("/api/auth/login", json=login).status_code == 200  # starts the upgrade in the background

    given = {"current_password": PASSWORD, "new_password": "battery staple", "password": PASSWORD}
    done = user.post("/api/auth/password", given) if action == "password" else user.delete("/api/auth/me", json=given)

    assert done.status_code == (200 if action == "password" else 204), done.text


def test_wrong_passwords_with_a_token_are_counted_together_and_apart_from_logins(
    start_service: Callable[..., Service], ann: User
) -> None:
    service = start_service(LOGIN_FAILURES=2)
    user = User(service.http, ann.id, ann.email, ann.token)
    wrong = {"current_password": "wrong horse", "new_password": "battery staple", "password": "wrong horse"}
    login = {"email": ann.email, "password": PASSWORD}

    assert user.post("/api/auth/password", wrong).status_code == 400
    assert user.delete("/api/auth/me", json=wrong).status_code == 400

    right = {"current_password": PASSWORD, "new_password": "battery staple", "password": PASSWORD}
    for locked in (
        user.post("/api/auth/password", right),
        user.delete("/api/auth/me", json=right),
    ):
        assert (locked.status_code, locked.json()["code"]) == (429, "RATE_LIMITED")
        assert json.loads(locked.headers["Retry-After"]) > 0
    assert service.http.post("/api/auth/login", json=login).status_code == 200
    assert user.get("/api/auth/me").status_code == 200
