"""No parameter of a list shows a row of another user, or whether there is one."""

from typing import Any

import pytest

from tests.contract.list_model import SORTS, link_to_next
from tests.support import FEBRUARY, User


@pytest.fixture
def bobs(bob: User) -> list[dict[str, Any]]:
    """Tasks that any filter of a list would find, and that come first in any order."""
    fields = {"description": "private", "due_on": "1900-01-01", "priority": "high", "tags": ["secret"]}
    return [bob.creates(FEBRUARY, "Bob's", **fields) for _ in range(3)]


@pytest.fixture
def mine(ann: User) -> list[dict[str, Any]]:
    return [ann.creates(FEBRUARY, "Mine") for _ in range(3)]


@pytest.mark.parametrize("sort", SORTS)
def test_pages_of_any_order_have_the_owners_tasks_alone(
    ann: User, bobs: list[dict[str, Any]], mine: list[dict[str, Any]], sort: str
) -> None:
    answer = ann.get("/api/tasks", params={"sort": sort, "limit": 1})
    seen = answer.json()["tasks"]
    while link := link_to_next(answer.headers.get("Link")):
        answer = ann.get(link)
        seen += answer.json()["tasks"]

    assert sorted(task["id"] for task in seen) == sorted(task["id"] for task in mine)


@pytest.mark.parametrize(
    "query",
    [
        {"q": "Bob's"},
        {"q": "private"},
        {"q": "'"},
        {"tag": "secret"},
        {"priority": "high"},
        {"due_from": "1900-01-01"},
        {"due_to": "2999-12-31"},
        {"is_completed": "false", "q": "Bob"},
    ],
    ids=str,
)
def test_a_filter_that_another_users_tasks_pass_finds_nothing_of_them(
    ann: User, bobs: list[dict[str, Any]], mine: list[dict[str, Any]], query: dict[str, str]
) -> None:
    for sort in SORTS:
        answer = ann.get("/api/tasks", params=query | {"sort": sort})
        assert (answer.status_code, answer.json()) == (200, FEBRUARY.list_of())


def test_a_cursor_of_another_user_is_refused_as_one_that_never_was(
    ann: User, bob: User, bobs: list[dict[str, Any]], mine: list[dict[str, Any]]
) -> None:
    """Also when it points at a task of the reader, and when the reader knows all about the other list."""
    refused = FEBRUARY.invalid(("cursor", "cursor does not belong to this list"))
    for sort in SORTS:
        query = {"sort": sort, "limit": 1}
        theirs = bob.get("/api/tasks", params=query).json()["next_cursor"]
        answers = [
            ann.get("/api/tasks", params=query | {"cursor": given}, headers={"X-Request-ID": "same"})
            for given in (theirs, "A" * len(theirs), "nonsense")
        ]
        assert [answer.json() for answer in answers] == [refused] * 3
        assert {answer.content for answer in answers} == {answers[0].content}
        assert {tuple(answer.headers.items()) for answer in answers} == {tuple(answers[0].headers.items())}


@pytest.mark.parametrize(
    "name", ["q", "tag", "cursor", "sort", "priority", "limit", "due_from", "user_id", "owner", "id"]
)
def test_an_id_of_another_user_or_of_their_task_in_any_parameter_shows_nothing_of_them(
    ann: User, bob: User, bobs: list[dict[str, Any]], mine: list[dict[str, Any]], name: str
) -> None:
    for value in (bob.id, bobs[0]["id"], bob.email, f"{bob.id}' OR user_id = '{bob.id}", bob.token):
        answer = ann.get("/api/tasks", params={name: value})
        assert answer.status_code in {200, 400}
        assert not {bob.id, bobs[0]["id"], "Bob's"} & set(str(answer.json()).split("'"))
        if answer.status_code == 200:
            assert {task["id"] for task in answer.json()["tasks"]} <= {task["id"] for task in mine}


def test_names_of_another_user_beside_a_cursor_change_nothing(
    ann: User, bob: User, bobs: list[dict[str, Any]], mine: list[dict[str, Any]]
) -> None:
    plain = ann.get("/api/tasks", params={"limit": 1})
    named = ann.get(
        "/api/tasks",
        params={"limit": 1, "user_id": bob.id, "sub": bob.id, "token": bob.token},
        headers={"X-User-ID": bob.id, "Cookie": f"user_id={bob.id}; token={bob.token}"},
    )

    assert named.json() == plain.json() == {"tasks": [mine[-1]], "next_cursor": plain.json()["next_cursor"]}
