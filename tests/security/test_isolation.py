"""No user reads, changes, deletes or detects another's task, on any endpoint, by any way to name the other user."""

from typing import Any

import psycopg
import pytest

from tests.support import TASK_NOT_FOUND, Contract, User


@pytest.fixture
def bobs_task(bob: User, contract: Contract) -> dict[str, Any]:
    return bob.creates(contract, title="Bob's", description="private")


def names_of(user: User, contract: Contract) -> list[dict[str, Any]]:
    """Every part of a request in which a client could name another user."""
    return [
        {},
        {"params": {"user_id": user.id, "userId": user.id, "sub": user.id, "owner": user.id}},
        {"headers": {"X-User-ID": user.id, "X-Forwarded-User": user.id, "User-ID": user.id, "From": user.email}},
        {"headers": {"Cookie": f"user_id={user.id}; token={user.token}; session={user.token}"}},
        {"params": {"token": user.token, "access_token": user.token}},
        {"headers": {"X-Authorization": f"Bearer {user.token}", "Proxy-Authorization": f"Bearer {user.token}"}},
        {"headers": {"X-Original-URL": f"{contract.prefix}/tasks", "X-HTTP-Method-Override": "DELETE"}},
    ]


def bodies_naming(user: User) -> list[dict[str, Any]]:
    return [
        {"title": "mine now"},
        {"title": "mine now", "user_id": user.id},
        {"title": "mine now", "userId": user.id, "sub": user.id, "user": {"id": user.id}, "owner": user.id},
    ]


def test_list_holds_only_the_owners_tasks_even_if_the_request_names_another_user(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    mine = ann.creates(contract)

    for named in names_of(bob, contract):
        answer = ann.get(f"{contract.prefix}/tasks", **named)
        assert (answer.status_code, answer.json()) == (200, contract.list_of(mine))
    assert bob.get(f"{contract.prefix}/tasks").json() == contract.list_of(bobs_task)


def test_read_of_another_users_task_returns_404(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    for named in names_of(bob, contract):
        answer = ann.get(f"{contract.prefix}/tasks/{bobs_task['id']}", **named)
        assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)


def test_update_of_another_users_task_returns_404_and_changes_nothing(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    for named in names_of(bob, contract):
        for body in bodies_naming(bob):
            answer = ann.put(f"{contract.prefix}/tasks/{bobs_task['id']}", body, **named)
            assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)
    assert contract.task(bob.get(f"{contract.prefix}/tasks/{bobs_task['id']}").json()) == bobs_task


def test_delete_of_another_users_task_returns_404_and_deletes_nothing(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    for named in names_of(bob, contract):
        answer = ann.delete(f"{contract.prefix}/tasks/{bobs_task['id']}", **named)
        assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)
    assert bob.get(f"{contract.prefix}/tasks").json() == contract.list_of(bobs_task)


def test_new_task_belongs_to_the_tokens_user_even_if_the_request_names_another(
    ann: User, bob: User, contract: Contract
) -> None:
    for named in names_of(bob, contract):
        for body in bodies_naming(bob):
            answer = ann.post(f"{contract.prefix}/tasks", body, **named)
            assert (answer.status_code, contract.task(answer.json())["user_id"]) == (201, ann.id)
    assert bob.get(f"{contract.prefix}/tasks").json() == contract.list_of()


def test_update_that_names_another_user_does_not_change_the_owner(ann: User, bob: User, contract: Contract) -> None:
    task = ann.creates(contract)

    for body in bodies_naming(bob):
        changed = contract.task(ann.put(f"{contract.prefix}/tasks/{task['id']}", body).json())
        assert changed["user_id"] == ann.id
    assert bob.get(f"{contract.prefix}/tasks").json() == contract.list_of()


def test_me_returns_the_tokens_user_even_if_the_request_names_another(ann: User, bob: User, contract: Contract) -> None:
    for named in names_of(bob, contract):
        assert ann.get("/api/auth/me", **named).json()["user"]["id"] == ann.id


def test_404_of_another_users_task_a_missing_task_and_a_malformed_id_are_identical(
    ann: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    ids = [bobs_task["id"], bobs_task["id"].upper(), "11111111-1111-4111-8111-111111111111", "nonsense"]

    for method, body in (("GET", None), ("PUT", {"title": "x"}), ("DELETE", None)):
        answers = [
            ann.request(method, f"{contract.prefix}/tasks/{task_id}", json=body, headers={"X-Request-ID": "same"})
            for task_id in ids
        ]
        assert {answer.content for answer in answers} == {answers[0].content}
        assert {answer.status_code for answer in answers} == {404}
        assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1


def test_two_users_with_tasks_of_the_same_id_each_see_only_their_own(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any], database: psycopg.Connection
) -> None:
    database.execute("INSERT INTO tasks (user_id, id, title) VALUES (%s, %s, %s)", [ann.id, bobs_task["id"], "Ann's"])
    path = f"{contract.prefix}/tasks/{bobs_task['id']}"

    assert contract.task(ann.get(path).json())["title"] == "Ann's"
    assert contract.task(ann.put(path, {"title": "Ann's still"}).json())["user_id"] == ann.id
    assert ann.delete(path).status_code in {200, 204}
    assert contract.task(bob.get(path).json()) == bobs_task


def test_task_endpoints_without_a_token_return_401(ann: User, contract: Contract, bobs_task: dict[str, Any]) -> None:
    expected = contract.token_error("UNAUTHORIZED", "Invalid or missing authentication token")
    for path in (
        f"{contract.prefix}/tasks",
        f"{contract.prefix}/tasks/{bobs_task['id']}",
        f"{contract.prefix}/tasks/x",
    ):
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = ann.http.request(method, path, content=b"not json")
            if answer.status_code == 405:
                continue
            assert (method, path, answer.status_code, answer.json()) == (method, path, 401, expected)
            assert answer.headers["WWW-Authenticate"] == "Bearer"
