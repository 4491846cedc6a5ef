"""FastAPI, SQLModel and an AsyncSession for each request, the way the tutorials of both write it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, time
from typing import Annotated, Any
from uuid import UUID, uuid4

import bcrypt
from fastapi import Depends, FastAPI, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BeforeValidator, field_serializer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import BigInteger, DateTime, Field, SmallInteger, SQLModel, col, or_, select, tuple_
from sqlmodel.ext.asyncio.session import AsyncSession

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


def now() -> datetime:
    return datetime.now(UTC)


class User(SQLModel, table=True):
    __tablename__ = "users"

    id: UUID = Field(default_factory=uuid4, primary_key=True)
    email: str | None = Field(max_length=255, unique=True)
    password_hash: str | None
    token_generation: int = 0
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


class TaskBase(SQLModel):
    title: str = Field(max_length=255)
    description: str | None = Field(default=None, max_length=2000)
    is_completed: bool = False
    due_on: date | None = None
    due_time: time | None = None
    time_zone: str | None = None
    tags: list[str] = Field(default=[], sa_type=JSONB)


class Task(TaskBase, table=True):
    __tablename__ = "tasks"

    # Both are the key of the table: an UPDATE by the id alone would find no index.
    user_id: UUID = Field(foreign_key="users.id", primary_key=True)
    id: UUID = Field(default_factory=uuid4, primary_key=True)
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    completed_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    priority: int = Field(default=0, sa_type=SmallInteger)
    version: int = Field(default=0, sa_type=BigInteger)


# pydantic writes a time with six digits and Z by itself, but for one in a million that has no fraction: the contract
# would have it too, for the price of a call into Python for each time of each task.
class TaskPublic(TaskBase):
    id: UUID
    user_id: UUID
    priority: Annotated[str, BeforeValidator(PRIORITIES.__getitem__)]
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    version: int

    @field_serializer("due_time")
    def to_the_minute(self, due_time: time | None) -> str | None:
        return due_time and f"{due_time:%H:%M}"


class TaskList(SQLModel):
    tasks: list[TaskPublic]
    next_cursor: str | None


class UserPublic(SQLModel):
    id: UUID
    email: str
    created_at: datetime


class Session(SQLModel):
    token: str
    user: UserPublic


class Deleted(SQLModel):
    message: str
    id: UUID


engine = create_async_engine(
    DATABASE_URL.replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=POOL_MAX, max_overflow=0
)
new_session = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Database = Annotated[AsyncSession, Depends(get_session)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = new_app(lifespan)


async def find_task(session: AsyncSession, user_id: UUID, task_id: UUID) -> Task:
    found = await session.exec(select(Task).where(Task.user_id == user_id, Task.id == task_id))
    task = found.first()
    if task is None:
        raise task_not_found()
    return task


@app.post("/api/auth/login", response_model=Session)
async def log_in(given: LogIn, session: Database) -> Session:
    found = await session.exec(select(User).where(User.email == given.email.strip().lower()))
    user = found.first()
    if user is None or user.password_hash is None:
        raise login_refused()
    if not await run_in_threadpool(bcrypt.checkpw, given.password.encode(), user.password_hash.encode()):
        raise login_refused()
    token = issue_token(user.id, user.email, user.token_generation)
    return Session(token=token, user=UserPublic.model_validate(user))


@app.get("/api/tasks", response_model=TaskList)
async def list_tasks(user_id: UserId, session: Database, query: Annotated[ListQuery, Query()]) -> dict[str, Any]:
    wanted = select(Task).where(Task.user_id == user_id)
    if query.is_completed is not None:
        wanted = wanted.where(Task.is_completed == query.is_completed)
    if query.q is not None:
        wanted = wanted.where(
            or_(*(col(each).icontains(query.q, autoescape=True) for each in (Task.title, Task.description)))
        )
    if after := query.after():
        wanted = wanted.where(tuple_(col(Task.created_at), col(Task.id)) < after)
    newest_first = (col(Task.created_at).desc(), col(Task.id).desc())
    found = await session.exec(wanted.order_by(*newest_first).limit(query.limit + 1))
    tasks = found.all()
    page = tasks[: query.limit]
    next_cursor = cursor_behind(page[-1].created_at, page[-1].id) if len(tasks) > query.limit else None
    return {"tasks": page, "next_cursor": next_cursor}


@app.post("/api/tasks", response_model=TaskPublic, status_code=201)
async def create_task(new: NewTask, user_id: UserId, session: Database, response: Response) -> Task:
    task = Task(user_id=user_id, title=new.title, description=new.description or None)
    session.add(task)
    await session.commit()
    await session.refresh(task)
    response.headers["Location"] = f"/api/tasks/{task.id}"
    return task


@app.get("/api/tasks/{task_id}", response_model=TaskPublic)
async def get_task(task_id: UUID, user_id: UserId, session: Database) -> Task:
    return await find_task(session, user_id, task_id)


@app.put("/api/tasks/{task_id}", response_model=TaskPublic)
async def update_task(task_id: UUID, changes: TaskChanges, user_id: UserId, session: Database) -> Task:
    task = await find_task(session, user_id, task_id)
    task.sqlmodel_update(changes.sent())
    task.updated_at = now()
    task.completed_at = (task.completed_at or task.updated_at) if task.is_completed else None
    session.add(task)
    await session.commit()
    await session.refresh(task)
    return task


@app.delete("/api/tasks/{task_id}", response_model=Deleted)
async def delete_task(task_id: UUID, user_id: UserId, session: Database) -> Deleted:
    task = await find_task(session, user_id, task_id)
    await session.delete(task)
    await session.commit()
    return Deleted(message="Task deleted successfully", id=task.id)
