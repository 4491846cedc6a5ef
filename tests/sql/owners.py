"""Users and their tasks, made by the statements of the service."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg

from service.domain.accounts import CREATE_USER
from service.domain.idempotency import KEEP_ANSWER
from service.domain.tasks import (
    CREATE_TASK,
    DELETE_TASK,
    NO_CHANGES,
    NO_FIELDS,
    NO_QUOTA,
    RECOUNT_TASKS,
    UPDATE_TASK,
    Versions,
)
from tests.support import new_email

HOME = b"h" * 16
TICK = timedelta(
    microseconds=1
)  # by which updated_at moves at a change in the same transaction, where now() stands still

Run = Callable[..., list[asyncpg.Record]]


def new_user(run: Run) -> UUID:
    [user] = run(CREATE_USER, email=new_email(), password_hash="x", network=HOME)
    user_id: UUID = user["id"]
    return user_id


def new_task(
    run: Run, owner: UUID, title: str = "Buy milk", description: str | None = "two litres", **fields: Any
) -> asyncpg.Record:
    given = NO_FIELDS | {"user_id": owner, "title": title, "description": description, "max_tasks": NO_QUOTA} | fields
    [task] = run(CREATE_TASK, **given) or [*run(RECOUNT_TASKS, user_id=owner), *run(CREATE_TASK, **given)][1:]
    return task


def update(
    run: Run, owner: UUID, task: asyncpg.Record, versions: Versions = None, **change: Any
) -> list[asyncpg.Record]:
    flags = {f"set_{column}": True for column in change}
    return run(UPDATE_TASK, user_id=owner, task_id=task["id"], versions=versions, **NO_CHANGES | change | flags)


def delete(
    run: Run, owner: UUID, task_id: UUID, versions: Versions = None, kept_days: int = 90
) -> list[asyncpg.Record]:
    return run(DELETE_TASK, user_id=owner, task_id=task_id, versions=versions, kept_days=kept_days)


def keep_answer(run: Run, owner: UUID, key: str, answer: str = "{}", hours: int = 24, **more: Any) -> None:
    given = {"request_digest": b"1" * 32, "begins_window": False} | more
    [kept] = run(KEEP_ANSWER, user_id=owner, key=key, answer=answer, kept_hours=hours, **given)
    assert kept["user_id"] == owner
