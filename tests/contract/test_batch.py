"""POST /api/tasks/batch: several creates, changes and deletions, all of them or none, with a number each, in order."""

import json
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.contract.batches import batch, create, delete, newest, tasks_of, update
from tests.contract.planning import NO_PLAN, PLAN
from tests.documents import DOCS, block, section
from tests.support import FEBRUARY, User


def test_operations_are_done_in_order_and_answered_with_their_tasks(ann: User) -> None:
    first, second = ann.creates(FEBRUARY, "first", description="old"), ann.creates(FEBRUARY, "second")
    own_id = str(uuid4())
    answer = batch(
        ann,
        create("third", **PLAN),
        update(first, is_completed=True, description=None, version=1),
        delete(second),
        create("fourth", id=own_id),
    )
    results = answer.json()["results"]
    third_id = results[0]["id"]
    third, changed, fourth = (ann.get(f"/api/tasks/{each}").json() for each in (third_id, first["id"], own_id))

    assert answer.status_code == 200
    assert results == [
        {"op": "create", "id": third_id, "version": 3, "task": third},
        {"op": "update", "id": first["id"], "version": 4, "task": changed},
        {"op": "delete", "id": second["id"], "version": 5, "task": None},
        {"op": "create", "id": own_id, "version": 6, "task": fourth},
    ]
    assert [third["version"], changed["version"], fourth["version"]] == [3, 4, 6]
    assert changed == first | {
        "is_completed": True, "description": None, "version": 4,
        "updated_at": changed["updated_at"], "completed_at": changed["updated_at"],
    }  # fmt: skip
    assert third == third | PLAN | {"title": "third"}
    assert fourth == third | NO_PLAN | {"id": own_id, "title": "fourth", "version": 6}
    assert ann.get(f"/api/tasks/{second['id']}").status_code == 404
    assert newest(ann) == 'W/"6"'


@pytest.mark.parametrize(
    "change",
    [
        {"title": "changed"},
        {"description": None},
        {"description": "new"},
        {"is_completed": True},
        {"is_completed": False},
        {"due_on": "2027-01-01"},
        {"due_on": None},
        {"due_time": None, "time_zone": None},
        {"due_time": "10:00", "time_zone": None},
        {"time_zone": "Asia/Tokyo"},
        {"priority": "none"},
        {"tags": []},
        {"tags": ["B", "b", "C", "\u00c4", "\u00e4"]},
        {"title": "  trimmed  ", "tags": [" x "]},
        NO_PLAN,
    ],
    ids=str,
)
def test_a_change_in_a_batch_does_what_the_same_put_does(ann: User, change: dict[str, Any]) -> None:
    fields = {"description": "two litres", **PLAN}
    one, other = ann.creates(FEBRUARY, "task", **fields), ann.creates(FEBRUARY, "task", **fields)
    if change == {"is_completed": False}:
        one, other = (ann.put(f"/api/tasks/{each['id']}", {"is_completed": True}).json() for each in (one, other))
    single = ann.put(f"/api/tasks/{one['id']}", change).json()
    answer = batch(ann, update(other, **change))
    [result] = answer.json()["results"]
    ours = ("id", "version", "created_at", "updated_at", "completed_at")

    assert answer.status_code == 200
    assert {name: value for name, value in result["task"].items() if name not in ours} == {
        name: value for name, value in single.items() if name not in ours
    }
    assert (result["task"]["completed_at"] is None) == (single["completed_at"] is None)
    assert result["task"]["updated_at"] > other["updated_at"]
    assert result["task"] == ann.get(f"/api/tasks/{other['id']}").json()


def test_the_batch_of_the_documents_is_done(ann: User) -> None:
    [changed, gone] = (ann.creates(FEBRUARY) for _ in range(2))
    for _ in range(3):
        ann.put(f"/api/tasks/{changed['id']}", {"title": "x"})
    body = json.loads(block(section(DOCS / "frontends.md", "Several writes at once"), "json"))
    create_it, update_it, delete_it = body["operations"]
    update_it["id"], delete_it["id"] = changed["id"], gone["id"]
    answer = ann.post("/api/tasks/batch", body)

    assert (answer.status_code, [each["op"] for each in answer.json()["results"]]) == (
        200,
        ["create", "update", "delete"],
    )
    assert {task["title"] for task in tasks_of(ann)} == {create_it["title"], "x"}


def test_a_task_that_stays_completed_keeps_the_time_of_its_completion(ann: User, database: psycopg.Connection) -> None:
    task = ann.creates(FEBRUARY)
    done = ann.put(f"/api/tasks/{task['id']}", {"is_completed": True}).json()
    still = batch(ann, update(task, is_completed=True, title="x")).json()["results"][0]["task"]
    open_again = batch(ann, update(task, is_completed=False)).json()["results"][0]["task"]
    [[stored]] = database.execute("SELECT completed_at FROM tasks WHERE id = %s", [task["id"]])

    assert done["completed_at"] == still["completed_at"] != still["updated_at"]
    assert open_again["completed_at"] is stored is None


def test_100_operations_are_the_most(ann: User) -> None:
    answer = batch(ann, *(create(f"task {number}") for number in range(100)))

    assert [each["version"] for each in answer.json()["results"]] == list(range(1, 101))
    assert [each["task"]["title"] for each in answer.json()["results"]] == [f"task {number}" for number in range(100)]
    assert len(tasks_of(ann)) == 100
