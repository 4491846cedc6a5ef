"""FastAPI over asyncpg, with the statements of sql/, but no quota: no ORM, and no model between a row and its JSON."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import bcrypt
import orjson
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from tests.bench.apps.contract import (
    DATABASE_URL,
    POOL_MAX,
    PRIORITIES,
    ListQuery,
    LogIn,
    NewTask,
    TaskChanges,
    UserId,
    cursor_behind,
    issue_token,
    login_refused,
    new_app,
    task_not_found,
)

SQL = Path(__file__).resolve().parents[4] / "sql"
FIND_CREDENTIALS, LIST_TASKS, PAGE_NEWEST, GET_TASK, UPDATE_TASK = (
    (SQL / f"{name}.sql").read_text()
    for name in (
        "accounts/find_credentials",
        "tasks/list_tasks",
        "tasks/page_newest",
        "tasks/get_task",
        "tasks/update_task",
    )
)
CREATE_TASK, DELETE_TASK = (
    (Path(__file__).resolve().parents[1] / f"{name}.sql").read_text() for name in ("create_task", "delete_task")
)


def parameters(statement: str) -> list[str]:
    """The names in the header, like `-- $3 set_title  boolean`."""
    return re.findall(r"^-- \$\d+ (\w+)", statement, re.MULTILINE)


UPDATE_PARAMETERS = parameters(UPDATE_TASK)
PAGE_PARAMETERS = parameters(PAGE_NEWEST)
BEHIND_NOTHING = (datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1))  # the driver sends it as infinity


def update_arguments(values: dict[str, Any], sent: dict[str, Any]) -> list[Any]:
    """A field of sql/ that this peer does not know stays as it is."""
    return [
        name.removeprefix("set_") in sent if name.startswith("set_") else values.get(name) for name in UPDATE_PARAMETERS
    ]


async def set_codecs(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", schema="pg_catalog", encoder=orjson.dumps, decoder=orjson.loads, format="text"
    )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(DATABASE_URL, min_size=POOL_MAX, max_size=POOL_MAX, init=set_codecs) as pool:
        app.state.pool = pool
        yield


app = new_app(lifespan)


async def get_pool(request: Request) -> asyncpg.Pool:
    return request.app.state.pool


Database = Annotated[asyncpg.Pool, Depends(get_pool)]


def answer(body: dict[str, Any], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    # The driver's UUID is a class of its own, which orjson asks about.
    content = orjson.dumps(body, default=str, option=orjson.OPT_UTC_Z)
    return Response(content, status, headers, "application/json")


def found(row: asyncpg.Record | None) -> dict[str, Any]:
    if row is None:
        raise task_not_found()
    return dict(row)


def shown(row: asyncpg.Record | None) -> dict[str, Any]:
    task = found(row)
    task.pop("list_version", None)
    task["priority"] = PRIORITIES[task["priority"]]
    if task["due_time"] is not None:
        task["due_time"] = f"{task['due_time']:%H:%M}"
    return task


@app.post("/api/auth/login")
async def log_in(given: LogIn, pool: Database) -> Response:
    user = await pool.fetchrow(FIND_CREDENTIALS, given.email.strip().lower())
    if user is None:
        raise login_refused()
    if not await run_in_threadpool(bcrypt.checkpw, given.password.encode(), user["password_hash"].encode()):
        raise login_refused()
    token = issue_token(user["id"], user["email"], user["token_generation"])
    return answer({"token": token, "user": {name: user[name] for name in ("id", "email", "created_at")}})


@app.get("/api/tasks")
async def list_tasks(user_id: UserId, pool: Database, query: Annotated[ListQuery, Query()]) -> Response:
    max_rows = query.limit + 1
    if query.model_fields_set <= {"limit"}:
        rows = await pool.fetch(LIST_TASKS, user_id, max_rows)
    else:
        created_at, task_id = query.after() or BEHIND_NOTHING
        values = {
            "user_id": user_id,
            "is_completed": query.is_completed,
            "search": query.q,
            "with_texts": True,
            "max_rows": max_rows,
            "after_created_at": created_at,
            "after_id": task_id,
        }
        rows = await pool.fetch(PAGE_NEWEST, *(values.get(name) for name in PAGE_PARAMETERS))
    page = rows[: query.limit]
    next_cursor = cursor_behind(page[-1]["created_at"], page[-1]["id"]) if len(rows) > query.limit else None
    return answer({"tasks": [shown(row) for row in page], "next_cursor": next_cursor})


@app.post("/api/tasks")
async def create_task(new: NewTask, user_id: UserId, pool: Database) -> Response:
    task = shown(await pool.fetchrow(CREATE_TASK, user_id, new.title, new.description or None))
    return answer(task, 201, {"Location": f"/api/tasks/{task['id']}"})


@app.get("/api/tasks/{task_id}")
async def get_task(task_id: UUID, user_id: UserId, pool: Database) -> Response:
    return answer(shown(await pool.fetchrow(GET_TASK, user_id, task_id)))


@app.put("/api/tasks/{task_id}")
async def update_task(task_id: UUID, changes: TaskChanges, user_id: UserId, pool: Database) -> Response:
    sent = changes.sent()
    values = {"user_id": user_id, "task_id": task_id} | sent
    return answer(shown(await pool.fetchrow(UPDATE_TASK, *update_arguments(values, sent))))


@app.delete("/api/tasks/{task_id}")
async def delete_task(task_id: UUID, user_id: UserId, pool: Database) -> Response:
    gone = found(await pool.fetchrow(DELETE_TASK, user_id, task_id))
    return answer({"message": "Task deleted successfully", "id": gone["id"]})
