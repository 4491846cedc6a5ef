"""The planning fields together: set, changed, cleared, and refused where they do not fit; and completed_at."""

from typing import Any

import pytest

from service.api.models import NewTask
from tests.contract.planning import NO_PLAN, PLAN, changed, read
from tests.support import FEBRUARY, User

TIME_NEEDS_DATE = "Due time needs a due date"
ZONE_NEEDS_TIME = "Time zone needs a due time"


def test_the_tests_know_every_planning_field() -> None:
    assert [*PLAN] == [*NO_PLAN] == [name for name in NewTask.model_fields if name not in {"title", "description"}]


def test_all_fields_are_set_at_creation_and_listed(ann: User) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    assert task == task | PLAN
    assert read(ann, task) == task
    assert ann.get("/api/tasks").json()["tasks"] == [task]
    assert ann.get("/api/auth/me/export").json()["tasks"] == [task]


def test_null_at_creation_is_as_absent(ann: User) -> None:
    task = ann.creates(FEBRUARY, due_on=None, due_time=None, time_zone=None)

    assert task == task | NO_PLAN


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"due_time": "09:30"}, ("due_time", TIME_NEEDS_DATE)),
        ({"due_time": "09:30", "due_on": None}, ("due_time", TIME_NEEDS_DATE)),
        ({"due_time": "09:30", "time_zone": "UTC"}, ("due_time", TIME_NEEDS_DATE)),
        ({"time_zone": "UTC"}, ("time_zone", ZONE_NEEDS_TIME)),
        ({"time_zone": "UTC", "due_on": "2026-12-24"}, ("time_zone", ZONE_NEEDS_TIME)),
        ({"time_zone": "UTC", "due_on": "2026-12-24", "due_time": None}, ("time_zone", ZONE_NEEDS_TIME)),
    ],
)
def test_fields_that_do_not_fit_together_return_400_on_create_and_update(
    ann: User, sent: dict[str, Any], message: tuple[str, str]
) -> None:
    task = ann.creates(FEBRUARY)

    for answer in (ann.post("/api/tasks", {"title": "x", **sent}), ann.put(f"/api/tasks/{task['id']}", sent)):
        assert (answer.status_code, answer.json()) == (400, FEBRUARY.invalid(message))
    assert ann.get("/api/tasks").json()["tasks"] == [task]


@pytest.mark.parametrize(
    ("sent", "after"),
    [
        ({"due_on": "2027-01-01"}, {"due_on": "2027-01-01"}),
        ({"due_time": "10:00"}, {"due_time": "10:00"}),
        ({"time_zone": "UTC"}, {"time_zone": "UTC"}),
        ({"time_zone": None}, {"time_zone": None}),
        ({"due_time": None, "time_zone": None}, {"due_time": None, "time_zone": None}),
        ({"due_on": None}, {"due_on": None, "due_time": None, "time_zone": None}),
        ({"due_on": None, "due_time": None}, {"due_on": None, "due_time": None, "time_zone": None}),
        ({"due_on": None, "time_zone": None}, {"due_on": None, "due_time": None, "time_zone": None}),
        ({"priority": "none"}, {"priority": "none"}),
        ({"tags": []}, {"tags": []}),
        ({"tags": ["other"]}, {"tags": ["other"]}),
        ({"title": "Bread", "is_completed": False}, {"title": "Bread"}),
        (NO_PLAN, NO_PLAN),
    ],
    ids=str,
)
def test_update_changes_the_sent_fields_and_a_cleared_date_clears_time_and_zone(
    ann: User, sent: dict[str, Any], after: dict[str, Any]
) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    now = changed(ann, task, **sent)

    assert now == task | after | {"updated_at": now["updated_at"], "version": 2}
    assert now["updated_at"] > task["updated_at"]


def test_a_new_task_is_told_of_fields_that_do_not_fit_beside_every_other_error(ann: User) -> None:
    answer = ann.post("/api/tasks", {"title": "", "due_time": "09:30", "time_zone": "UTC", "priority": "urgent"})
    of_invalid = ann.post("/api/tasks", {"title": "x", "due_on": "tomorrow", "due_time": "09:30", "time_zone": "UTC"})

    assert answer.json() == FEBRUARY.invalid(
        ("title", "Title is required"),
        ("due_time", TIME_NEEDS_DATE),
        ("priority", "Priority must be one of none, low, medium, high"),
    )
    assert of_invalid.json() == FEBRUARY.invalid(("due_on", "Due date must be a date like 2026-12-24"))


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"due_time": None}, ("time_zone", ZONE_NEEDS_TIME)),
        ({"due_on": None, "due_time": "10:00"}, ("due_time", TIME_NEEDS_DATE)),
        ({"due_on": None, "time_zone": "UTC"}, ("time_zone", ZONE_NEEDS_TIME)),
        ({"due_on": None, "due_time": "10:00", "time_zone": "UTC"}, ("due_time", TIME_NEEDS_DATE)),
    ],
    ids=str,
)
def test_rules_between_fields_are_judged_on_the_task_after_the_change(
    ann: User, sent: dict[str, Any], message: tuple[str, str]
) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    answer = ann.put(f"/api/tasks/{task['id']}", sent)

    assert (answer.status_code, answer.json()) == (400, FEBRUARY.invalid(message))
    assert read(ann, task) == task


def test_fields_that_complete_each_other_may_come_one_after_the_other(ann: User) -> None:
    task = ann.creates(FEBRUARY, due_on="2026-12-24")

    assert changed(ann, task, due_time="09:30")["due_time"] == "09:30"
    assert changed(ann, task, time_zone="Asia/Tokyo")["time_zone"] == "Asia/Tokyo"


def test_refusal_of_another_users_task_is_404_whatever_the_fields(ann: User, bob: User) -> None:
    task = ann.creates(FEBRUARY)

    answer = bob.put(f"/api/tasks/{task['id']}", {"due_time": "09:30"})

    assert answer.status_code == 404
    assert read(ann, task) == task


def test_completed_at_is_the_time_at_which_the_task_became_completed(ann: User) -> None:
    task = ann.creates(FEBRUARY, completed_at="2020-01-01T00:00:00.000000Z")
    assert task["completed_at"] is None

    done = changed(ann, task, is_completed=True)
    completed = {"is_completed": True, "completed_at": done["updated_at"]}
    assert done == task | completed | {"updated_at": done["updated_at"], "version": 2}

    for sent in ({"is_completed": True}, {"title": "Bread", "completed_at": None}, PLAN):
        now = changed(ann, task, **sent)
        assert now["completed_at"] == done["completed_at"]
        assert now["updated_at"] > done["updated_at"]

    opened = changed(ann, task, is_completed=False)
    assert (opened["is_completed"], opened["completed_at"]) == (False, None)
    assert changed(ann, task, title="Milk")["completed_at"] is None

    again = changed(ann, task, is_completed=True)
    assert again["completed_at"] == again["updated_at"] > done["completed_at"]


def test_completed_at_alone_is_an_unknown_field(ann: User) -> None:
    task = ann.creates(FEBRUARY)

    answer = ann.put(f"/api/tasks/{task['id']}", {"completed_at": "2020-01-01T00:00:00.000000Z"})

    assert (answer.status_code, answer.json()) == (400, FEBRUARY.invalid(("body", "At least one field is required")))
