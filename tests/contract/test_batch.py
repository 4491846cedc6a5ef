"""POST /api/tasks/batch: several creates, changes and deletions, all of them or none, with a number each, in order."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.app import BATCHES_AT_ONCE
from tests.databases import Urls
from tests.documents import DOCS, block, section
from tests.outages import is_waiting_for_a_lock, wait_for
from tests.support import FEBRUARY, SECRET, Service, User, running

OWN_IDS = "id must be a UUID of version 4 or 7"
WAITING_SESSIONS = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
LIST_RULE = "Operations must be a list of 1 to 100"


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


def test_operations_are_done_in_order_and_answered_with_their_tasks(ann: User) -> None:
    first, second = ann.creates(FEBRUARY, "first", description="old"), ann.creates(FEBRUARY, "second")
    own_id = str(uuid4())
    answer = batch(
        ann,
        create("third", due_on="2026-12-24", due_time="09:30", time_zone="Europe/Berlin", priority="high", tags=["a"]),
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
    assert {name: third[name] for name in ("title", "due_on", "due_time", "time_zone", "priority", "tags")} == {
        "title": "third", "due_on": "2026-12-24", "due_time": "09:30", "time_zone": "Europe/Berlin",
        "priority": "high", "tags": ["a"],
    }  # fmt: skip
    assert fourth == third | {
        "id": own_id, "title": "fourth", "due_on": None, "due_time": None, "time_zone": None, "priority": "none",
        "tags": [], "version": 6,
    }  # fmt: skip
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
    ],
    ids=str,
)
def test_a_change_in_a_batch_does_what_the_same_put_does(ann: User, change: dict[str, Any]) -> None:
    fields = {
        "description": "two litres", "due_on": "2026-12-24", "due_time": "09:30", "time_zone": "Europe/Berlin",
        "priority": "high", "tags": ["a", "B"],
    }  # fmt: skip
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


@pytest.mark.parametrize(
    "operations", [[], [create()] * 101, {}, "create", None, 1], ids=["none", "101", "object", "text", "null", "number"]
)
def test_operations_are_a_list_of_1_to_100(ann: User, operations: Any) -> None:
    answers = [ann.post("/api/tasks/batch", {"operations": operations}), ann.post("/api/tasks/batch", {})]

    assert [(each.status_code, each.json()) for each in answers] == [
        (400, FEBRUARY.invalid(("operations", LIST_RULE)))
    ] * 2
    assert tasks_of(ann) == []


def test_what_is_invalid_is_said_of_all_operations_at_once_and_nothing_is_done(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    answer = batch(
        ann,
        create("fine"),
        create("", due_on="tomorrow", id="x"),
        update(task),
        update({"id": "x"}, title="x", version="1"),
        delete({"id": None}, version=-1),
        {"op": "upsert", "id": task["id"]},
        {"title": "without op"},
        "no object",
        create(id="4a8f1d5e-7a3c-11ef-9c1d-0242ac120002"),
        delete(task, version=2**63),
        update(task, title="x", version=True),
    )

    assert answer.status_code == 400
    assert answer.json() == FEBRUARY.invalid(
        ("operations[1].title", "Title is required"),
        ("operations[1].due_on", "Due date must be a date like 2026-12-24"),
        ("operations[1].id", OWN_IDS),
        ("operations[2]", "At least one field is required"),
        ("operations[3].id", "id must be a UUID"),
        ("operations[3].version", "version must be that of a task, such as 5"),
        ("operations[4].id", "id must be a UUID"),
        ("operations[4].version", "version must be that of a task, such as 5"),
        ("operations[5].op", "op must be one of create, update, delete"),
        ("operations[6].op", "op must be one of create, update, delete"),
        ("operations[7]", "An operation must be an object"),
        ("operations[8].id", OWN_IDS),
        ("operations[9].version", "version must be that of a task, such as 5"),
        ("operations[10].version", "version must be that of a task, such as 5"),
    )
    assert tasks_of(ann) == [task]


def test_an_id_is_used_once(ann: User) -> None:
    task, own_id = ann.creates(FEBRUARY), str(uuid4())
    answer = batch(
        ann,
        update(task, title="x"),
        create(id=own_id),
        delete({"id": task["id"].upper()}),
        delete({"id": own_id}),
    )
    twice = "id must not be used twice in a batch"

    assert answer.json() == FEBRUARY.invalid(("operations[2].id", twice), ("operations[3].id", twice))
    assert tasks_of(ann) == [task]


def test_fields_that_do_not_fit_together_are_said_of_all_operations(ann: User) -> None:
    task = ann.creates(FEBRUARY, due_on="2026-12-24")
    plain = ann.creates(FEBRUARY)
    answer = batch(
        ann,
        create(due_time="09:30"),
        update(task, due_time="09:30"),
        update(plain, time_zone="Europe/Berlin"),
        create(due_time="09:30", time_zone="Europe/Berlin"),
    )

    assert answer.status_code == 400
    assert answer.json() == FEBRUARY.invalid(
        ("operations[0].due_time", "Due time needs a due date"),
        ("operations[2].time_zone", "Time zone needs a due time"),
        ("operations[3].due_time", "Due time needs a due date"),
    )
    assert tasks_of(ann) == [plain, task]
    assert newest(ann) == 'W/"2"'


@pytest.mark.parametrize("what", ["update", "delete"])
def test_the_first_operation_on_a_task_that_is_not_there_is_404(ann: User, bob: User, what: str) -> None:
    of_bob, gone = bob.creates(FEBRUARY), ann.creates(FEBRUARY)
    ann.delete(f"/api/tasks/{gone['id']}")
    for missing in (of_bob, gone, {"id": str(uuid4())}):
        operation = update(missing, title="x") if what == "update" else delete(missing)
        other = delete({"id": str(uuid4())})
        answer = batch(ann, create(), operation, other)
        assert (answer.status_code, answer.json()) == (404, refusal(1, "NOT_FOUND", "Task not found"))
    assert tasks_of(ann) == []
    assert tasks_of(bob) == [of_bob]
    assert newest(ann) == 'W/"2"'


def test_an_operation_on_another_version_is_412_with_the_task(ann: User) -> None:
    task, other = ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    changed = ann.put(f"/api/tasks/{task['id']}", {"title": "by the other device"}).json()
    expected = refusal(1, "PRECONDITION_FAILED", "The task has changed", current=changed)
    for operation in (update(task, title="x", version=1), delete(task, version=1), update(task, title="x", version=0)):
        answer = batch(ann, delete(other), operation, create())
        assert (answer.status_code, answer.json()) == (412, expected)
    assert tasks_of(ann) == [other, changed]


def test_a_create_under_a_used_id_is_412_and_under_a_deleted_one_410(ann: User, bob: User) -> None:
    task, gone = ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    ann.delete(f"/api/tasks/{gone['id']}")
    used = batch(ann, create(), create(id=task["id"]))
    deleted = batch(ann, create(), create(id=gone["id"]), create(id=task["id"]))
    by_bob = batch(bob, create(id=task["id"]), create(id=gone["id"]))

    assert (used.status_code, used.json()) == (
        412, refusal(1, "PRECONDITION_FAILED", "The task has changed", current=task),
    )  # fmt: skip
    assert (deleted.status_code, deleted.json()) == (410, refusal(1, "GONE", "The task was deleted"))
    assert by_bob.status_code == 200
    assert tasks_of(ann) == [task]


def test_the_first_refusal_decides(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    missing = delete({"id": str(uuid4())})
    unfit, stale = create(due_time="09:30"), update(task, title="x", version=7)
    codes = [
        batch(ann, *operations).json()["code"]
        for operations in ([missing, unfit, stale], [unfit, missing], [stale, missing, unfit])
    ]
    assert codes == ["NOT_FOUND", "VALIDATION_ERROR", "PRECONDITION_FAILED"]


@pytest.fixture(scope="module")
def small(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a limit of three tasks."""
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "TASKS_PER_USER": 3}
    with running(tmp_path_factory.mktemp("small"), **settings) as service:
        yield service


def test_the_quota_holds_at_each_operation(small: Service, ann: User) -> None:
    user = User(small.http, ann.id, ann.email, ann.token)
    text = "You have reached the limit of 3 tasks"
    made = [user.creates(FEBRUARY) for _ in range(2)]
    over = batch(user, create(), create(), delete(made[0]))
    in_order = batch(user, create(), delete(made[0]), create())
    again = batch(user, create())

    assert (over.status_code, over.json()) == (409, refusal(1, "QUOTA_EXCEEDED", text))
    assert in_order.status_code == 200
    assert (again.status_code, again.json()) == (409, refusal(0, "QUOTA_EXCEEDED", text))
    assert len(tasks_of(user)) == 3
    assert newest(user) == 'W/"5"'


def test_tasks_that_were_never_counted_are_counted_at_the_first_batch(
    small: Service, ann: User, database: psycopg.Connection
) -> None:
    user = User(small.http, ann.id, ann.email, ann.token)
    database.execute("INSERT INTO tasks (user_id, title) SELECT %s, 'x' FROM generate_series(1, 2)", [ann.id])

    assert batch(user, create(), create()).status_code == 409
    assert batch(user, create()).status_code == 200
    [[count]] = database.execute("SELECT task_count FROM task_counters WHERE user_id = %s", [ann.id])
    assert count == 3


def test_batches_that_meet_in_opposite_order_never_deadlock(new_user: Callable[[], User]) -> None:
    user = new_user()
    tasks = [user.creates(FEBRUARY) for _ in range(10)]

    def write(number: int) -> int:
        order = tasks if number % 2 else tasks[::-1]
        return batch(user, *(update(task, title=f"by {number}") for task in order)).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(40))) == {200}
    now = tasks_of(user)
    assert len({task["title"] for task in now}) == 1  # all tasks are as one batch has left them
    assert newest(user) == 'W/"410"'


def test_batches_and_single_writes_of_one_user_leave_no_gap_and_no_double_number(new_user: Callable[[], User]) -> None:
    user = new_user()
    task = user.creates(FEBRUARY)

    def write(number: int) -> int:
        if number % 2:
            return user.put(f"/api/tasks/{task['id']}", {"title": str(number)}).status_code
        return batch(user, create(str(number)), update(task, title=str(number)), create("x")).status_code

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(write, range(40))) == {200}
    versions = [each["version"] for each in user.get("/api/changes").json()["changes"]]

    assert newest(user) == f'W/"{1 + 20 + 3 * 20}"'
    assert len(set(versions)) == 41 == len(versions)


def test_batches_of_a_user_that_wait_hold_up_no_batch_of_another_user(
    ann: User, bob: User, database: psycopg.Connection, urls: Urls
) -> None:
    ann.creates(FEBRUARY)
    with (
        psycopg.connect(urls.admin, autocommit=True) as observer,  # a transaction would see the same sessions each time
        ThreadPoolExecutor(2 * BATCHES_AT_ONCE) as threads,
    ):
        with database.transaction():
            database.execute("SELECT FROM task_counters WHERE user_id = %s FOR UPDATE", [ann.id])
            waiting = [threads.submit(batch, ann, create()) for _ in range(2 * BATCHES_AT_ONCE)]
            wait_for(lambda: is_waiting_for_a_lock(observer))
            sessions = {observer.execute(WAITING_SESSIONS).rowcount for _ in range(500)}
            answer = batch(bob, create())
            assert (answer.status_code, [each.done() for each in waiting]) == (200, [False] * len(waiting))
        assert max(sessions) <= 1
        assert {each.result().status_code for each in waiting} == {200}


def test_unknown_names_in_operations_are_refused_with_strict_handling(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    operations = [create("x", dueDate="2026-12-24"), delete(task, title="x"), update(task, title="y", is_done=True)]
    strict = batch(ann, *operations, Prefer="handling=strict")
    unknown = "is not known here"

    assert strict.status_code == 400
    assert strict.json() == FEBRUARY.invalid(
        ("operations[2].id", "id must not be used twice in a batch"),
        ("operations[0].dueDate", unknown),
        ("operations[1].title", unknown),
        ("operations[2].is_done", unknown),
    )
    assert batch(ann, *operations[:2]).status_code == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_its_path_has_no_other_method(ann: User, method: str) -> None:
    answer = ann.request(method, "/api/tasks/batch", json={"title": "x"})
    assert (answer.status_code, answer.json(), answer.headers.get("Allow")) == (
        405, {"error": "Method not allowed", "code": "METHOD_NOT_ALLOWED"}, "POST, OPTIONS",
    )  # fmt: skip


def test_a_batch_without_a_token_or_of_a_user_who_is_gone_is_401(ann: User, database: psycopg.Connection) -> None:
    assert ann.http.post("/api/tasks/batch", json={"operations": [create()]}).status_code == 401
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])
    answer = batch(ann, create())
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")


def test_january_has_no_batch(ann: User) -> None:
    answer = ann.post("/v1/api/tasks/batch", {"operations": [create()]})
    assert answer.status_code == 405
    assert tasks_of(ann) == []
