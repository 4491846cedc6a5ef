"""Tasks: what both contracts mean by them. The owner is the first argument of everything. No HTTP in here."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.db.database import Database, Row
from service.db.statements import Statement, statement
from service.domain.users import require_user
from service.errors import Code, Problem
from service.formats import parse_uuid

CREATE_TASK = statement("tasks/create_task", "one")
RECOUNT_TASKS = statement("tasks/recount_tasks", "one")
LIST_TASKS = statement("tasks/list_tasks", "many")
LIST_TASKS_AFTER = statement("tasks/list_tasks_after", "many")
GET_TASK = statement("tasks/get_task", "one")
UPDATE_TASK = statement("tasks/update_task", "one")
DELETE_TASK = statement("tasks/delete_task", "one")

LIST_LIMIT = 1000
NO_QUOTA = 2**63 - 1  # tasks; the largest bigint


@dataclass(frozen=True, slots=True)
class Changes:
    """The fields that were sent, by their column's name. A description of None was sent to clear it."""

    sent: dict[str, Any]

    def flags_and_values(self) -> dict[str, Any]:
        sent = self.sent
        return {
            "set_title": "title" in sent,
            "title": sent.get("title"),
            "set_description": "description" in sent,
            "description": sent.get("description"),
            "set_is_completed": "is_completed" in sent,
            "is_completed": sent.get("is_completed"),
        }


async def create_task(
    database: Database, user_id: UUID, title: str, description: str | None, max_tasks: int = NO_QUOTA
) -> Row:
    """QUOTA_EXCEEDED where the owner has `max_tasks`. Before that the tasks themselves are counted, once a minute at
    the most. INVALID_TOKEN where the owner is gone: the foreign key says so."""
    values = {"user_id": user_id, "title": title, "description": description, "max_tasks": max_tasks}
    task = await database.one(CREATE_TASK, **values)
    if task is None:
        await database.one(RECOUNT_TASKS, user_id=user_id)
        task = await database.one(CREATE_TASK, **values)
    if task is None:
        raise Problem(Code.QUOTA_EXCEEDED, f"You have reached the limit of {max_tasks} tasks")
    return task


async def list_tasks(
    database: Database, user_id: UUID, after: Row | None = None, max_rows: int = LIST_LIMIT
) -> list[Row]:
    """The newest, or those that come after one of them, newest first."""
    if after is None:
        rows = await database.many(LIST_TASKS, user_id=user_id, max_rows=max_rows)
    else:
        begin = {"created_at": after["created_at"], "task_id": after["id"]}
        rows = await database.many(LIST_TASKS_AFTER, user_id=user_id, max_rows=max_rows, **begin)
    if not rows:
        await require_user(database, user_id)  # with an account its tasks go: an empty page alone does not tell
    return rows


async def get_task(database: Database, user_id: UUID, task_id: str) -> Row:
    """NOT_FOUND if it does not exist, is another user's, or `task_id` is no id."""
    return await _one(database, GET_TASK, user_id, task_id)


async def update_task(database: Database, user_id: UUID, task_id: str, changes: Changes) -> Row:
    """NOT_FOUND as in get_task. Without any change the task stays as it is, `updated_at` included."""
    if not changes.sent:
        return await get_task(database, user_id, task_id)
    return await _one(database, UPDATE_TASK, user_id, task_id, **changes.flags_and_values())


async def delete_task(database: Database, user_id: UUID, task_id: str) -> Row:
    """NOT_FOUND as in get_task."""
    return await _one(database, DELETE_TASK, user_id, task_id)


async def _one(database: Database, statement: Statement, user_id: UUID, task_id: str, **values: object) -> Row:
    number = parse_uuid(task_id)
    if number is not None:
        row = await database.one(statement, user_id=user_id, task_id=number, **values)
        if row is not None:
            return row
    await require_user(database, user_id)
    raise Problem(Code.NOT_FOUND, "Task not found")
