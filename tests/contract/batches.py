"""The operations of a batch, and what it answers."""

from typing import Any

import httpx

from tests.support import User


def batch(user: User, *operations: Any, **headers: str) -> httpx.Response:
    return user.post("/api/tasks/batch", {"operations": list(operations)}, headers=headers)


def create(title: str = "new", **fields: Any) -> dict[str, Any]:
    return {"op": "create", "title": title} | fields


def update(task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"op": "update", "id": task["id"]} | fields


def delete(task: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"op": "delete", "id": task["id"]} | fields


def tasks_of(user: User) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user.get("/api/tasks").json()["tasks"]
    return found


def newest(user: User) -> str:
    return user.get("/api/tasks").headers["ETag"]


def refusal(place: int, code: str, text: str, **more: Any) -> dict[str, Any]:
    return {"error": text, "code": code, "details": [{"field": f"operations[{place}]", "message": text}]} | more
