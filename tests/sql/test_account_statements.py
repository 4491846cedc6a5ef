"""Each statement of sql/accounts/ alone, as its file stands, in a transaction that is rolled back."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.auth.token_users import CHECK_TOKEN, FIND_OUTSIDE_USER, SAVE_OUTSIDE_USER, UPDATE_OUTSIDE_EMAIL
from service.cli.erasure import COUNT_ROWS, FIND_DELETED_USER, GET_IDENTITY
from service.domain.account_changes import CHANGE_PASSWORD, DELETE_USER, GET_PASSWORD, REVOKE_TOKENS
from service.domain.accounts import CREATE_USER, FIND_CREDENTIALS, UPGRADE_HASH
from service.domain.cleanup import FORGET_DELETED_USERS
from service.domain.known_networks import REMEMBER_NETWORK
from service.domain.tasks import LIST_TASKS
from service.domain.users import GET_USER, USER_EXISTS
from service.http.health import NOBODY
from tests.sql.owners import HOME, Run, delete, keep_answer, new_task, new_user
from tests.support import new_email

EMAIL = new_email()

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def test_create_user_returns_no_password_hash(run: Run) -> None:
    [user] = run(CREATE_USER, email=EMAIL, password_hash="x", network=HOME)

    assert list(user.keys()) == ["id", "email", "created_at", "token_generation"]
    assert (user["email"], user["token_generation"]) == (EMAIL, 0)


def test_create_user_refuses_a_taken_email(run: Run) -> None:
    run(CREATE_USER, email=EMAIL, password_hash="x", network=HOME)

    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        run(CREATE_USER, email=EMAIL, password_hash="x", network=HOME)
    assert refused.value.constraint_name == "users_email_key"


def test_find_credentials_returns_the_hash_of_one_email(run: Run) -> None:
    new_user(run)
    [user] = run(CREATE_USER, email=EMAIL, password_hash="the hash", network=HOME)

    [found] = run(FIND_CREDENTIALS, email=EMAIL)

    assert dict(found) == dict(user) | {"password_hash": "the hash", "known_networks": [HOME.hex()]}
    assert run(FIND_CREDENTIALS, email=new_email()) == []


def test_a_deleted_outside_user_is_not_made_again_by_a_token_from_before(run: Run) -> None:
    known = {"issuer": "https://issuer.example", "subject": uuid4().hex}
    run(SAVE_OUTSIDE_USER, email=None, issued_at=LONG_AGO, **known)
    [made] = run(FIND_OUTSIDE_USER, **known)

    assert [row["id"] for row in run(DELETE_USER, user_id=made["id"], token_generation=0)] == [made["id"]]
    assert run(DELETE_USER, user_id=made["id"], token_generation=0) == []
    run(SAVE_OUTSIDE_USER, email=None, issued_at=LONG_AGO, **known)
    assert run(FIND_OUTSIDE_USER, **known) == []

    later = datetime.now(UTC) + timedelta(days=1)
    run(SAVE_OUTSIDE_USER, email=None, issued_at=later, **known)
    [again] = run(FIND_OUTSIDE_USER, **known)
    assert again["id"] != made["id"]
    assert again["tokens_revoked_at"] is not None

    run(FORGET_DELETED_USERS)
    assert run(FIND_OUTSIDE_USER, **known) == [again]


def test_a_deletion_is_remembered_for_a_day_and_not_longer(run: Run) -> None:
    known = {"issuer": "https://issuer.example", "subject": uuid4().hex}
    run(SAVE_OUTSIDE_USER, email=EMAIL, issued_at=LONG_AGO, **known)
    [made] = run(FIND_OUTSIDE_USER, **known)
    [found] = run(GET_IDENTITY, user_id=made["id"])
    assert dict(found) == {"id": made["id"], "email": EMAIL, "token_generation": 0} | known
    assert run(FIND_DELETED_USER, **known) == []

    run(DELETE_USER, user_id=made["id"], token_generation=0)

    assert run(GET_IDENTITY, user_id=made["id"]) == []
    [deleted] = run(FIND_DELETED_USER, **known)
    assert deleted["remembered_until"] - deleted["deleted_at"] == timedelta(days=1)


def test_the_rows_of_a_user_are_counted_without_those_of_a_stranger(run: Run, owner: UUID, stranger: UUID) -> None:
    new_task(run, owner)
    new_task(run, owner)
    for user in (owner, owner, owner, stranger):
        delete(run, user, new_task(run, user)["id"])
    new_task(run, stranger)
    keep_answer(run, owner, "key")

    counted = [dict(row) for user_id in (owner, stranger, NOBODY) for row in run(COUNT_ROWS, user_id=user_id)]

    names = ["in_users", "in_tasks", "in_task_counters", "in_deleted_tasks", "in_idempotency_keys"]
    assert counted == [dict(zip(names, each, strict=True)) for each in ([1, 2, 1, 3, 1], [1, 1, 1, 1, 0], [0] * 5)]


def test_only_an_outside_user_is_given_the_email_of_a_token(run: Run, owner: UUID) -> None:
    before = run(GET_USER, user_id=owner)

    run(UPDATE_OUTSIDE_EMAIL, user_id=owner, email="c@example.com")

    assert run(GET_USER, user_id=owner) == before


def test_delete_user_takes_the_tasks_along_unless_tokens_were_revoked_meanwhile(
    run: Run, owner: UUID, stranger: UUID
) -> None:
    for user in (owner, stranger):
        new_task(run, user)

    assert run(DELETE_USER, user_id=owner, token_generation=1) == []
    assert [row["id"] for row in run(DELETE_USER, user_id=owner, token_generation=0)] == [owner]

    assert run(USER_EXISTS, user_id=owner) == run(LIST_TASKS, user_id=owner, max_rows=9) == []
    assert len(run(LIST_TASKS, user_id=stranger, max_rows=9)) == 1


def test_change_password_revokes_the_tokens_unless_they_were_revoked_meanwhile(run: Run, owner: UUID) -> None:
    assert run(CHANGE_PASSWORD, user_id=owner, token_generation=1, password_hash="y") == []
    [before] = run(GET_USER, user_id=owner)

    [changed] = run(CHANGE_PASSWORD, user_id=owner, token_generation=0, password_hash="y")

    assert dict(changed) == dict(before) | {"token_generation": 1}
    assert [dict(row) for row in run(GET_PASSWORD, user_id=owner)] == [
        {"id": owner, "token_generation": 1, "password_hash": "y"}
    ]
    assert run(CHECK_TOKEN, user_id=owner, token_generation=0) == []


def test_revoke_tokens_is_for_one_user_and_counts_up(run: Run, owner: UUID, stranger: UUID) -> None:
    for generation in (1, 2):
        assert [row["id"] for row in run(REVOKE_TOKENS, user_id=owner)] == [owner]
        assert len(run(CHECK_TOKEN, user_id=owner, token_generation=generation)) == 1
    assert len(run(CHECK_TOKEN, user_id=stranger, token_generation=0)) == 1
    assert run(REVOKE_TOKENS, user_id=uuid4()) == run(GET_PASSWORD, user_id=uuid4()) == []


def test_check_token_finds_the_user_of_its_own_generation(run: Run, owner: UUID) -> None:
    assert [row["user_id"] for row in run(CHECK_TOKEN, user_id=owner, token_generation=0)] == [owner]
    assert run(CHECK_TOKEN, user_id=owner, token_generation=1) == []
    assert run(CHECK_TOKEN, user_id=uuid4(), token_generation=0) == []


def test_upgrade_hash_leaves_a_password_that_was_changed_meanwhile(run: Run) -> None:
    email = new_email()
    [user] = run(CREATE_USER, email=email, password_hash="old", network=HOME)

    for generation, new, stored in ((1, "x", "old"), (0, "new", "new"), (1, "x", "new")):
        run(UPGRADE_HASH, user_id=user["id"], token_generation=generation, new_hash=new)
        assert [row["password_hash"] for row in run(FIND_CREDENTIALS, email=email)] == [stored]


def test_remember_network_keeps_the_newest_five_of_one_user_each_once(run: Run) -> None:
    email, other = new_email(), new_email()
    [user], _ = (run(CREATE_USER, email=each, password_hash="x", network=HOME) for each in (email, other))

    def known(email: str) -> list[bytes]:
        [found] = run(FIND_CREDENTIALS, email=email)
        return [bytes.fromhex(network) for network in found["known_networks"]]

    for networks in ([b"1", HOME], [b"2", b"1", HOME], [HOME, b"2", b"1"], [HOME, b"2", b"1"]):
        run(REMEMBER_NETWORK, user_id=user["id"], network=networks[0])
        assert known(email) == networks
    for each in (b"3", b"4", b"5"):
        run(REMEMBER_NETWORK, user_id=user["id"], network=each)
    assert known(email) == [b"5", b"4", b"3", HOME, b"2"]
    run(REMEMBER_NETWORK, user_id=user["id"], network=b"2")
    assert known(email) == [b"2", b"5", b"4", b"3", HOME]
    assert known(other) == [HOME]


def test_an_outside_user_is_made_once_and_keeps_the_newest_email(run: Run) -> None:
    issuer, subject = "https://issuer.example", uuid4().hex
    assert run(FIND_OUTSIDE_USER, issuer=issuer, subject=subject) == []

    for email in ("a@example.com", "b@example.com"):
        run(SAVE_OUTSIDE_USER, issuer=issuer, subject=subject, email=email, issued_at=LONG_AGO)
    [made] = run(FIND_OUTSIDE_USER, issuer=issuer, subject=subject)
    assert dict(made) == {"id": made["id"], "email": "a@example.com", "tokens_revoked_at": None}

    run(UPDATE_OUTSIDE_EMAIL, user_id=made["id"], email="c@example.com")
    [moved] = run(FIND_OUTSIDE_USER, issuer=issuer, subject=subject)
    assert dict(moved) == dict(made) | {"email": "c@example.com"}
    assert run(FIND_OUTSIDE_USER, issuer=f"{issuer}/", subject=subject) == []
    assert run(FIND_CREDENTIALS, email="b@example.com") == []


def test_an_email_is_unique_among_users_with_a_password(run: Run) -> None:
    run(CREATE_USER, email=EMAIL, password_hash="x", network=HOME)
    for subject in ("one", "two"):
        given = {"issuer": "https://issuer.example", "subject": f"{subject}-{EMAIL}", "email": EMAIL}
        run(SAVE_OUTSIDE_USER, issued_at=LONG_AGO, **given)

    assert [row["password_hash"] for row in run(FIND_CREDENTIALS, email=EMAIL)] == ["x"]


def test_get_user_and_user_exists_find_one_user(run: Run, owner: UUID, stranger: UUID) -> None:
    [user] = run(GET_USER, user_id=owner)

    assert list(user.keys()) == ["id", "email", "created_at"]
    assert user["id"] == owner
    assert [row["user_id"] for row in run(USER_EXISTS, user_id=stranger)] == [stranger]
    assert run(GET_USER, user_id=uuid4()) == run(USER_EXISTS, user_id=uuid4()) == []
