"""Both contracts share one database: a user reads through one contract a task written through the other."""

from typing import Any

import orjson
import psycopg
import pytest

from tests.contract.planning import NO_PLAN, PLAN
from tests.support import FEBRUARY, JANUARY, PASSWORD, Contract, User, sign_up

# January's contract is frozen: a field of February's that is not among these must not be in its answers.
JANUARY_FIELDS = ("id", "user_id", "title", "description", "completed", "created_at", "updated_at")


def as_january(task: dict[str, object]) -> dict[str, object]:
    """A task of February's contract as January's shows it."""
    return {name: task["is_completed" if name == "completed" else name] for name in JANUARY_FIELDS}


def test_task_written_in_one_contract_is_read_in_the_other(ann: User) -> None:
    task = ann.creates(FEBRUARY, title="Buy milk", description="two litres", **PLAN)

    for answer, expected in (
        (ann.get(f"/v1/api/tasks/{task['id']}"), {"task": as_january(task)}),
        (ann.get("/v1/api/tasks"), {"tasks": [as_january(task)]}),
    ):
        assert answer.content == orjson.dumps(expected)

    toggled = ann.put(f"/v1/api/tasks/{task['id']}", {"completed": True}).json()["task"]
    assert as_january(ann.get(f"/api/tasks/{task['id']}").json()) == toggled

    assert ann.delete(f"/v1/api/tasks/{task['id']}").status_code == 204
    assert ann.get(f"/api/tasks/{task['id']}").status_code == 404


def test_change_through_january_keeps_the_fields_that_it_does_not_know(ann: User) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    for sent in ({"title": "Bread", "description": "rye"}, {}, PLAN | {"due_on": None, "completed_at": None}):
        assert ann.put(f"/v1/api/tasks/{task['id']}", sent).status_code == 200

    found = ann.get(f"/api/tasks/{task['id']}").json()
    # The second and the third change nothing, and so take no number.
    changed = {"title": "Bread", "description": "rye", "version": 2}
    assert found == task | changed | {"updated_at": found["updated_at"]}


def test_task_created_through_january_has_the_defaults_of_the_other_fields(ann: User) -> None:
    task = ann.creates(JANUARY, **PLAN, completed_at="2026-01-01")

    assert ann.get(f"/api/tasks/{task['id']}").json() == {
        "id": task["id"],
        "user_id": ann.id,
        "title": task["title"],
        "description": None,
        "is_completed": False,
        **NO_PLAN,
        "created_at": task["created_at"],
        "updated_at": task["created_at"],
        "completed_at": None,
        "version": 1,
    }


def test_task_completed_through_january_has_its_time_in_february(ann: User) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    def through_january(**fields: object) -> tuple[str, dict[str, Any]]:
        """`updated_at` of January's answer, and the task in February's contract."""
        answer = ann.put(f"/v1/api/tasks/{task['id']}", fields).json()["task"]
        return answer["updated_at"], ann.get(f"/api/tasks/{task['id']}").json()

    completed_at, done = through_january(completed=True)
    completed = {"is_completed": True, "completed_at": completed_at}
    assert done == task | completed | {"updated_at": completed_at, "version": 2}
    for sent in ({"completed": True}, {"title": "Bread"}):
        updated_at, still_done = through_january(**sent)
        assert (still_done["completed_at"], still_done["updated_at"]) == (completed_at, updated_at)
        assert updated_at > completed_at
    assert through_january(completed=False)[1]["completed_at"] is None


def test_completed_at_of_an_open_task_is_not_shown(ann: User, database: psycopg.Connection) -> None:
    """A release that does not know the column leaves it when it opens a task again."""
    task = ann.creates(FEBRUARY)
    change = "UPDATE tasks SET completed_at = '2026-01-31 23:00:00+01', is_completed = %s WHERE id = %s"

    for is_completed, shown in ((False, None), (True, "2026-01-31T22:00:00.000000Z")):
        database.execute(change, [is_completed, task["id"]])
        found = ann.get(f"/api/tasks/{task['id']}").json()
        assert found == task | {"is_completed": is_completed, "completed_at": shown}


def test_account_created_in_one_contract_logs_in_through_the_other(ann: User) -> None:
    for there, here in ((JANUARY, FEBRUARY), (FEBRUARY, JANUARY)):
        user = sign_up(ann.http, there)
        answer = user.http.post(f"{here.prefix}/auth/login", json={"email": user.email, "password": PASSWORD})
        assert (answer.status_code, answer.json()["user"]["id"]) == (200, user.id)
        assert user.get(f"{here.prefix}/tasks").json() == here.list_of()


def test_task_longer_than_a_contracts_limit_is_still_returned_and_updated(ann: User) -> None:
    long_description = ann.creates(FEBRUARY, description="d" * 2000)
    long_title = ann.creates(JANUARY, title="t" * 255)

    assert ann.get(f"/v1/api/tasks/{long_description['id']}").json()["task"]["description"] == "d" * 2000
    assert ann.get(f"/api/tasks/{long_title['id']}").json()["title"] == "t" * 255

    # Only the sent fields are validated.
    assert ann.put(f"/api/tasks/{long_title['id']}", {"is_completed": True}).json()["title"] == "t" * 255


def test_list_of_1001_tasks_returns_the_newest_1000(ann: User, database: psycopg.Connection) -> None:
    database.execute(
        "INSERT INTO tasks (user_id, title, created_at) "
        "SELECT %s, 'task ' || n, now() + n * interval '1 second' FROM generate_series(1, 1001) AS n",
        [ann.id],
    )

    for contract in (FEBRUARY, JANUARY):
        titles = [task["title"] for task in ann.get(f"{contract.prefix}/tasks").json()["tasks"]]
        assert titles == [f"task {n}" for n in range(1001, 1, -1)]


def test_tasks_created_at_the_same_time_are_ordered_by_id(ann: User, database: psycopg.Connection) -> None:
    database.execute("INSERT INTO tasks (user_id, title) SELECT %s, 'task' FROM generate_series(1, 20)", [ann.id])

    for contract in (FEBRUARY, JANUARY):
        ids = [task["id"] for task in ann.get(f"{contract.prefix}/tasks").json()["tasks"]]
        assert len(ids) == 20
        assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("stored", "read"), [("", "000000"), (".5", "500000"), (".01234", "012340"), (".123456", "123456")]
)
def test_timestamp_is_utc_with_six_fractional_digits(
    ann: User, contract: Contract, database: psycopg.Connection, stored: str, read: str
) -> None:
    task = ann.creates(contract)
    times = [f"2026-01-31 23:00:00{stored}+01", f"2026-02-28 00:30:00{stored}+01"]
    database.execute("UPDATE tasks SET created_at = %s, updated_at = %s WHERE id = %s", [*times, task["id"]])

    found = contract.task(ann.get(f"{contract.prefix}/tasks/{task['id']}").json())
    assert found == task | {"created_at": f"2026-01-31T22:00:00.{read}Z", "updated_at": f"2026-02-27T23:30:00.{read}Z"}
