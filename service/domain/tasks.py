"""Create, list, read, update and delete tasks, the same for both contracts. No HTTP here.

The owner's id is the first argument after the database in every function.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias, TypeVar, get_args
from uuid import UUID

import orjson

from service.db.database import Database, Row, Transaction
from service.db.statements import Statement, statement
from service.domain.idempotency import Answer, AnswerOnce
from service.domain.users import require_user
from service.errors import Code, FieldError, LimitReached, Problem
from service.formats import parse_uuid

CREATE_TASK = statement("tasks/create_task", "one")
FIND_USED_ID = statement("tasks/find_used_id", "one")
RECOUNT_TASKS = statement("tasks/recount_tasks", "one")
LIST_TASKS = statement("tasks/list_tasks", "many")
LIST_TASKS_AFTER = statement("tasks/list_tasks_after", "many")
LOWER_TAGS = statement("tasks/lower_tags", "one")
GET_TASK = statement("tasks/get_task", "one")
UPDATE_TASK = statement("tasks/update_task", "one")
DELETE_TASK = statement("tasks/delete_task", "one")

LIST_LIMIT = 1000
TASKS_OF_A_USER = "tasks of a user"  # the quota as a limit in the metrics
NO_QUOTA = 2**63 - 1  # tasks; the largest bigint

Priority: TypeAlias = Literal["none", "low", "medium", "high"]
PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # the database has the position
Versions: TypeAlias = list[str] | None  # numbers as texts, of which a task must have one; None: it may have any
OWN_ID_VERSIONS = {4, 7}  # of UUIDs: random ones, and those that begin with the time
NOT_AN_OWN_ID = "id must be a UUID of version 4 or 7"
SPARE_DAYS = 1  # the clock of this process may not be that of the database
NO_TAGS = "[]"  # in the form in which tags go to the database and come back: as JSON
TASK_NOT_FOUND = "Task not found"

Result = TypeVar("Result")

# The parameters of the statements that come from a request, each with the value for a request that does not send it. At
# creation that is NULL, or what the column has by default; a change has a flag for each, `set_title` for `title`.
NO_FIELDS: dict[str, Any] = {
    name: None for name, _ in CREATE_TASK.parameters if name not in {"user_id", "max_tasks"}
} | {"priority": PRIORITIES.index("none"), "tags": NO_TAGS}
NO_CHANGES: dict[str, Any] = {
    name: value
    for flag, _ in UPDATE_TASK.parameters
    if flag.startswith("set_")
    for name, value in ((flag, False), (flag.removeprefix("set_"), None))
}


class TaskChanged(Problem):
    """The task has another version than the client expects. `current` is the task as it is."""

    def __init__(self, current: Row, details: Sequence[FieldError] = ()) -> None:
        super().__init__(Code.PRECONDITION_FAILED, details=details)
        self.current = current


@dataclass(frozen=True, slots=True)
class Changes:
    """The fields of a request that changes a task, by column name. None clears a field. Without its date a task has no
    due time and no time zone either, unless the request sends them: the database refuses those."""

    sent: dict[str, Any]

    def values(self) -> dict[str, Any]:
        if self.sent.get("due_on", ...) is None:
            return {"due_time": None, "time_zone": None} | self.sent
        return self.sent

    def flags_and_values(self) -> dict[str, Any]:
        changed = self.values()
        return {f"set_{field}": True for field in changed} | changed


def columns_reader(*names: str) -> Callable[[Row], tuple[Any, ...]]:
    """A function that reads these columns of a task's row. Every statement that returns tasks begins with the same
    columns: those of tasks/get_task (`-- -> as` in their headers)."""
    return GET_TASK.columns_reader(*names)


async def create_task(database: Database, user_id: UUID, fields: dict[str, Any], max_tasks: int = NO_QUOTA) -> Row:
    """QUOTA_EXCEEDED when the owner has `max_tasks` already. INVALID_TOKEN when the owner was deleted: the foreign key
    refuses the row. VALIDATION_ERROR when the fields do not fit together: a CHECK refuses the row."""
    stored = await _stored(database, user_id, fields)

    async def create() -> Row | None:
        values = NO_FIELDS | stored | {"user_id": user_id, "max_tasks": max_tasks}
        return await database.one(CREATE_TASK, **values)

    created = await create()
    if created is None:
        await database.one(RECOUNT_TASKS, user_id=user_id)  # or another request has counted them meanwhile
        created = await create()
    return _within_quota(created, max_tasks)


async def create_task_once(
    database: Database, user_id: UUID, fields: dict[str, Any], max_tasks: int, once: AnswerOnce[Row]
) -> Answer:
    """As create_task. The answer is kept for a repetition."""
    stored = await _stored(database, user_id, fields)

    async def work(transaction: Transaction) -> Answer | None:
        async def write() -> Row | None:
            values = NO_FIELDS | stored | {"user_id": user_id, "max_tasks": max_tasks}
            return await transaction.one(CREATE_TASK, **values)

        return await once.answer(transaction, user_id, partial(write_counted, transaction, user_id, write))

    return _within_quota(await database.in_locked_transaction(user_id, work), max_tasks)


async def create_task_with_id(
    database: Database, user_id: UUID, task_id: str, fields: dict[str, Any], max_tasks: int = NO_QUOTA
) -> Row:
    """As create_task, under an id that the client chose: a UUID of version 4 or 7. TaskChanged when the owner has a
    task with this id, GONE when it was deleted. Tasks of other users do not count."""
    own_id = parse_uuid(task_id)
    if own_id is None:
        return await _found(database, user_id, None)
    if own_id.version not in OWN_ID_VERSIONS:
        raise Problem(Code.VALIDATION_ERROR, details=[FieldError("id", NOT_AN_OWN_ID)])
    stored = await _stored(database, user_id, fields)

    async def work(transaction: Transaction) -> Row | None:
        used = await transaction.one(FIND_USED_ID, user_id=user_id, task_id=own_id)
        if used is not None and used["is_deleted"]:
            raise Problem(Code.GONE)
        if used is not None:
            raise TaskChanged(await transaction.require_one(GET_TASK, user_id=user_id, task_id=own_id))

        async def write() -> Row | None:
            values = NO_FIELDS | stored | {"user_id": user_id, "task_id": own_id, "max_tasks": max_tasks}
            return await transaction.one(CREATE_TASK, **values)

        return await write_counted(transaction, user_id, write)

    return _within_quota(await database.in_locked_transaction(user_id, work), max_tasks)


async def list_tasks(
    database: Database, user_id: UUID, after: Row | None = None, max_rows: int = LIST_LIMIT
) -> list[Row]:
    """The newest tasks first: from the start, or from behind the task `after` on."""
    if after is None:
        rows = await database.many(LIST_TASKS, user_id=user_id, max_rows=max_rows)
    else:
        begin = {"created_at": after["created_at"], "task_id": after["id"]}
        rows = await database.many(LIST_TASKS_AFTER, user_id=user_id, max_rows=max_rows, **begin)
    if not rows:
        await require_user(database, user_id)  # a deleted account has no tasks either, and must get 401
    return rows


async def get_task(database: Database, user_id: UUID, task_id: str) -> Row:
    """NOT_FOUND if it does not exist, belongs to another user, or `task_id` is not a UUID."""
    task_uuid = parse_uuid(task_id)
    row = None if task_uuid is None else await database.one(GET_TASK, user_id=user_id, task_id=task_uuid)
    return await _found(database, user_id, row)


async def update_task(
    database: Database, user_id: UUID, task_id: str, changes: Changes, versions: Versions = None
) -> Row:
    """NOT_FOUND as in get_task. VALIDATION_ERROR as in create_task, judged on the task as it would be after the change.
    TaskChanged when its version is none of `versions`. Without any change the task stays as it is, `updated_at` and
    `version` included."""
    if not changes.sent:
        return await get_task(database, user_id, task_id)
    values = NO_CHANGES | await _stored(database, user_id, changes.flags_and_values())
    return await _write(database, UPDATE_TASK, user_id, task_id, versions, **values)


async def delete_task(
    database: Database, user_id: UUID, task_id: str, changes_days: int, versions: Versions = None
) -> Row:
    """NOT_FOUND and TaskChanged as in update_task. The id is kept for longer than any cursor of changes is good."""
    return await _write(database, DELETE_TASK, user_id, task_id, versions, kept_days=changes_days + SPARE_DAYS)


async def _stored(database: Database, user_id: UUID, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields in the form of the database: a priority is its position, and tags are JSON, each of them once."""
    values = dict(fields)
    if "priority" in values:
        values["priority"] = PRIORITIES.index(values["priority"])
    if "tags" in values:
        values["tags"] = orjson.dumps(await _distinct(database, user_id, values["tags"])).decode()
    return values


async def _distinct(database: Database, user_id: UUID, tags: list[str]) -> list[str]:
    """The first of tags that differ in case alone. PostgreSQL decides: Python's lower() differs on some letters."""
    if len(tags) < 2:
        return tags
    row = await database.require_one(LOWER_TAGS, user_id=user_id, tags=orjson.dumps(tags).decode())
    lowered: list[str] = orjson.loads(row["lowered"])
    first: dict[str, str] = {}
    for key, tag in zip(lowered, tags, strict=True):
        first.setdefault(key, tag)
    return list(first.values())


async def _write(
    database: Database, statement: Statement, user_id: UUID, task_id: str, versions: Versions, **values: object
) -> Row:
    task_uuid, row = parse_uuid(task_id), None
    if task_uuid is not None:
        row = await database.one(statement, user_id=user_id, task_id=task_uuid, versions=versions, **values)
        if row is None and versions is not None:
            current = await database.one(GET_TASK, user_id=user_id, task_id=task_uuid)
            if current is not None:
                raise TaskChanged(current)
    return await _found(database, user_id, row)


async def _found(database: Database, user_id: UUID, row: Row | None) -> Row:
    if row is None:
        await require_user(database, user_id)
        raise Problem(Code.NOT_FOUND, TASK_NOT_FOUND)
    return row


async def write_counted(
    transaction: Transaction, user_id: UUID, write: Callable[[], Awaitable[Result | None]]
) -> Result | None:
    """`write` returns None, and has written nothing, when the owner has as many tasks as they may, or when they were
    not counted yet: they are counted, at most once a minute, and it is tried again."""
    written = await write()
    if written is None and await transaction.one(RECOUNT_TASKS, user_id=user_id) is not None:
        written = await write()
    return written


def _within_quota(created: Result | None, max_tasks: int) -> Result:
    if created is None:
        raise over_quota(max_tasks)
    return created


def over_quota(max_tasks: int, details: Sequence[FieldError] = ()) -> Problem:
    problem = LimitReached(TASKS_OF_A_USER, Code.QUOTA_EXCEEDED, f"You have reached the limit of {max_tasks} tasks")
    problem.details = details
    return problem
