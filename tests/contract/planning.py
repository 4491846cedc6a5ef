"""A task with every planning field, which February's contract alone has."""

from typing import Any

from tests.support import User

PLAN: dict[str, Any] = {
    "due_on": "2026-12-24",
    "due_time": "09:30",
    "time_zone": "Europe/Berlin",
    "priority": "high",
    "tags": ["home", "Garden"],
}
NO_PLAN: dict[str, Any] = {"due_on": None, "due_time": None, "time_zone": None, "priority": "none", "tags": []}


def read(ann: User, task: dict[str, Any]) -> Any:
    return ann.get(f"/api/tasks/{task['id']}").json()


def changed(ann: User, task: dict[str, Any], **fields: Any) -> Any:
    """The task after a change, which must have changed these fields, `updated_at` and `version`."""
    answer = ann.put(f"/api/tasks/{task['id']}", fields)
    assert answer.status_code == 200, answer.text
    assert read(ann, task) == answer.json()
    return answer.json()
