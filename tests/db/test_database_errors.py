"""The database object's own errors: an INSERT without a row, and a server that has run out of something."""

import pytest

from service.db.database import Database
from service.domain import tasks
from service.errors import Code, Problem
from tests.databases import Urls
from tests.db.event_loop import tell
from tests.db.owners import Owner, database_at, new_owners

DISK_FULL = "DO $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$"


async def meets_a_full_disk(database: Database, owner: Owner) -> None:
    with pytest.raises(Problem) as refused:
        await database._run(tasks.UPDATE_TASK, [owner.id], lambda connection: connection.execute(DISK_FULL))
    assert refused.value.code is Code.DATABASE_ERROR


def trouble_of(database: Database) -> str | None:
    """A call, because mypy assumes that a property keeps its value."""
    return database.trouble


def test_trouble_of_the_server_is_named_until_the_statement_that_met_it_succeeds(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            [owner] = await new_owners(database, 1)
            assert trouble_of(database) is None
            await meets_a_full_disk(database, owner)
            assert trouble_of(database) == "DiskFullError 53100 no space"
            await tasks.get_task(database, owner.id, owner.task)
            assert trouble_of(database) == "DiskFullError 53100 no space"
            await tasks.update_task(database, owner.id, owner.task, tasks.Changes({"title": "fits"}))
            assert trouble_of(database) is None

    tell(story())


def test_a_statement_that_must_return_a_row_and_returns_none_is_an_error_with_its_name(urls: Urls) -> None:
    async def story() -> None:
        async with database_at(urls.runtime) as database:
            [owner, other] = await new_owners(database, 2)
            with pytest.raises(RuntimeError, match="tasks/get_task returned no row"):
                await database.must(tasks.GET_TASK, user_id=owner.id, task_id=other.tasks[0]["id"])

    tell(story())
