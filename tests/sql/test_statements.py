"""Each statement alone, as its file stands, in a transaction that is rolled back."""

import importlib
import itertools
import pkgutil
from datetime import UTC, timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

import service
from service.cli.user import COUNT_TASKS
from service.db import statements
from service.domain.account_changes import (
    BEFORE_ALL_IDS,
    DELETE_TASKS,
)
from service.domain.change_feed import LIST_CHANGED_TASKS
from service.domain.cleanup import FORGET_ATTEMPTS
from service.domain.rate_limits import COUNT_ATTEMPT, GET_WAIT, TAKE_BACK_ATTEMPT
from service.domain.task_lists import GET_TASKS, SORTS
from service.domain.tasks import (
    CREATE_TASK,
    GET_TASK,
    LIST_TASKS,
    LIST_TASKS_AFTER,
    NO_FIELDS,
    RECOUNT_TASKS,
    UPDATE_TASK,
)
from tests.sql.owners import Run, delete, new_task

TASK_COLUMNS = [name for name, _ in GET_TASK.columns]
LIST_VERSION = ("list_version", "bigint")


def test_create_task_makes_an_open_task_of_the_owner(run: Run, owner: UUID) -> None:
    task = new_task(run, owner)

    assert list(task.keys()) == TASK_COLUMNS
    assert (task["user_id"], task["title"], task["description"]) == (owner, "Buy milk", "two litres")
    assert task["is_completed"] is False
    assert task["created_at"] == task["updated_at"]


def test_create_task_refuses_an_owner_who_is_gone(run: Run) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
        new_task(run, uuid4())
    assert refused.value.constraint_name == "task_counters_user_id_fkey"


def test_the_first_create_of_an_owner_makes_the_counter_and_no_task(run: Run, owner: UUID) -> None:
    given = NO_FIELDS | {"user_id": owner, "title": "x", "max_tasks": 1}

    assert run(CREATE_TASK, **given) == run(CREATE_TASK, **given) == run(LIST_TASKS, user_id=owner, max_rows=9) == []
    assert recounted(run, owner) == [0]
    assert len(run(CREATE_TASK, **given)) == 1
    assert run(CREATE_TASK, **given) == []
    assert len(run(LIST_TASKS, user_id=owner, max_rows=9)) == 1


def test_a_deleted_task_leaves_room_for_one_and_a_missing_one_for_none(run: Run, owner: UUID, stranger: UUID) -> None:
    given = NO_FIELDS | {"user_id": owner, "title": "x", "max_tasks": 2}
    first, *_ = new_task(run, owner), new_task(run, owner)
    other = new_task(run, stranger)

    for task_id in (uuid4(), other["id"]):
        assert delete(run, owner, task_id) == run(CREATE_TASK, **given) == []
    assert len(delete(run, owner, first["id"])) == 1
    assert delete(run, owner, first["id"]) == []
    assert len(run(CREATE_TASK, **given)) == 1
    assert run(CREATE_TASK, **given) == []


def test_tasks_are_recounted_once_a_minute_and_count_for_their_owner_alone(
    run: Run, owner: UUID, stranger: UUID
) -> None:
    for user in (owner, owner, stranger):
        new_task(run, user)

    assert recounted(run, owner) == []
    assert run(RECOUNT_TASKS, user_id=uuid4()) == []


def test_delete_tasks_takes_whole_pieces_in_the_order_of_ids(run: Run, owner: UUID, stranger: UUID) -> None:
    ids = sorted(new_task(run, owner)["id"] for _ in range(5))
    kept = new_task(run, stranger)
    given = {"user_id": owner, "token_generation": 0, "max_tasks": 2}

    assert run(DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given | {"token_generation": 1}) == []
    assert run(DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given | {"max_tasks": 6}) == []
    assert [row["id"] for row in run(DELETE_TASKS, after_id=BEFORE_ALL_IDS, **given)] == [ids[1]]
    assert [row["id"] for row in run(DELETE_TASKS, after_id=ids[1], **given)] == [ids[3]]
    assert run(DELETE_TASKS, after_id=ids[3], **given) == []
    assert [row["id"] for row in run(LIST_TASKS, user_id=owner, max_rows=9)] == [ids[4]]
    assert [dict(row) for row in run(LIST_TASKS, user_id=stranger, max_rows=9)] == [dict(kept) | {"list_version": 1}]
    room_for_one = NO_FIELDS | {"user_id": owner, "title": "x", "max_tasks": 2}
    assert [len(run(CREATE_TASK, **room_for_one)) for _ in range(2)] == [1, 0]


def recounted(run: Run, owner: UUID) -> list[int]:
    return [row["task_count"] for row in run(RECOUNT_TASKS, user_id=owner)]


def test_list_tasks_returns_the_owners_newest_first_up_to_a_limit(run: Run, owner: UUID, stranger: UUID) -> None:
    # In one transaction now() stands still, so the ids decide.
    ids = sorted((new_task(run, owner)["id"] for _ in range(3)), reverse=True)
    new_task(run, stranger)

    assert [row["id"] for row in run(LIST_TASKS, user_id=owner, max_rows=1000)] == ids
    assert [row["id"] for row in run(LIST_TASKS, user_id=owner, max_rows=2)] == ids[:2]
    assert list(run(LIST_TASKS, user_id=owner, max_rows=1)[0].keys()) == [*TASK_COLUMNS, "list_version"]


def test_list_tasks_after_starts_after_a_task(run: Run, owner: UUID, stranger: UUID) -> None:
    # In one transaction now() stands still, so the ids decide.
    tasks = sorted((new_task(run, owner) for _ in range(5)), key=lambda task: task["id"], reverse=True)

    def after(user: UUID, task: asyncpg.Record, max_rows: int) -> list[asyncpg.Record]:
        place = {"created_at": task["created_at"], "task_id": task["id"]}
        return run(LIST_TASKS_AFTER, user_id=user, max_rows=max_rows, **place)

    assert after(owner, tasks[0], 9) == tasks[1:]
    assert after(owner, tasks[1], 2) == tasks[2:4]
    assert after(owner, tasks[4], 9) == after(stranger, tasks[0], 9) == []


def test_every_statement_that_returns_tasks_begins_with_the_columns_of_get_task_in_its_order() -> None:
    """The contracts read the columns of a task by the positions in get_task."""
    for statement in (CREATE_TASK, UPDATE_TASK, LIST_TASKS_AFTER, GET_TASKS, LIST_CHANGED_TASKS):
        assert statement.columns == GET_TASK.columns
    for statement in (LIST_TASKS, *(sort.statement for sort in SORTS.values())):
        assert statement.columns == (*GET_TASK.columns, LIST_VERSION)


def test_count_tasks_counts_the_owners(run: Run, owner: UUID, stranger: UUID) -> None:
    for _ in range(3):
        new_task(run, owner)

    assert [row["task_count"] for row in run(COUNT_TASKS, user_id=owner)] == [3]
    assert [row["task_count"] for row in run(COUNT_TASKS, user_id=stranger)] == [0]


def test_get_task_needs_the_owner(run: Run, owner: UUID, stranger: UUID) -> None:
    task = new_task(run, owner)

    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [task]
    assert run(GET_TASK, user_id=stranger, task_id=task["id"]) == []


def test_delete_task_needs_the_owner_and_returns_the_id(run: Run, owner: UUID, stranger: UUID) -> None:
    task = new_task(run, owner)

    assert delete(run, stranger, task["id"]) == []
    [gone] = delete(run, owner, task["id"])
    assert dict(gone) == {"id": task["id"], "user_id": owner}
    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == []


def test_attempts_are_counted_up_to_the_limit_and_taken_back_one_by_one(run: Run) -> None:
    # In one transaction now() stands still, so all have one time, and the window ends for all at once.
    bucket, other = b"a" * 32, b"b" * 32
    limit = {"most": 2, "window": timedelta(minutes=15)}
    assert run(GET_WAIT, bucket=bucket, **limit) == []

    first, second = (run(COUNT_ATTEMPT, bucket=bucket, **limit) for _ in range(2))
    assert first == second
    assert [row["attempted_at"].tzinfo for row in first] == [UTC]
    assert run(COUNT_ATTEMPT, bucket=bucket, **limit) == []
    assert [row["remaining"] for row in run(GET_WAIT, bucket=bucket, **limit)] == [timedelta(minutes=15)]
    assert len(run(COUNT_ATTEMPT, bucket=other, **limit)) == 1
    assert len(run(COUNT_ATTEMPT, bucket=bucket, most=3, window=limit["window"])) == 1

    run(TAKE_BACK_ATTEMPT, bucket=bucket, attempted_at=first[0]["attempted_at"] - timedelta(microseconds=1))
    assert run(COUNT_ATTEMPT, bucket=bucket, **limit) == []
    assert [counted(run, bucket), counted(run, other)] == [3, 1]
    for left in (2, 1, 0, 0):
        run(TAKE_BACK_ATTEMPT, bucket=bucket, attempted_at=first[0]["attempted_at"])
        assert [counted(run, bucket), counted(run, other)] == [left, 1]


def counted(run: Run, bucket: bytes) -> int:
    """The number of counted attempts: the smallest limit that is not reached, minus one."""
    for most in itertools.count(1):
        [row] = run(GET_WAIT, bucket=bucket, most=most, window=timedelta(minutes=15))
        if row["remaining"] is None:
            return most - 1
    raise AssertionError


def test_attempts_of_another_time_do_not_count_and_only_the_newest_are_kept(run: Run) -> None:
    bucket = b"a" * 32
    hour, instant = timedelta(hours=1), timedelta(0)
    for _ in range(5):
        assert len(run(COUNT_ATTEMPT, bucket=bucket, most=3, window=instant)) == 1

    assert [row["remaining"] for row in run(GET_WAIT, bucket=bucket, most=3, window=hour)] == [hour]
    assert [row["remaining"] for row in run(GET_WAIT, bucket=bucket, most=4, window=hour)] == [None]


def test_attempts_are_forgotten_when_their_time_is_over(run: Run) -> None:
    over, going_on, renewed = b"a" * 32, b"b" * 32, b"c" * 32
    for bucket, seconds in ((over, 0), (going_on, 1), (renewed, 0), (renewed, 1)):
        run(COUNT_ATTEMPT, bucket=bucket, most=2, window=timedelta(seconds=seconds))

    run(FORGET_ATTEMPTS)

    limit = {"most": 1, "window": timedelta(minutes=1)}
    assert run(GET_WAIT, bucket=over, **limit) == []
    assert len(run(GET_WAIT, bucket=going_on, **limit)) == len(run(GET_WAIT, bucket=renewed, **limit)) == 1


def test_every_file_is_used_and_read_as_it_stands() -> None:
    for module in pkgutil.walk_packages(service.__path__, "service."):
        if module.name != "service.__main__":  # it serves
            importlib.import_module(module.name)
    on_disk = {name: (statements.SQL / f"{name}.sql").read_text() for name in statements.names()}

    used = {name: statements.loaded(text.removesuffix(";\n") + "\n") for name, text in on_disk.items()}

    assert {name: found and found.name for name, found in used.items()} == {name: name for name in on_disk}
