"""Nobody reads, changes, deletes or detects another user's task: on every endpoint, by every way to name the other."""

from typing import Any

import psycopg
import pytest

from tests.support import TASK_NOT_FOUND, Contract, User


@pytest.fixture
def bobs_task(bob: User, contract: Contract) -> dict[str, Any]:
    return bob.creates(contract, title="Bob's", description="private")


def names_of(user: User, contract: Contract) -> list[dict[str, Any]]:
    """Every place of a request in which a client could name somebody else."""
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


def test_the_list_is_the_owners_alone(ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]) -> None:
    mine = ann.creates(contract)

    for named in names_of(bob, contract):
        answer = ann.get(f"{contract.prefix}/tasks", **named)
        assert (answer.status_code, answer.json()) == (200, {"tasks": [mine]})
    assert bob.get(f"{contract.prefix}/tasks").json() == {"tasks": [bobs_task]}


def test_reading_another_users_task_answers_404(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    for named in names_of(bob, contract):
        answer = ann.get(f"{contract.prefix}/tasks/{bobs_task['id']}", **named)
        assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)


def test_changing_another_users_task_answers_404_and_changes_nothing(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    for named in names_of(bob, contract):
        for body in bodies_naming(bob):
            answer = ann.put(f"{contract.prefix}/tasks/{bobs_task['id']}", body, **named)
            assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)
    assert contract.task(bob.get(f"{contract.prefix}/tasks/{bobs_task['id']}").json()) == bobs_task


def test_deleting_another_users_task_answers_404_and_deletes_nothing(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any]
) -> None:
    for named in names_of(bob, contract):
        answer = ann.delete(f"{contract.prefix}/tasks/{bobs_task['id']}", **named)
        assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)
    assert bob.get(f"{contract.prefix}/tasks").json() == {"tasks": [bobs_task]}


def test_a_new_task_is_the_tokens_users_whoever_else_is_named(ann: User, bob: User, contract: Contract) -> None:
    for named in names_of(bob, contract):
        for body in bodies_naming(bob):
            answer = ann.post(f"{contract.prefix}/tasks", body, **named)
            assert (answer.status_code, contract.task(answer.json())["user_id"]) == (201, ann.id)
    assert bob.get(f"{contract.prefix}/tasks").json() == {"tasks": []}


def test_a_change_does_not_give_a_task_away(ann: User, bob: User, contract: Contract) -> None:
    task = ann.creates(contract)

    for body in bodies_naming(bob):
        changed = contract.task(ann.put(f"{contract.prefix}/tasks/{task['id']}", body).json())
        assert changed["user_id"] == ann.id
    assert bob.get(f"{contract.prefix}/tasks").json() == {"tasks": []}


def test_me_is_the_tokens_user_whoever_else_is_named(ann: User, bob: User, contract: Contract) -> None:
    for named in names_of(bob, contract):
        assert ann.get("/api/auth/me", **named).json()["user"]["id"] == ann.id


def test_another_users_task_a_missing_one_and_no_id_are_one_answer_byte_for_byte(
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


def test_two_users_may_have_tasks_of_the_same_id_and_each_sees_their_own(
    ann: User, bob: User, contract: Contract, bobs_task: dict[str, Any], database: psycopg.Connection
) -> None:
    database.execute("INSERT INTO tasks (user_id, id, title) VALUES (%s, %s, %s)", [ann.id, bobs_task["id"], "Ann's"])
    path = f"{contract.prefix}/tasks/{bobs_task['id']}"

    assert contract.task(ann.get(path).json())["title"] == "Ann's"
    assert contract.task(ann.put(path, {"title": "Ann's still"}).json())["user_id"] == ann.id
    assert ann.delete(path).status_code in {200, 204}
    assert contract.task(bob.get(path).json()) == bobs_task


def test_no_endpoint_of_tasks_answers_without_a_token(ann: User, contract: Contract, bobs_task: dict[str, Any]) -> None:
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
