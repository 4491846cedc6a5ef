"""Errors of the Database object: a statement without its row, and a server without disk space."""

import pytest

from service.db.database import Database
from service.db.statements import StatementCallError
from service.domain import tasks
from service.errors import Code, Problem
from tests.databases import Urls
from tests.db.event_loop import run_async
from tests.db.owners import Owner, database_at, new_owners

DISK_FULL = "DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$"


async def meet_full_disk(database: Database, owner: Owner) -> None:
    with pytest.raises(Problem) as refused:
        await database._run(tasks.UPDATE_TASK, [owner.id], lambda connection: connection.execute(DISK_FULL))
    assert refused.value.code is Code.DATABASE_ERROR


def trouble_of(database: Database) -> str | None:
    """A function, because mypy assumes that a property keeps its value."""
    return database.trouble


def test_a_server_error_is_kept_as_trouble_until_its_statement_succeeds(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            [owner] = await new_owners(database, 1)
            assert trouble_of(database) is None
            await meet_full_disk(database, owner)
            assert trouble_of(database) == "DiskFullError 53100 no space"
            await tasks.get_task(database, owner.id, owner.task)
            assert trouble_of(database) == "DiskFullError 53100 no space"
            await tasks.update_task(database, owner.id, owner.task, tasks.Changes({"title": "fits"}))
            assert trouble_of(database) is None

    run_async(scenario())


def test_must_without_a_row_raises_an_error_that_names_the_statement(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            [owner, other] = await new_owners(database, 2)
            with pytest.raises(StatementCallError, match=r"sql/tasks/get_task\.sql returned no row"):
                await database.require_one(tasks.GET_TASK, user_id=owner.id, task_id=other.tasks[0]["id"])

    run_async(scenario())
