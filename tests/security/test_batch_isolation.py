"""No operation of a batch and no idempotency key shows, changes or detects a row of another user."""

from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.security.test_isolation import names_of
from tests.security.test_version_isolation import same
from tests.support import FEBRUARY, User

SAME_ID = {"X-Request-ID": "same"}


def batch(user: User, *operations: dict[str, Any], **arguments: Any) -> httpx.Response:
    given = {"headers": SAME_ID} | arguments
    return user.post("/api/tasks/batch", {"operations": list(operations)}, **given)


@pytest.mark.parametrize("version", [None, 1, 2, 7])
@pytest.mark.parametrize("op", ["update", "delete"])
def test_operations_on_another_users_task_are_answered_as_on_one_that_never_was(
    ann: User, bob: User, op: str, version: int | None
) -> None:
    mine, theirs, gone = ann.creates(FEBRUARY), bob.creates(FEBRUARY), bob.creates(FEBRUARY)
    bob.delete(f"/api/tasks/{gone['id']}")
    more = ({"title": "mine now"} if op == "update" else {}) | ({} if version is None else {"version": version})
    answers = [
        batch(ann, {"op": "delete", "id": mine["id"]}, {"op": op, "id": task_id} | more)
        for task_id in (theirs["id"], theirs["id"].upper(), gone["id"], str(uuid4()))
    ]

    assert same(answers)
    assert answers[0].status_code == 404
    assert bob.get("/api/tasks").json() == FEBRUARY.list_of(theirs)
    assert ann.get("/api/tasks").json() == FEBRUARY.list_of(mine)


def test_creates_belong_to_the_user_of_the_token_whatever_the_request_names(ann: User, bob: User) -> None:
    theirs, gone = bob.creates(FEBRUARY), bob.creates(FEBRUARY)
    bob.delete(f"/api/tasks/{gone['id']}")
    for named in names_of(bob, FEBRUARY):
        fields = {"op": "create", "title": "mine", "user_id": bob.id, "version": 7}
        answer = batch(ann, fields, fields | {"id": str(uuid4())}, **named)
        assert answer.status_code == 200
        assert {each["task"]["user_id"] for each in answer.json()["results"]} == {ann.id}
    under_their_ids = batch(ann, *(fields | {"id": each["id"]} for each in (theirs, gone)))

    assert under_their_ids.status_code == 200
    assert {each["task"]["user_id"] for each in under_their_ids.json()["results"]} == {ann.id}
    assert bob.get("/api/tasks").json() == FEBRUARY.list_of(theirs)


@pytest.mark.parametrize("body", [{"title": "mine"}, {"title": "Bob's"}], ids=["another body", "the same body"])
def test_a_key_of_another_user_is_answered_as_one_that_was_never_used(
    ann: User, bob: User, body: dict[str, Any]
) -> None:
    theirs = bob.post("/api/tasks", {"title": "Bob's"}, headers={"Idempotency-Key": "theirs"})
    answers = [
        ann.post("/api/tasks", body, headers={"Idempotency-Key": key}) for key in ("theirs", "never-used-before")
    ]
    again = bob.post("/api/tasks", {"title": "Bob's"}, headers={"Idempotency-Key": "theirs"})

    assert [(each.status_code, each.json()["user_id"]) for each in answers] == [(201, ann.id)] * 2
    assert all("Idempotency-Replayed" not in each.headers for each in answers)
    assert again.content == theirs.content
