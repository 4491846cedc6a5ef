"""Batches that are refused: nothing of them is done, and the answer names the operation."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.contract.batches import batch, create, delete, newest, refusal, tasks_of, update
from tests.support import FEBRUARY, SECRET, Service, User, running

OWN_IDS = "id must be a UUID of version 4 or 7"
TWICE = "id must not be used twice in a batch"
LIST_RULE = "Operations must be a list of 1 to 100"


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
        {"op": ["update"], "id": task["id"]},
        update({"id": str(uuid4())}, version=1),
        create("", due_time="09:30", time_zone="Europe/Berlin"),
        create("", due_on="tomorrow", due_time="09:30"),
        create(id="4a8f1d5e-7a3c-11ef-9c1d-0242ac120002"),
    )

    assert answer.status_code == 400
    assert answer.json() == FEBRUARY.invalid(
        ("operations[1].id", OWN_IDS),
        ("operations[1].title", "Title is required"),
        ("operations[1].due_on", "Due date must be a date like 2026-12-24"),
        ("operations[2]", "At least one field is required"),
        ("operations[3].id", "id must be a UUID"),
        ("operations[3].version", "version must be that of a task, such as 5"),
        ("operations[4].id", "id must be a UUID"),
        ("operations[4].version", "version must be that of a task, such as 5"),
        ("operations[5].op", "op must be one of create, update, delete"),
        ("operations[5].id", TWICE),
        ("operations[6].op", "op must be one of create, update, delete"),
        ("operations[7]", "An operation must be an object"),
        ("operations[8].id", OWN_IDS),
        ("operations[9].id", TWICE),
        ("operations[9].version", "version must be that of a task, such as 5"),
        ("operations[10].id", TWICE),
        ("operations[10].version", "version must be that of a task, such as 5"),
        ("operations[11].op", "op must be one of create, update, delete"),
        ("operations[11].id", TWICE),
        ("operations[12]", "At least one field is required"),
        ("operations[13].title", "Title is required"),
        ("operations[13].due_time", "Due time needs a due date"),
        ("operations[14].title", "Title is required"),
        ("operations[14].due_on", "Due date must be a date like 2026-12-24"),
        ("operations[15].id", OWN_IDS),
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

    assert answer.json() == FEBRUARY.invalid(("operations[2].id", TWICE), ("operations[3].id", TWICE))
    assert tasks_of(ann) == [task]


def test_fields_of_a_new_task_that_do_not_fit_together_are_said_of_all_creates(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    answer = batch(
        ann,
        create(due_time="09:30"),
        create(time_zone="Europe/Berlin"),
        create(due_time="09:30", time_zone="Europe/Berlin"),
        create(due_on="2026-12-24", due_time="09:30", time_zone="Europe/Berlin"),
        update(task, due_time="09:30"),  # looked at in the database, once all that is sent is valid
    )

    assert answer.status_code == 400
    assert answer.json() == FEBRUARY.invalid(
        ("operations[0].due_time", "Due time needs a due date"),
        ("operations[1].time_zone", "Time zone needs a due time"),
        ("operations[2].due_time", "Due time needs a due date"),
    )
    assert tasks_of(ann) == [task]


def test_fields_that_do_not_fit_the_task_are_said_of_all_changes(ann: User) -> None:
    task = ann.creates(FEBRUARY, due_on="2026-12-24")
    plain, other = ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    answer = batch(
        ann,
        create(),
        update(task, due_time="09:30"),
        update(plain, time_zone="Europe/Berlin"),
        update(other, due_time="09:30", time_zone="Europe/Berlin"),
    )

    assert answer.status_code == 400
    assert answer.json() == FEBRUARY.invalid(
        ("operations[2].time_zone", "Time zone needs a due time"),
        ("operations[3].due_time", "Due time needs a due date"),
    )
    assert tasks_of(ann) == [other, plain, task]
    assert newest(ann) == 'W/"3"'


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


def test_fields_that_do_not_fit_together_are_said_before_any_other_refusal(ann: User) -> None:
    task, plain, gone = ann.creates(FEBRUARY), ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    ann.delete(f"/api/tasks/{gone['id']}")
    missing, stale, deleted = delete({"id": str(uuid4())}), update(task, title="x", version=7), create(id=gone["id"])
    for unfit in (create(due_time="09:30"), update(plain, due_time="09:30")):
        for before in (missing, stale, deleted):
            answers = [batch(ann, before, unfit), batch(ann, unfit, before)]
            assert [(each.status_code, each.json()) for each in answers] == [
                (400, FEBRUARY.invalid((f"operations[{place}].due_time", "Due time needs a due date")))
                for place in (1, 0)
            ]
    assert tasks_of(ann) == [plain, task]


def test_of_other_refusals_the_first_decides(ann: User) -> None:
    task, gone = ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    ann.delete(f"/api/tasks/{gone['id']}")
    missing, stale, deleted = delete({"id": str(uuid4())}), update(task, title="x", version=7), create(id=gone["id"])
    codes = [
        batch(ann, *operations).json()["code"]
        for operations in ([missing, stale, deleted], [stale, deleted, missing], [deleted, missing, stale])
    ]
    assert codes == ["NOT_FOUND", "PRECONDITION_FAILED", "GONE"]


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


def test_unknown_names_in_operations_are_refused_with_strict_handling(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    other = ann.creates(FEBRUARY)
    operations = [create("x", dueDate="2026-12-24"), delete(task, title="x"), update(task, title="y", is_done=True)]
    changes = [update(other), update({"id": str(uuid4())}, isDone=True)]  # one of nothing, one of an unknown field
    strict = batch(ann, *operations, *changes, Prefer="handling=strict")
    unknown = "is not known here"

    assert strict.status_code == 400
    assert strict.json() == FEBRUARY.invalid(
        ("operations[2].id", TWICE),
        ("operations[3]", "At least one field is required"),
        ("operations[0].dueDate", unknown),
        ("operations[1].title", unknown),
        ("operations[2].is_done", unknown),
        ("operations[4].isDone", unknown),
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
