"""The fields of a task: as create_task stores them, and as update_task changes them."""

from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from service.db import statements
from service.domain.tasks import GET_TASK, LIST_TASKS, LOWER_TAGS
from tests.sql.owners import TICK, Run, new_task, update

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
PLAN: dict[str, Any] = {
    "due_on": date(2026, 12, 24),
    "due_time": time(9, 30),
    "time_zone": "Europe/Berlin",
    "priority": 3,
    "tags": '["home", "garden"]',
}

# In the transaction of a test now() stands still, so a time before it is written by a statement of the test.
COMPLETE_LONG_AGO = statements.parse(
    "tasks/complete_long_ago",
    """\
-- name: complete_long_ago :exec
-- A task that was completed at another time than now().
-- $1 user_id       uuid
-- $2 task_id       uuid
-- $3 completed_at  timestamptz
-- index: none
UPDATE /* tasks/complete_long_ago */ tasks
SET is_completed = TRUE, completed_at = $3
WHERE user_id = $1 AND id = $2
""",
)


def test_create_task_without_other_fields_has_the_defaults_of_the_columns(run: Run, owner: UUID) -> None:
    task = new_task(run, owner)

    assert {name: task[name] for name in PLAN} == {
        "due_on": None,
        "due_time": None,
        "time_zone": None,
        "priority": 0,
        "tags": "[]",
    }
    assert task["completed_at"] is None


def test_create_task_keeps_every_field_for_its_owner(run: Run, owner: UUID, stranger: UUID) -> None:
    task = new_task(run, owner, **PLAN)

    assert {name: task[name] for name in PLAN} == PLAN
    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [task]
    assert run(LIST_TASKS, user_id=stranger, max_rows=9) == []


def test_a_time_zone_that_the_server_does_not_know_is_an_invalid_parameter(run: Run, owner: UUID) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError):
        new_task(run, owner, **PLAN | {"time_zone": "Nowhere/Town"})


def test_update_to_a_time_zone_that_the_server_does_not_know_is_an_invalid_parameter(run: Run, owner: UUID) -> None:
    task = new_task(run, owner, **PLAN)

    with pytest.raises(asyncpg.InvalidParameterValueError):
        update(run, owner, task, time_zone="Nowhere/Town")


@pytest.mark.parametrize(
    "change",
    [
        {"title": "Bread"},
        {"description": "rye"},
        {"description": None},
        {"due_on": date(2027, 1, 1)},
        {"due_time": time(23, 59)},
        {"time_zone": "UTC"},
        {"time_zone": None},
        {"due_on": None, "due_time": None, "time_zone": None},
        {"priority": 0},
        {"tags": "[]"},
        {"tags": '["home"]'},
        {"tags": '["b", "a"]'},
        {"title": "Bread", "description": None},
    ],
    ids=str,
)
def test_update_task_changes_the_flagged_fields_and_nothing_else(run: Run, owner: UUID, change: dict[str, Any]) -> None:
    task = new_task(run, owner, **PLAN)
    other = new_task(run, owner)

    [changed] = update(run, owner, task, **change)

    version = 3  # after those of the two creates
    assert dict(changed) == dict(task) | change | {"version": version, "updated_at": task["updated_at"] + TICK}
    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [changed]
    assert run(GET_TASK, user_id=owner, task_id=other["id"]) == [other]


def test_update_task_sets_completed_at_when_the_task_becomes_completed(run: Run, owner: UUID) -> None:
    task = new_task(run, owner)

    [done] = update(run, owner, task, is_completed=True)

    now = task["updated_at"] + TICK
    assert dict(done) == dict(task) | {"is_completed": True, "completed_at": now, "updated_at": now, "version": 2}


def test_update_task_keeps_completed_at_until_the_task_becomes_open(run: Run, owner: UUID) -> None:
    task = new_task(run, owner)
    run(COMPLETE_LONG_AGO, user_id=owner, task_id=task["id"], completed_at=LONG_AGO)

    for change in ({"is_completed": True}, {"title": "Bread"}, {"priority": 1}):
        [still_done] = update(run, owner, task, **change)
        assert (still_done["is_completed"], still_done["completed_at"]) == (True, LONG_AGO)

    [opened] = update(run, owner, task, is_completed=False)
    assert (opened["is_completed"], opened["completed_at"]) == (False, None)
    [again] = update(run, owner, task, is_completed=True)
    assert again["completed_at"] == opened["updated_at"] + TICK


def test_lower_tags_lowers_the_texts_of_a_list_and_leaves_it_json(run: Run, owner: UUID) -> None:
    tags = ["b", "A", "Ä\n", '"\\N', "\x1f\x7f", "\\U0041", "\u00c9", "E\u0301"]

    [row] = run(LOWER_TAGS, user_id=owner, tags=orjson.dumps(tags).decode())

    expected = ["b", "a", "ä\n", '"\\n', "\x1f\x7f", "\\u0041", "\u00e9", "e\u0301"]
    assert (list(row.keys()), orjson.loads(row["lowered"])) == (["lowered"], expected)


def test_update_task_needs_the_owner(run: Run, owner: UUID, stranger: UUID) -> None:
    task = new_task(run, owner)

    assert update(run, stranger, task, title="Mine") == []
    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [task]
