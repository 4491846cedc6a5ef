"""Account operations: change the password, log out, log out everywhere, delete the account."""

from typing import Any

import httpx
import psycopg
import pytest

from tests.support import FEBRUARY, JANUARY, NOT_FOUND, PASSWORD, User, sign_up

NEW_PASSWORD = "battery staple"
REVOKED = {"error": "Authentication token is invalid", "code": "INVALID_TOKEN"}


def invalid(*details: tuple[str, str]) -> dict[str, Any]:
    return FEBRUARY.invalid(*details)


def logs_in(user: User, password: str) -> int:
    return user.http.post("/api/auth/login", json={"email": user.email, "password": password}).status_code


def change(user: User, current: object = PASSWORD, new: object = NEW_PASSWORD) -> httpx.Response:
    return user.post("/api/auth/password", {"current_password": current, "new_password": new})


def test_password_change_returns_a_new_token_and_revokes_all_others(ann: User) -> None:
    me = ann.get("/api/auth/me").json()["user"]
    login = ann.http.post("/api/auth/login", json={"email": ann.email, "password": PASSWORD}).json()["token"]

    answer = change(ann)

    body = answer.json()
    assert (answer.status_code, body) == (200, {"token": body["token"], "user": me})
    for token in (ann.token, login):
        for path in ("/api/auth/me", "/api/tasks", "/api/tasks/no-id"):
            refused = User(ann.http, ann.id, ann.email, token).get(path)
            assert (refused.status_code, refused.json()) == (401, REVOKED)
    assert User(ann.http, ann.id, ann.email, body["token"]).get("/api/auth/me").json() == {"user": me}
    assert (logs_in(ann, PASSWORD), logs_in(ann, NEW_PASSWORD)) == (401, 200)


def test_password_change_with_a_wrong_current_password_returns_400_and_changes_nothing(ann: User) -> None:
    for current in (NEW_PASSWORD, PASSWORD + " ", PASSWORD.upper(), "a" * 73, "é" * 100):
        answer = change(ann, current)
        assert (answer.status_code, answer.json()) == (
            400, invalid(("current_password", "Current password is wrong")),
        )  # fmt: skip

    assert ann.get("/api/auth/me").status_code == 200
    assert logs_in(ann, PASSWORD) == 200


@pytest.mark.parametrize(
    ("current", "new", "details"),
    [
        (PASSWORD, "short", [("new_password", "New password must be at least 8 characters")]),
        (PASSWORD, "é" * 37, [("new_password", "New password must not exceed 72 bytes")]),
        (PASSWORD, "nul\0nul nul", [("new_password", "New password contains a character that cannot be stored")]),
        (None, None, [
            ("current_password", "Current password is required"), ("new_password", "New password is required"),
        ]),
        (1, ["x"], [
            ("current_password", "Current password must be a string"),
            ("new_password", "New password must be a string"),
        ]),
        ("", "", [
            ("current_password", "Current password is required"), ("new_password", "New password is required"),
        ]),
        ("wrong horse", "short", [("new_password", "New password must be at least 8 characters")]),
    ],
)  # fmt: skip
def test_new_password_that_breaks_a_sign_up_rule_returns_400(
    ann: User, current: object, new: object, details: list[tuple[str, str]]
) -> None:
    answer = change(ann, current, new)

    assert (answer.status_code, answer.json()) == (400, invalid(*details))
    assert ann.get("/api/auth/me").status_code == 200


def test_logout_returns_204_with_any_token_or_none(http: httpx.Client, ann: User) -> None:
    for headers in ({}, {"Authorization": f"Bearer {ann.token}"}, {"Authorization": "nonsense"}, {"Cookie": "a=b"}):
        for body in (b"", b"{}", b"\xff not json"):
            answer = http.post("/api/auth/logout", headers=headers, content=body)
            assert (answer.status_code, answer.content) == (204, b"")
            assert "Content-Type" not in answer.headers
    assert ann.get("/api/auth/me").status_code == 200


def test_logout_all_revokes_every_token_issued_before_it_and_none_after(ann: User, bob: User) -> None:
    login = {"email": ann.email, "password": PASSWORD}
    tokens = [ann.token, *(ann.http.post("/api/auth/login", json=login).json()["token"] for _ in range(2))]
    users = [User(ann.http, ann.id, ann.email, token) for token in tokens]
    assert [user.get("/api/tasks").status_code for user in users] == [200] * 3

    answer = ann.post("/api/auth/logout-all")

    assert (answer.status_code, answer.content) == (204, b"")
    for user in users:
        for refused in (
            user.get("/api/tasks"),
            user.post("/api/tasks", {"title": "x"}),
            user.post("/api/auth/logout-all"),
        ):
            assert (refused.status_code, refused.json()) == (401, REVOKED)
        assert user.get("/v1/api/tasks").json() == {"error": "Unauthorized", "code": "INVALID_TOKEN"}
    after = ann.http.post("/api/auth/login", json=login).json()["token"]
    assert User(ann.http, ann.id, ann.email, after).get("/api/tasks").status_code == 200
    assert bob.get("/api/tasks").status_code == 200


def test_account_deletion_removes_tasks_revokes_tokens_and_frees_the_email(
    ann: User, bob: User, database: psycopg.Connection
) -> None:
    ann.creates(FEBRUARY)
    kept = bob.creates(JANUARY)

    answer = ann.delete("/api/auth/me", json={"password": PASSWORD})

    assert (answer.status_code, answer.content) == (204, b"")
    for path in ("/api/auth/me", "/api/tasks", "/api/tasks/no-id", "/api/auth/me/export"):
        refused = ann.get(path)
        assert (refused.status_code, refused.json()) == (401, REVOKED)
    counted = "SELECT (SELECT count(*) FROM users WHERE id = %s), (SELECT count(*) FROM tasks WHERE user_id = %s)"
    assert database.execute(counted, [ann.id, ann.id]).fetchone() == (0, 0)
    assert logs_in(ann, PASSWORD) == 401
    assert bob.get("/v1/api/tasks").json() == {"tasks": [kept]}
    again = sign_up(ann.http, email=ann.email)
    assert (again.id != ann.id, again.get("/api/tasks").json()) == (True, FEBRUARY.list_of())


def test_account_deletion_without_the_right_password_returns_400_and_deletes_nothing(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    for body, status, expected in (
        ({"password": "wrong horse"}, 400, invalid(("password", "Password is wrong"))),
        ({}, 400, invalid(("password", "Password is required"))),
        ({"password": 1}, 400, invalid(("password", "Password must be a string"))),
        ([PASSWORD], 400, {"error": "Request body must be a JSON object", "code": "INVALID_REQUEST"}),
    ):
        answer = ann.delete("/api/auth/me", json=body)
        assert (answer.status_code, answer.json()) == (status, expected)
    without = ann.delete("/api/auth/me")
    assert (without.status_code, without.json()["code"]) == (400, "INVALID_REQUEST")
    assert ann.get("/api/tasks").json() == FEBRUARY.list_of(task)


def test_account_operations_of_february_return_404_in_january(ann: User) -> None:
    for method, path in (
        ("POST", "password"), ("POST", "logout"), ("POST", "logout-all"), ("DELETE", "me"), ("GET", "me/export"),
    ):  # fmt: skip
        answer = ann.request(method, f"/v1/api/auth/{path}")
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/auth/password"), ("POST", "/api/auth/logout-all"), ("DELETE", "/api/auth/me"),
        ("GET", "/api/auth/me/export"),
    ],
)  # fmt: skip
def test_account_operations_without_a_token_return_401_before_the_body_is_read(
    http: httpx.Client, method: str, path: str
) -> None:
    answer = http.request(method, path, content=b"not json")

    assert (answer.status_code, answer.json()) == (
        401, {"error": "Invalid or missing authentication token", "code": "UNAUTHORIZED"},
    )  # fmt: skip
