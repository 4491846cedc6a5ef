"""No version, no change and no precondition shows, changes or detects a row of another user."""

import itertools
from typing import Any
from uuid import uuid4

import httpx
import pytest

from service.app import CONTRACTS
from service.openapi.document import openapi
from tests.security.test_isolation import names_of
from tests.support import FEBRUARY, TASK_NOT_FOUND, Contract, User

# The parameters that name no row, those whose tests are in test_list_isolation.py, and those of this file.
NAMES_NO_ROW = {"limit", "sort", "is_completed", "priority", "due_from", "due_to", "Prefer"}
LIST_PARAMETERS = {"cursor", "tag", "q"}
BATCH_PARAMETERS = {"Idempotency-Key"}  # whose test is in test_batch_isolation.py
TESTED_HERE = {"cursor", "task_id", "If-Match", "If-None-Match"}


@pytest.fixture
def bobs(bob: User) -> list[dict[str, Any]]:
    """Three tasks; the first was changed, and a fourth one was deleted: five numbers and a deletion."""
    made = [bob.creates(FEBRUARY, "Bob's", description="private") for _ in range(3)]
    made[0] = bob.put(f"/api/tasks/{made[0]['id']}", {"is_completed": True}).json()
    gone = bob.creates(FEBRUARY, "Bob's")
    assert bob.delete(f"/api/tasks/{gone['id']}").status_code == 200
    return made


def unchanged(bob: User, bobs: list[dict[str, Any]]) -> bool:
    answer = bob.get("/api/tasks")
    return bool((answer.json(), answer.headers["ETag"]) == (FEBRUARY.list_of(*bobs[::-1]), 'W/"6"'))


def same(answers: list[httpx.Response]) -> bool:
    """Byte for byte, and in every header but the time. The requests have the same id."""
    seen = {(each.status_code, each.content, tuple(each.headers.items())) for each in answers}
    return len(seen) == 1


def test_every_parameter_of_the_document_is_in_a_test_of_isolation() -> None:
    document = openapi(CONTRACTS)
    shared = document["components"]["parameters"]
    given = [
        shared[each["$ref"].rpartition("/")[2]] if "$ref" in each else each
        for methods in document["paths"].values()
        for operation in methods.values()
        for each in operation.get("parameters", [])
    ]

    assert {each["name"] for each in given} == NAMES_NO_ROW | LIST_PARAMETERS | BATCH_PARAMETERS | TESTED_HERE


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_preconditions_on_another_users_task_are_answered_as_on_one_that_never_was(
    ann: User, bob: User, bobs: list[dict[str, Any]], method: str
) -> None:
    mine = ann.creates(FEBRUARY)
    name = "If-None-Match" if method in {"GET", "HEAD"} else "If-Match"
    body = {"title": "mine now"} if method == "PUT" else None
    for tag in ('"1"', '"4"', '"5"', '"0"', '"1", "2", "3", "4", "5", "6"', 'W/"4"', "*", f'"{bob.id}"'):
        answers = [
            ann.request(method, f"/api/tasks/{task_id}", json=body, headers={name: tag, "X-Request-ID": "same"})
            for task_id in (bobs[0]["id"], bobs[1]["id"].upper(), str(uuid4()), "nonsense")
        ]
        assert same(answers)
        assert answers[0].status_code == 404
        assert method == "HEAD" or answers[0].json() == TASK_NOT_FOUND

    assert unchanged(bob, bobs)
    assert ann.get("/api/tasks").json() == FEBRUARY.list_of(mine)


def test_a_create_under_an_id_of_another_user_makes_an_own_task_whatever_the_request_names(
    ann: User, bob: User, contract: Contract
) -> None:
    """Also under the id of a task that the other user has deleted, by either contract."""
    sent = {"title": "mine", "user_id": bob.id, "id": str(uuid4()), "version": 7}
    numbers, kept = itertools.count(1), []
    for named in names_of(bob, FEBRUARY):
        there, gone = (bob.creates(contract) for _ in range(2))
        bob.delete(f"{contract.prefix}/tasks/{gone['id']}")
        kept.append(there)
        for task_id in (there["id"], gone["id"]):
            given = named | {"headers": {"If-None-Match": "*"} | named.get("headers", {})}
            answer = ann.put(f"/api/tasks/{task_id}", sent, **given)
            number = next(numbers)
            assert (answer.status_code, answer.headers["ETag"]) == (201, f'"{number}"')
            assert answer.json() == answer.json() | {"id": task_id, "user_id": ann.id, "version": number}

    assert bob.get(f"{contract.prefix}/tasks").json() == contract.list_of(*kept[::-1])


def test_changes_hold_only_the_owners_even_if_the_request_names_another_user(
    ann: User, bob: User, bobs: list[dict[str, Any]]
) -> None:
    mine, gone = ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    begin = ann.get("/api/changes", params={"limit": 1}).json()["cursor"]
    ann.delete(f"/api/tasks/{gone['id']}")
    everything = [{"id": mine["id"], "version": 1, "task": mine}]
    since = [{"id": gone["id"], "version": 3, "task": None}]

    for named in names_of(bob, FEBRUARY):
        for query, expected in (({}, everything), ({"cursor": begin}, since)):
            answer = ann.get("/api/changes", **named | {"params": query | named.get("params", {})})
            body = answer.json()
            assert (answer.status_code, answer.headers["ETag"]) == (200, 'W/"3"')
            assert body == {"changes": expected, "cursor": body["cursor"], "has_more": False}
    assert unchanged(bob, bobs)


def test_a_cursor_of_another_users_changes_is_refused_as_one_that_never_was(
    ann: User, bob: User, bobs: list[dict[str, Any]]
) -> None:
    refused = FEBRUARY.invalid(("cursor", "cursor does not belong to these changes"))
    ann.creates(FEBRUARY)
    theirs = bob.get("/api/changes").json()["cursor"]
    of_a_list = ann.get("/api/tasks", params={"limit": 1}).json()["next_cursor"] or "x"

    answers = [
        ann.get("/api/changes", params={"cursor": given}, headers={"X-Request-ID": "same"})
        for given in (theirs, "A" * len(theirs), "nonsense", of_a_list, bob.id, bobs[0]["id"], bob.email, bob.token)
    ]

    assert same(answers)
    assert (answers[0].status_code, answers[0].json()) == (400, refused)


@pytest.mark.parametrize("path", ["/api/tasks", "/api/changes"])
def test_writes_of_another_user_move_no_tag_of_the_own_lists(ann: User, bob: User, path: str) -> None:
    ann.creates(FEBRUARY)
    query = {"cursor": ann.get(path).json()["cursor"]} if path == "/api/changes" else {}
    before = ann.get(path, params=query)
    task = bob.creates(FEBRUARY)
    bob.put(f"/api/tasks/{task['id']}", {"is_completed": True})
    bob.delete(f"/api/tasks/{task['id']}")

    for known, status in ((before.headers["ETag"], 304), (bob.get(path).headers["ETag"], 200)):
        answer = ann.get(path, params=query, headers={"If-None-Match": known})
        assert (answer.status_code, answer.headers["ETag"]) == (status, before.headers["ETag"])
        assert answer.content == (before.content if status == 200 else b"")


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"If-Match": "*"}], ids=str)
def test_changes_and_conditional_requests_without_a_token_return_401(
    ann: User, bobs: list[dict[str, Any]], headers: dict[str, str]
) -> None:
    refused = {"error": "Invalid or missing authentication token", "code": "UNAUTHORIZED"}
    task = f"/api/tasks/{bobs[0]['id']}"
    requests = [("GET", "/api/changes"), ("GET", "/api/changes?cursor=x"), ("GET", "/api/tasks")]
    for method, path in (*requests, ("GET", task), ("PUT", task), ("DELETE", task)):
        answer = ann.http.request(method, path, headers=headers, content=b"not json")
        assert (method, path, answer.status_code, answer.json()) == (method, path, 401, refused)
