"""January's contract, frozen, as its frontend sees it: each request beside its whole answer."""

import httpx

from tests.support import NOT_FOUND, TASK_NOT_FOUND, User, new_email


def test_sign_up_returns_201_with_a_token_and_a_user_of_two_fields(http: httpx.Client) -> None:
    email = new_email()

    answer = http.post("/v1/api/auth/signup", json={"email": email, "password": "password"})

    body = answer.json()
    assert (answer.status_code, body) == (
        201,
        {"token": body["token"], "user": {"id": body["user"]["id"], "email": email}},
    )


def test_login_returns_200_with_the_body_of_the_sign_up(http: httpx.Client) -> None:
    given = {"email": new_email(), "password": "password"}
    signed_up = http.post("/v1/api/auth/signup", json=given).json()

    answer = http.post("/v1/api/auth/login", json=given)

    assert (answer.status_code, answer.json()) == (
        200,
        {"token": answer.json()["token"], "user": signed_up["user"]},
    )


def test_me_returns_404(ann: User) -> None:
    answer = ann.get("/v1/api/auth/me")

    assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


def test_create_task_returns_the_wrapped_task_without_a_location(ann: User) -> None:
    answer = ann.post("/v1/api/tasks", {"title": " Buy milk ", "description": ""})

    task = answer.json()["task"]
    assert (answer.status_code, answer.json()) == (
        201,
        {
            "task": {
                "id": task["id"],
                "user_id": ann.id,
                "title": "Buy milk",
                "description": None,
                "completed": False,
                "created_at": task["created_at"],
                "updated_at": task["created_at"],
            }
        },
    )
    assert "Location" not in answer.headers


def test_list_returns_unwrapped_tasks_newest_first(ann: User) -> None:
    first, second = (ann.post("/v1/api/tasks", {"title": title}).json()["task"] for title in ("first", "second"))

    answer = ann.get("/v1/api/tasks")

    assert (answer.status_code, answer.json()) == (200, {"tasks": [second, first]})


def test_get_task_returns_the_wrapped_task(ann: User) -> None:
    created = ann.post("/v1/api/tasks", {"title": "Buy milk"}).json()

    answer = ann.get(f"/v1/api/tasks/{created['task']['id']}")

    assert (answer.status_code, answer.json()) == (200, created)


def test_update_of_completed_returns_the_wrapped_task(ann: User) -> None:
    task = ann.post("/v1/api/tasks", {"title": "Buy milk"}).json()["task"]

    answer = ann.put(f"/v1/api/tasks/{task['id']}", {"completed": True})

    changed = answer.json()["task"]
    assert (answer.status_code, answer.json()) == (
        200,
        {"task": task | {"completed": True, "updated_at": changed["updated_at"]}},
    )
    assert changed["updated_at"] > task["updated_at"]


def test_empty_update_changes_nothing_not_even_updated_at(ann: User) -> None:
    created = ann.post("/v1/api/tasks", {"title": "Buy milk"}).json()

    for sent in ({}, {"is_completed": True}, {"user_id": ann.id}):
        answer = ann.put(f"/v1/api/tasks/{created['task']['id']}", sent)
        assert (answer.status_code, answer.json()) == (200, created)


def test_empty_update_of_a_missing_task_returns_404(ann: User) -> None:
    answer = ann.put("/v1/api/tasks/00000000-0000-4000-8000-000000000000", {})

    assert (answer.status_code, answer.json()) == (404, TASK_NOT_FOUND)


def test_delete_task_returns_204_without_a_body(ann: User) -> None:
    task = ann.post("/v1/api/tasks", {"title": "Buy milk"}).json()["task"]

    answer = ann.delete(f"/v1/api/tasks/{task['id']}")

    assert (answer.status_code, answer.content) == (204, b"")
    assert "Content-Type" not in answer.headers
    assert ann.get("/v1/api/tasks").json() == {"tasks": []}


def test_validation_error_has_the_message_of_the_first_invalid_field(http: httpx.Client) -> None:
    answer = http.post("/v1/api/auth/signup", json={"email": "nobody", "password": "short"})

    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "Invalid email format",
            "code": "VALIDATION_ERROR",
            "details": [
                {"field": "email", "message": "Invalid email format"},
                {"field": "password", "message": "Password must be at least 8 characters"},
            ],
        },
    )


def test_login_with_a_missing_field_returns_email_and_password_required(http: httpx.Client) -> None:
    answer = http.post("/v1/api/auth/login", json={"email": "ann@example.com", "password": ""})

    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "Email and password required",
            "code": "VALIDATION_ERROR",
            "details": [{"field": "password", "message": "Password is required"}],
        },
    )


def test_login_with_fields_of_the_wrong_type_returns_400_for_each_field(http: httpx.Client) -> None:
    answer = http.post("/v1/api/auth/login", json={"email": 1, "password": ["x"]})

    assert (answer.status_code, answer.json()) == (
        400,
        {
            "error": "Email must be a string",
            "code": "VALIDATION_ERROR",
            "details": [
                {"field": "email", "message": "Email must be a string"},
                {"field": "password", "message": "Password must be a string"},
            ],
        },
    )
