from typing import Any

from sanic import HTTPResponse

from service import formats
from service.db.database import Row
from service.domain import tasks
from service.http.json_body import parse
from service.http.json_stream import Listing, answer_list
from service.http.request import Request
from service.http.responses import json_response, no_content
from service.v1 import models


async def list_tasks(request: Request) -> HTTPResponse | None:
    return await answer_list(request, NEWEST_TASKS)


async def create_task(request: Request) -> HTTPResponse:
    new = parse(models.NewTask, request)
    context = request.app.ctx
    row = await tasks.create_task(context.database, request.ctx.user_id, new.model_dump(), context.max_tasks)
    return json_response({"task": task_body(row)}, 201)


async def get_task(request: Request, task_id: str) -> HTTPResponse:
    row = await tasks.get_task(request.app.ctx.database, request.ctx.user_id, task_id)
    return json_response({"task": task_body(row)})


async def update_task(request: Request, task_id: str) -> HTTPResponse:
    changes = parse(models.TaskChanges, request).changes()
    row = await tasks.update_task(request.app.ctx.database, request.ctx.user_id, task_id, changes)
    return json_response({"task": task_body(row)})


async def delete_task(request: Request, task_id: str) -> HTTPResponse:
    context = request.app.ctx
    await tasks.delete_task(context.database, request.ctx.user_id, task_id, context.changes_days)
    return no_content()


_columns_of = tasks.columns_reader("id", "user_id", "title", "description", "is_completed", "created_at", "updated_at")


def task_body(row: Row) -> dict[str, Any]:
    task_id, user_id, title, description, is_completed, created_at, updated_at = _columns_of(row)
    created = formats.time_from_postgresql(created_at)
    return {
        "id": str(task_id),
        "user_id": str(user_id),
        "title": title,
        "description": description,
        "completed": is_completed,
        "created_at": created,
        # Most tasks were never changed: formatting one time instead of two is cheaper.
        "updated_at": created if updated_at == created_at else formats.time_from_postgresql(updated_at),
    }


NEWEST_TASKS = Listing("tasks", tasks.list_tasks, task_body, tasks.LIST_LIMIT)
