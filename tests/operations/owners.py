"""Users with two tasks each, and a database in this process to ask for them at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from service import tasks
from service.accounts import CREATE_USER
from service.background import Background
from service.database import Database, Row
from service.errors import Problem
from service.settings import load_settings
from service.tasks import Changes
from tests.support import SECRET, new_email

USERS = 5
DONE = Changes({"is_completed": True})


class Owner(NamedTuple):
    id: UUID
    tasks: list[Row]  # two, the newest first

    @property
    def task(self) -> str:
        return str(self.tasks[0]["id"])


@asynccontextmanager
async def database_at(url: str, pool: int = 4, **settings: object) -> AsyncIterator[Database]:
    background = Background()
    given = {"pool_min": 1, "pool_max": pool, "statement_timeout": 30} | settings
    database = await Database.connect(load_settings(database_url=url, better_auth_secret=SECRET, **given), background)
    yield database
    await background.close()
    await database.close()


async def new_owners(database: Database, number: int = USERS) -> list[Owner]:
    found = []
    for _ in range(number):
        user = await database.must(CREATE_USER, email=new_email(), password_hash="no hash")
        made = [await tasks.create_task(database, user["id"], title, None) for title in ("first", "second")]
        found.append(Owner(user["id"], made[::-1]))
    return found


async def at_once(*asked: Awaitable[Any]) -> list[Any]:
    return await asyncio.gather(*asked, return_exceptions=True)


def code_of(answer: object) -> object:
    return answer.code if isinstance(answer, Problem) else answer
