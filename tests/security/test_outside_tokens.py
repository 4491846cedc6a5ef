"""Tokens of outside issuers: which are accepted, and which user each belongs to."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import jwt
import psycopg
import pytest

from tests import support
from tests.issuers import EC_ISSUER, RSA_ISSUER, SHARED_ISSUER, SHARED_SECRET, Signer, World, claims_of, hs256
from tests.security.test_tokens import EXPIRED, INVALID
from tests.support import FEBRUARY, JANUARY, SECRET, Contract, User, sign_up


def test_first_token_of_an_outside_user_creates_the_user_and_gives_access_to_tasks(
    world: World, contract: Contract
) -> None:
    user = world.user(email="Ann@Example.com")

    task = user.creates(contract)

    assert UUID(user.id).version == 4
    assert user.email == "ann@example.com"
    assert task["user_id"] == user.id
    assert [each["id"] for each in user.get(f"{contract.prefix}/tasks").json()["tasks"]] == [task["id"]]


def test_log_line_names_the_outside_user(world: World) -> None:
    user = world.user()
    request_id = f"outside-{uuid4()}"

    user.get("/api/tasks", headers={"X-Request-ID": request_id})

    [line] = world.service.lines_of(request_id)
    assert (line["route"], line["status"], line["user_id"]) == ("/api/tasks", 200, user.id)


def test_tokens_of_every_issuer_kind_are_accepted(world: World) -> None:
    tokens = [
        world.token(),
        world.rsa.sign(claims_of(RSA_ISSUER, aud="todo")),
        Signer("PS256", world.rsa.private, world.rsa.kid).sign(claims_of(RSA_ISSUER, aud="todo")),
        world.ec.sign(claims_of(EC_ISSUER)),
        hs256(claims_of(SHARED_ISSUER), SHARED_SECRET.encode()),
    ]

    assert [world.ask(token).status_code for token in tokens] == [200] * 5


def test_subject_is_one_user_across_tokens_and_another_user_at_another_issuer(world: World) -> None:
    subject = uuid4().hex
    first, second = world.user(sub=subject), world.user(sub=subject, iat=int(time.time()) - 5)
    elsewhere = world.ask(world.ec.sign(claims_of(EC_ISSUER, sub=subject)), "/api/auth/me").json()["user"]

    assert first.id == second.id != elsewhere["id"]
    task = first.creates(JANUARY)
    assert second.get(f"/api/tasks/{task['id']}").status_code == 200


def test_simultaneous_first_requests_create_one_user(world: World) -> None:
    subject = uuid4().hex
    tokens = [world.token(sub=subject, jti=str(number)) for number in range(16)]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda token: world.ask(token, "/api/auth/me"), tokens))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["user"]["id"] for answer in answers}) == 1


def test_outside_user_with_the_email_of_an_account_is_not_linked_to_it(world: World) -> None:
    account = sign_up(world.service.http)
    account.creates(JANUARY)

    outside = world.user(email=account.email)

    assert outside.email == account.email
    assert outside.id != account.id
    assert outside.get("/api/tasks").json() == FEBRUARY.list_of()
    login = {"email": account.email, "password": support.PASSWORD}
    assert world.service.http.post("/api/auth/login", json=login).json()["user"]["id"] == account.id


def test_sign_up_with_the_email_of_an_outside_user_creates_a_separate_account(world: World) -> None:
    outside = world.user(email=support.new_email())

    account = sign_up(world.service.http, email=outside.email)

    assert account.id != outside.id


def test_login_with_the_email_of_an_outside_user_returns_401(world: World) -> None:
    outside = world.user(email=support.new_email())

    answer = world.service.http.post("/api/auth/login", json={"email": outside.email, "password": support.PASSWORD})

    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_CREDENTIALS")


def test_email_follows_the_newest_token_and_a_missing_or_invalid_email_changes_nothing(world: World) -> None:
    subject = uuid4().hex

    emails = [
        world.user(sub=subject, email=email, jti=uuid4().hex).email
        for email in (..., "a@example.com", ..., "b@example.com", "no address", "nul\0@example.com", 7, "\ud800@x.com")
    ]

    assert emails == [None, "a@example.com", "a@example.com"] + ["b@example.com"] * 5


def test_cached_token_of_a_deleted_outside_user_returns_401(
    world: World, database: psycopg.Connection, contract: Contract
) -> None:
    user = world.user()
    database.execute("DELETE FROM users WHERE id = %s", [user.id])

    answer = user.get(f"{contract.prefix}/tasks")

    assert (answer.status_code, answer.json()) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize("sub", ["x", "x" * 255, "🙂" * 255, "auth0|5f7c", "' OR 1=1 --", " "])
def test_subject_may_be_any_text(world: World, sub: str) -> None:
    assert world.user(sub=sub).id == world.user(sub=sub, jti=uuid4().hex).id


@pytest.mark.parametrize(
    "changed",
    [
        {"nbf": 29}, {"iat": 29}, {"exp": -15}, {"nbf": -60}, {"iat": ...}, {"nbf": -0.5},
        {"user_id": "00000000-0000-4000-8000-000000000000"}, {"email_verified": False}, {"azp": "x", "scope": "y"},
    ],
)  # fmt: skip
def test_outside_token_with_unusual_but_valid_claims_is_accepted(
    world: World, contract: Contract, changed: dict[str, Any]
) -> None:
    now = int(time.time())
    claims = {
        name: now + value if name in {"nbf", "iat", "exp"} and value is not ... else value
        for name, value in changed.items()
    }

    assert world.ask(world.token(**claims), f"{contract.prefix}/tasks").status_code == 200


def test_leeway_applies_to_outside_issuers_and_not_to_own_tokens(world: World, ann: User) -> None:
    now = int(time.time())
    own = jwt.encode({"sub": ann.id, "exp": now - 5}, SECRET, "HS256")
    early = jwt.encode({"sub": ann.id, "exp": now + 60, "nbf": now + 20}, SECRET, "HS256")

    assert world.ask(world.token(exp=now - 5, nbf=now + 20)).status_code == 200
    assert world.ask(own).json()["code"] == "TOKEN_EXPIRED"
    assert world.ask(early).json()["code"] == "INVALID_TOKEN"


@pytest.mark.parametrize("ago", [31, 3600, 10**9, 2 * 10**9])
def test_expired_token_with_other_faults_returns_401_token_expired(world: World, contract: Contract, ago: int) -> None:
    token = world.token(exp=int(time.time()) - ago, aud="elsewhere", sub=None)

    answer = world.ask(token, f"{contract.prefix}/tasks")

    assert (answer.status_code, answer.json()) == (401, contract.token_error(*EXPIRED))


def test_outside_token_that_names_an_own_account_gets_no_access_to_it(world: World, ann: User) -> None:
    task = ann.creates(JANUARY)

    for claims in ({"sub": ann.id}, {"sub": ann.id, "user_id": ann.id, "email": ann.email}):
        stranger = world.user(**claims, jti=uuid4().hex)
        assert stranger.id != ann.id
        assert stranger.get(f"/api/tasks/{task['id']}").status_code == 404


def test_cached_token_expires_at_the_end_of_the_leeway(world: World) -> None:
    end = 0.0
    while time.time() > end - 0.1:  # repeated only if the machine was too slow for the timing
        end = int(time.time()) + 2.0
        token = world.token(exp=int(end) - 30)
        status = world.ask(token).status_code
    assert status == 200

    time.sleep(2.1)

    assert world.ask(token).json()["code"] == "TOKEN_EXPIRED"
