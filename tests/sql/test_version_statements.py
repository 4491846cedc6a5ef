"""The owner's numbers: which statements take one, on which condition, and what lists changes and deletions by them."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.db import statements
from service.db.database import LOCK_COUNTER
from service.db.statements import Statement
from service.domain.account_changes import BEFORE_ALL_IDS, DELETE_TASKS
from service.domain.change_feed import GET_HISTORY, LIST_CHANGED_TASKS, LIST_DELETED_TASKS
from service.domain.cleanup import EXPIRED_ROWS, FORGET_DELETED_TASKS
from service.domain.task_lists import GET_LIST_VERSION
from service.domain.tasks import CREATE_TASK, FIND_USED_ID, GET_TASK, LIST_TASKS, NO_FIELDS, NO_QUOTA
from tests.sql.owners import TICK, Run, delete, new_task, update

LOWEST_ID = UUID(int=0)
FROM_THE_START = EXPIRED_ROWS["deleted_tasks"].start


def of_older_release(name: str, text: str) -> Statement:
    """Leaves what a release without numbers leaves."""
    header = f"-- name: {name} :exec\n-- A write of a release without numbers.\n-- $1 user_id  uuid\n-- index: none\n"
    return statements.parse(f"tasks/{name}", header + text)


MAKE_TASK = of_older_release(
    "make_task", "INSERT /* tasks/make_task */ INTO tasks (user_id, title)\nVALUES ($1, 'Uncounted')\n"
)
FORGET_NUMBERS = of_older_release(
    "forget_numbers", "UPDATE /* tasks/forget_numbers */ tasks\nSET version = 0\nWHERE user_id = $1\n"
)


@pytest.fixture
def task(run: Run, owner: UUID) -> asyncpg.Record:
    """A task with number 2, the highest of its owner."""
    [task] = update(run, owner, new_task(run, owner), title="Milk")
    assert (task["version"], newest(run, owner)) == (2, 2)
    return task


def newest(run: Run, owner: UUID) -> int:
    [row] = run(GET_LIST_VERSION, user_id=owner)
    assert row["user_id"] == owner
    version: int = row["list_version"]
    return version


def create_with_id(run: Run, owner: UUID, task_id: UUID, **given: Any) -> list[asyncpg.Record]:
    fields = NO_FIELDS | {"user_id": owner, "task_id": task_id, "title": "Own id", "max_tasks": NO_QUOTA}
    return run(CREATE_TASK, **fields | given)


def deletions(run: Run, owner: UUID, after: int = 0, up_to: int = 99, max_rows: int = 99) -> list[dict[str, Any]]:
    found = run(LIST_DELETED_TASKS, user_id=owner, after_version=after, newest=up_to, max_rows=max_rows)
    return [dict(row) for row in found]


def changed_tasks(
    run: Run, owner: UUID, after: int, after_id: UUID = LOWEST_ID, up_to: int = 99, max_rows: int = 99
) -> list[asyncpg.Record]:
    place = {"after_version": after, "after_id": after_id, "newest": up_to}
    return run(LIST_CHANGED_TASKS, user_id=owner, max_rows=max_rows, **place)


def test_each_write_takes_the_next_number_of_its_owner(run: Run, owner: UUID, stranger: UUID) -> None:
    theirs = new_task(run, stranger)
    first, second = new_task(run, owner), new_task(run, owner)
    [changed] = update(run, owner, first, title="Bread")
    assert len(delete(run, owner, second["id"])) == 1
    [own] = create_with_id(run, owner, uuid4())

    assert [row["version"] for row in (first, second, changed, own)] == [1, 2, 3, 5]
    assert deletions(run, owner) == [{"id": second["id"], "user_id": owner, "version": 4}]
    assert (newest(run, owner), newest(run, stranger), theirs["version"]) == (5, 1, 1)


@pytest.mark.parametrize("versions", [["2"], ["1", "2"], ["2", "9"]], ids=str)
def test_update_task_with_the_version_of_the_task_changes_it(
    run: Run, owner: UUID, task: asyncpg.Record, versions: list[str]
) -> None:
    [changed] = update(run, owner, task, versions=versions, title="Bread")

    assert dict(changed) == dict(task) | {"title": "Bread", "version": 3, "updated_at": task["updated_at"] + TICK}
    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [changed]
    assert newest(run, owner) == 3


@pytest.mark.parametrize("versions", [[], ["1"], ["3"], ["0", "1", "3"]], ids=str)
def test_update_task_with_other_versions_returns_no_row_and_takes_no_number(
    run: Run, owner: UUID, task: asyncpg.Record, versions: list[str]
) -> None:
    assert update(run, owner, task, versions=versions, title="Bread") == []

    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [task]
    assert newest(run, owner) == 2


@pytest.mark.parametrize("versions", [["2"], ["1", "2"], ["2", "9"]], ids=str)
def test_delete_task_with_the_version_of_the_task_deletes_it(
    run: Run, owner: UUID, task: asyncpg.Record, versions: list[str]
) -> None:
    assert [dict(row) for row in delete(run, owner, task["id"], versions)] == [{"id": task["id"], "user_id": owner}]

    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == []
    assert deletions(run, owner) == [{"id": task["id"], "user_id": owner, "version": 3}]
    assert newest(run, owner) == 3


@pytest.mark.parametrize("versions", [[], ["1"], ["3"], ["0", "1", "3"]], ids=str)
def test_delete_task_with_other_versions_returns_no_row_and_takes_no_number(
    run: Run, owner: UUID, task: asyncpg.Record, versions: list[str]
) -> None:
    assert delete(run, owner, task["id"], versions) == []

    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [task]
    assert (deletions(run, owner), newest(run, owner)) == ([], 2)


def test_a_write_to_a_task_of_a_stranger_takes_no_number(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    new_task(run, stranger)

    assert update(run, stranger, task, title="Mine") == delete(run, stranger, task["id"]) == []

    assert run(GET_TASK, user_id=owner, task_id=task["id"]) == [task]
    assert (newest(run, owner), newest(run, stranger), deletions(run, stranger)) == (2, 1, [])


def test_the_first_write_of_an_owner_without_a_counter_makes_it_with_number_1(
    run: Run, owner: UUID, stranger: UUID
) -> None:
    for user in (owner, stranger):
        run(MAKE_TASK, user_id=user)
    [ours], [theirs] = (run(LIST_TASKS, user_id=user, max_rows=9) for user in (owner, stranger))
    assert (ours["version"], ours["list_version"]) == (0, 0)

    assert [row["version"] for row in update(run, owner, ours, versions=["0"], title="Bread")] == [1]
    assert len(delete(run, stranger, theirs["id"], versions=["0"])) == 1

    assert (newest(run, owner), newest(run, stranger)) == (1, 1)
    assert deletions(run, stranger) == [{"id": theirs["id"], "user_id": stranger, "version": 1}]


def test_create_task_with_an_id_makes_the_task_under_it_whatever_a_stranger_has(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    new_task(run, stranger)
    theirs, gone = new_task(run, stranger)["id"], new_task(run, stranger)["id"]
    delete(run, stranger, gone)

    [created], [again] = (create_with_id(run, owner, each) for each in (theirs, gone))

    assert [(row["id"], row["user_id"], row["version"]) for row in (created, again)] == [
        (theirs, owner, 3),
        (gone, owner, 4),
    ]
    assert run(GET_TASK, user_id=owner, task_id=theirs) == [created]
    assert newest(run, owner) == 4


def test_create_task_with_the_id_of_a_task_of_the_owner_is_refused(run: Run, owner: UUID, task: asyncpg.Record) -> None:
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        create_with_id(run, owner, task["id"])
    assert refused.value.constraint_name == "tasks_pkey"


def test_find_used_id_finds_a_task_and_a_deleted_one_of_the_owner(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    gone, of_stranger, gone_of_stranger = (new_task(run, user)["id"] for user in (owner, stranger, stranger))
    delete(run, owner, gone)
    delete(run, stranger, gone_of_stranger)

    def used(task_id: UUID) -> list[dict[str, Any]]:
        return [dict(row) for row in run(FIND_USED_ID, user_id=owner, task_id=task_id)]

    assert used(task["id"]) == [{"user_id": owner, "is_deleted": False}]
    assert used(gone) == [{"user_id": owner, "is_deleted": True}]
    assert used(of_stranger) == used(gone_of_stranger) == used(uuid4()) == []


def test_create_task_with_an_id_at_the_quota_returns_no_row_and_takes_no_number(
    run: Run, owner: UUID, task: asyncpg.Record
) -> None:
    own_id = uuid4()

    assert create_with_id(run, owner, own_id, max_tasks=1) == run(GET_TASK, user_id=owner, task_id=own_id) == []
    assert newest(run, owner) == 2
    assert [row["version"] for row in create_with_id(run, owner, own_id, max_tasks=2)] == [3]


def test_lock_counter_makes_the_counter_where_there_is_none_and_changes_no_other(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    for _ in range(2):
        assert [dict(row) for row in run(LOCK_COUNTER, user_id=stranger)] == [{"user_id": stranger, "version": 0}]
        assert [dict(row) for row in run(LOCK_COUNTER, user_id=owner)] == [{"user_id": owner, "version": 2}]

    assert new_task(run, stranger)["version"] == 1  # once it was counted
    room_for_one = [len(create_with_id(run, owner, uuid4(), max_tasks=2)) for _ in range(2)]
    assert room_for_one == [1, 0]


def test_lock_counter_refuses_an_owner_who_is_gone(run: Run) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
        run(LOCK_COUNTER, user_id=uuid4())
    assert refused.value.constraint_name == "task_counters_user_id_fkey"


def test_list_changed_tasks_has_the_owners_tasks_after_a_number_up_to_another(
    run: Run, owner: UUID, stranger: UUID
) -> None:
    first, *later, deleted = (new_task(run, owner) for _ in range(6))
    new_task(run, stranger)
    [moved] = update(run, owner, first, title="Bread")
    delete(run, owner, deleted["id"])

    assert changed_tasks(run, owner, 0) == [*later, moved]  # numbers 2 to 5, and 7
    assert changed_tasks(run, owner, 2, UUID(int=2**128 - 1), up_to=4) == later[1:3]
    assert changed_tasks(run, owner, 5, up_to=6) == later[3:4]
    assert changed_tasks(run, owner, 5, UUID(int=2**128 - 1), up_to=6) == []
    assert changed_tasks(run, owner, 1, max_rows=2) == later[:2]
    assert changed_tasks(run, owner, 7, UUID(int=2**128 - 1)) == changed_tasks(run, stranger, 1, up_to=0) == []


def test_list_changed_tasks_orders_tasks_without_a_number_by_their_ids(run: Run, owner: UUID) -> None:
    ids = sorted(new_task(run, owner)["id"] for _ in range(4))
    run(FORGET_NUMBERS, user_id=owner)
    numbered = new_task(run, owner)["id"]

    assert [row["id"] for row in changed_tasks(run, owner, -1)] == [*ids, numbered]
    assert [row["id"] for row in changed_tasks(run, owner, 0, ids[1])] == [*ids[2:], numbered]
    assert [row["id"] for row in changed_tasks(run, owner, 0, ids[1], up_to=0, max_rows=1)] == [ids[2]]
    assert [row["id"] for row in changed_tasks(run, owner, 0, ids[3], up_to=0)] == []


def test_list_deleted_tasks_has_the_owners_deletions_after_a_number_up_to_another(
    run: Run, owner: UUID, stranger: UUID
) -> None:
    ids = [new_task(run, owner)["id"] for _ in range(4)]
    theirs = new_task(run, stranger)["id"]
    for user, task_id in (*((owner, each) for each in ids), (stranger, theirs)):
        delete(run, user, task_id)

    expected = [{"id": each, "user_id": owner, "version": number} for number, each in enumerate(ids, 5)]
    assert deletions(run, owner) == expected
    assert deletions(run, owner, 5, 7) == expected[1:3]
    assert deletions(run, owner, 5, max_rows=1) == expected[1:2]
    assert deletions(run, owner, 8) == deletions(run, owner, up_to=4) == []
    assert deletions(run, stranger) == [{"id": theirs, "user_id": stranger, "version": 2}]


def test_deleted_tasks_are_forgotten_once_their_time_has_passed(run: Run, owner: UUID, stranger: UUID) -> None:
    run(FORGET_DELETED_TASKS, **FROM_THE_START)
    kept = []
    for user, kept_days in ((owner, -1), (owner, 0), (owner, 1), (stranger, -2), (stranger, 90)):
        task_id = new_task(run, user)["id"]
        delete(run, user, task_id, kept_days=kept_days)
        kept += [task_id] if kept_days >= 0 else []

    # now() stands still: that of 0 days ends now, and has not passed.
    assert [row["deleted"] for row in run(FORGET_DELETED_TASKS, **FROM_THE_START)] == [2]
    assert [row["id"] for user in (owner, stranger) for row in deletions(run, user)] == kept
    assert [row["deleted"] for row in run(FORGET_DELETED_TASKS, **FROM_THE_START)] == [0]


def test_get_history_has_the_owners_highest_number_and_the_history_of_all(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    [ours], [theirs] = (run(GET_HISTORY, user_id=user) for user in (owner, stranger))

    history = {"untold_version": 0, "history_id": theirs["history_id"]}
    assert dict(ours) == {"user_id": owner, "list_version": 2} | history
    assert dict(theirs) == {"user_id": stranger, "list_version": 0} | history
    assert run(GET_HISTORY, user_id=uuid4()) == run(GET_LIST_VERSION, user_id=uuid4()) == []


def test_a_deleted_piece_of_an_account_takes_a_number_up_to_which_deletions_are_untold(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    piece = {"user_id": owner, "token_generation": 0, "after_id": BEFORE_ALL_IDS}

    assert run(DELETE_TASKS, max_tasks=2, **piece) == []
    assert numbers(run, owner) == (2, 0)
    assert [row["id"] for row in run(DELETE_TASKS, max_tasks=1, **piece)] == [task["id"]]
    assert numbers(run, owner) == (3, 3)
    assert numbers(run, stranger) == (0, 0)
    assert deletions(run, owner) == []


def test_a_deleted_piece_of_an_account_without_a_counter_takes_its_first_number(run: Run, owner: UUID) -> None:
    run(MAKE_TASK, user_id=owner)

    assert run(DELETE_TASKS, user_id=owner, token_generation=0, after_id=BEFORE_ALL_IDS, max_tasks=1) != []
    assert numbers(run, owner) == (1, 1)


def numbers(run: Run, user: UUID) -> tuple[int, int]:
    [found] = run(GET_HISTORY, user_id=user)
    return found["list_version"], found["untold_version"]


def test_a_task_of_a_stranger_with_the_same_id_is_neither_changed_nor_deleted(
    run: Run, owner: UUID, stranger: UUID, task: asyncpg.Record
) -> None:
    new_task(run, stranger)
    [theirs] = create_with_id(run, stranger, task["id"])

    assert [row["user_id"] for row in update(run, owner, task, title="Bread")] == [owner]
    assert run(GET_TASK, user_id=stranger, task_id=task["id"]) == [theirs]
    assert [row["user_id"] for row in delete(run, owner, task["id"])] == [owner]
    assert run(GET_TASK, user_id=stranger, task_id=task["id"]) == [theirs]
    assert (newest(run, stranger), deletions(run, stranger)) == (2, [])
