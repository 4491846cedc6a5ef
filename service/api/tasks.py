from typing import Any

import orjson
from sanic import HTTPResponse

from service import formats
from service.api import cursor, models
from service.api.list_query import ListQuery
from service.db.database import Row
from service.domain import task_lists, tasks
from service.domain.idempotency import AnswerOnce
from service.domain.task_lists import FIRST_PAGE
from service.http.idempotency import idempotency_key, replayed
from service.http.json_body import parse
from service.http.json_stream import MAX_PAGE_ROWS, answer_page
from service.http.preconditions import creates, expected_versions, list_tag, not_modified, task_tag, wants_news
from service.http.query_string import has_query, next_link, parse_query
from service.http.request import Request
from service.http.responses import json_response, json_text_response


async def list_tasks(request: Request) -> HTTPResponse | None:
    wanted = parse_query(ListQuery, request).page() if has_query(request) else FIRST_PAGE
    database, user_id = request.app.ctx.database, request.ctx.user_id
    if wants_news(request):
        known = list_tag(await task_lists.list_version(database, user_id))
        if (answer := not_modified(request, known)) is not None:
            return answer
    page = await task_lists.read_page(database, user_id, wanted, MAX_PAGE_ROWS)
    tag = list_tag(page.version)
    if page.end is None:
        return await answer_page(request, page, task_body, None, tag)
    next_cursor = cursor.write(page.end, user_id, wanted.listed)
    return await answer_page(request, page, task_body, next_cursor, tag | next_link("/api/tasks", request, next_cursor))


async def create_task(request: Request) -> HTTPResponse:
    new, key, context = parse(models.NewTask, request), idempotency_key(request), request.app.ctx
    if key is not None:
        once = AnswerOnce(key, _as_text)
        answer = await tasks.create_task_once(
            context.database, request.ctx.user_id, new.fields(), context.max_tasks, once
        )
        task = orjson.loads(answer.body)
        return json_text_response(answer.body, 201, _place_of(task["id"], task["version"]) | replayed(answer))
    row = await tasks.create_task(context.database, request.ctx.user_id, new.fields(), context.max_tasks)
    return _created(row)


async def get_task(request: Request, task_id: str) -> HTTPResponse:
    row = await tasks.get_task(request.app.ctx.database, request.ctx.user_id, task_id)
    tag = task_tag(row["version"])
    return not_modified(request, tag) or json_response(task_body(row), 200, tag)


async def update_task(request: Request, task_id: str) -> HTTPResponse:
    """Changes a task, or creates it under this id if the request says so."""
    if creates(request):
        return await _create_with_id(request, task_id)
    changes, versions = parse(models.TaskChanges, request).changes(), expected_versions(request)
    row = await tasks.update_task(request.app.ctx.database, request.ctx.user_id, task_id, changes, versions)
    return json_response(task_body(row), 200, task_tag(row["version"]))


async def _create_with_id(request: Request, task_id: str) -> HTTPResponse:
    new, context = parse(models.NewTask, request), request.app.ctx
    row = await tasks.create_task_with_id(
        context.database, request.ctx.user_id, task_id, new.fields(), context.max_tasks
    )
    return _created(row)


def _created(row: Row) -> HTTPResponse:
    return json_response(task_body(row), 201, _place_of(row["id"], row["version"]))


def _place_of(task_id: object, version: int) -> dict[str, str]:
    return {"Location": f"/api/tasks/{task_id}"} | task_tag(version)


def _as_text(row: Row) -> str:
    return orjson.dumps(task_body(row)).decode()


async def delete_task(request: Request, task_id: str) -> HTTPResponse:
    context, versions = request.app.ctx, expected_versions(request)
    row = await tasks.delete_task(context.database, request.ctx.user_id, task_id, context.changes_days, versions)
    return json_response({"message": "Task deleted successfully", "id": str(row["id"])})


_columns_of = tasks.columns_reader(
    "id",
    "user_id",
    "title",
    "description",
    "is_completed",
    "created_at",
    "updated_at",
    "due_on",
    "due_time",
    "time_zone",
    "priority",
    "tags",
    "completed_at",
    "version",
)


def task_body(row: Row) -> dict[str, Any]:
    (
        task_id,
        user_id,
        title,
        description,
        is_completed,
        created_at,
        updated_at,
        due_on,
        due_time,
        time_zone,
        priority,
        tags,
        completed_at,
        version,
    ) = _columns_of(row)
    # Most tasks were never changed, or last when they were completed: formatting a time once is cheaper.
    created = updated = formats.time_from_postgresql(created_at)
    if updated_at != created_at:
        updated = formats.time_from_postgresql(updated_at)
    completed = None
    # A release that does not know completed_at leaves it when a task becomes open again.
    if is_completed and completed_at is not None:
        completed = updated if completed_at == updated_at else formats.time_from_postgresql(completed_at)
    return {
        "id": str(task_id),
        "user_id": str(user_id),
        "title": title,
        "description": description,
        "is_completed": is_completed,
        "due_on": due_on,
        "due_time": due_time and due_time[:5],
        "time_zone": time_zone,
        "priority": tasks.PRIORITIES[priority],
        "tags": orjson.loads(tags),
        "created_at": created,
        "updated_at": updated,
        "completed_at": completed,
        "version": version,
    }
