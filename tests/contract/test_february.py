"""February's contract as its clients see it: each request beside its whole answer."""

import re

import httpx
import jwt

from service import VERSION
from tests.contract.planning import NO_PLAN
from tests.support import FEBRUARY, SECRET, TASK_NOT_FOUND, User, new_email

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_sign_up_returns_201_with_a_token_and_the_user(http: httpx.Client) -> None:
    email = new_email()

    answer = http.post("/api/auth/signup", json={"email": f" {email.upper()} ", "password": "8 blanks"})

    assert answer.status_code == 201
    body = answer.json()
    assert body == {
        "token": body["token"],
        "user": {"id": body["user"]["id"], "email": email, "created_at": body["user"]["created_at"]},
    }
    assert UUID4.fullmatch(body["user"]["id"])
    assert TIMESTAMP.fullmatch(body["user"]["created_at"])


def test_token_holds_user_expiry_and_generation_and_no_issuer(http: httpx.Client) -> None:
    email = new_email()

    body = http.post("/api/auth/signup", json={"email": email, "password": "password"}).json()

    claims = jwt.decode(body["token"], SECRET, ["HS256"])
    assert claims == {
        "sub": body["user"]["id"],
        "user_id": body["user"]["id"],
        "email": email,
        "gen": 0,
        "iat": claims["iat"],
        "exp": claims["iat"] + 24 * 3600,
    }


def test_login_returns_200_with_the_body_of_the_sign_up(http: httpx.Client) -> None:
    given = {"email": new_email(), "password": "password"}
    signed_up = http.post("/api/auth/signup", json=given).json()

    answer = http.post("/api/auth/login", json=given)

    assert answer.status_code == 200
    assert answer.json() == {"token": answer.json()["token"], "user": signed_up["user"]}


def test_me_returns_the_user_of_the_token(http: httpx.Client) -> None:
    signed_up = http.post("/api/auth/signup", json={"email": new_email(), "password": "password"}).json()

    answer = http.get("/api/auth/me", headers={"Authorization": f"Bearer {signed_up['token']}"})

    assert (answer.status_code, answer.json()) == (200, {"user": signed_up["user"]})


def test_create_task_returns_201_with_the_unwrapped_task_and_its_location(ann: User) -> None:
    answer = ann.post("/api/tasks", {"title": "  Buy milk ", "description": " two litres "})

    assert answer.status_code == 201
    task = answer.json()
    assert task == {
        "id": task["id"],
        "user_id": ann.id,
        "title": "Buy milk",
        "description": "two litres",
        "is_completed": False,
        **NO_PLAN,
        "created_at": task["created_at"],
        "updated_at": task["created_at"],
        "completed_at": None,
        "version": 1,
    }
    assert UUID4.fullmatch(task["id"])
    assert TIMESTAMP.fullmatch(task["created_at"])
    assert answer.headers["Location"] == f"/api/tasks/{task['id']}"
    assert ann.get(answer.headers["Location"]).json() == task


def test_list_returns_tasks_newest_first(ann: User) -> None:
    assert ann.get("/api/tasks").json() == FEBRUARY.list_of()
    first, second = (ann.post("/api/tasks", {"title": title}).json() for title in ("first", "second"))

    answer = ann.get("/api/tasks")

    assert (answer.status_code, answer.json()) == (200, FEBRUARY.list_of(second, first))


def test_get_task_accepts_the_id_in_either_case(ann: User) -> None:
    task = ann.post("/api/tasks", {"title": "Buy milk"}).json()

    for spelling in (task["id"], task["id"].upper(), f"{task['id']}/"):
        answer = ann.get(f"/api/tasks/{spelling}")
        assert (answer.status_code, answer.json()) == (200, task)


def test_update_changes_only_the_sent_fields_updated_at_and_version(ann: User) -> None:
    task = ann.post("/api/tasks", {"title": "Buy milk", "description": "two litres"}).json()

    answer = ann.put(f"/api/tasks/{task['id']}", {"is_completed": True})

    changed = answer.json()
    assert (answer.status_code, changed) == (
        200,
        task
        | {
            "is_completed": True,
            "updated_at": changed["updated_at"],
            "completed_at": changed["updated_at"],
            "version": 2,
        },
    )
    assert changed["updated_at"] > task["updated_at"]
    assert ann.get(f"/api/tasks/{task['id']}").json() == changed


def test_update_of_all_fields_keeps_id_owner_and_created_at(ann: User) -> None:
    task = ann.post("/api/tasks", {"title": "Buy milk"}).json()

    sent = {
        "title": " Bread ",
        "description": " rye ",
        "is_completed": True,
        "due_on": "2026-12-24",
        "due_time": "09:30",
        "time_zone": "Europe/Berlin",
        "priority": "low",
        "tags": [" home "],
    }
    unknown = {"id": "x", "user_id": "x", "created_at": 1}
    changed = ann.put(f"/api/tasks/{task['id']}", sent | unknown).json()

    assert changed == task | sent | {
        "title": "Bread",
        "description": "rye",
        "tags": ["home"],
        "updated_at": changed["updated_at"],
        "completed_at": changed["updated_at"],
        "version": 2,
    }


def test_null_or_blank_description_clears_it_and_an_absent_one_keeps_it(ann: User) -> None:
    for clearing in (None, "", " \u3000\t"):
        task = ann.post("/api/tasks", {"title": "Buy milk", "description": "two litres"}).json()
        kept = ann.put(f"/api/tasks/{task['id']}", {"title": "Milk"}).json()
        cleared = ann.put(f"/api/tasks/{task['id']}", {"description": clearing}).json()
        assert (kept["description"], cleared["description"]) == ("two litres", None)


def test_update_without_a_known_field_returns_400(ann: User) -> None:
    task = ann.post("/api/tasks", {"title": "Buy milk"}).json()

    for sent in ({}, {"completed": True}, {"user_id": ann.id, "id": "x"}):
        answer = ann.put(f"/api/tasks/{task['id']}", sent)
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "error": "Validation failed",
                "code": "VALIDATION_ERROR",
                "details": [{"field": "body", "message": "At least one field is required"}],
            },
        )
    assert ann.get(f"/api/tasks/{task['id']}").json() == task


def test_delete_task_returns_200_with_the_id_and_the_task_is_gone(ann: User) -> None:
    task = ann.post("/api/tasks", {"title": "Buy milk"}).json()

    answer = ann.delete(f"/api/tasks/{task['id']}")

    assert (answer.status_code, answer.json()) == (
        200,
        {"message": "Task deleted successfully", "id": task["id"]},
    )
    for again in (ann.delete(f"/api/tasks/{task['id']}"), ann.get(f"/api/tasks/{task['id']}")):
        assert (again.status_code, again.json()) == (404, TASK_NOT_FOUND)


def test_root_returns_name_version_and_path_of_the_documentation(http: httpx.Client) -> None:
    answer = http.get("/")

    assert (answer.status_code, answer.json()) == (200, {"name": "todo", "version": VERSION, "docs": "/docs"})
