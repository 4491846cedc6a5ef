"""Errors of the Database object: a server without disk space, fields that it refuses, a statement without its row."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from service.db.database import Database, problem_of
from service.db.statements import StatementCallError
from service.domain import tasks
from service.domain.idempotency import AnswerOnce
from service.domain.services import Services
from service.domain.task_batch import BatchOperation, write_batch
from service.domain.tasks import NO_QUOTA
from service.errors import Code, FieldError, Problem
from service.field_rules import UNKNOWN_TIME_ZONE
from tests.databases import Urls
from tests.db.event_loop import run_async
from tests.db.owners import Owner, code_of, database_at, gather_all, new_owners

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


REFUSED = [
    ({"due_time": "09:30"}, FieldError("due_time", "Due time needs a due date")),
    ({"due_on": "2026-12-24", "time_zone": "UTC"}, FieldError("time_zone", "Time zone needs a due time")),
    (
        {"due_on": "2026-12-24", "due_time": "09:30", "time_zone": "Nowhere/Town"},
        FieldError("time_zone", "Time zone must be a name like Europe/Berlin"),
    ),
]


@pytest.mark.parametrize(("fields", "detail"), REFUSED, ids=["time", "zone", "zone that the server does not know"])
def test_fields_that_the_server_refuses_are_a_validation_error_of_their_field(
    urls: Urls, fields: dict[str, Any], detail: FieldError
) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            [owner] = await new_owners(database, 1)
            refused = await gather_all(
                tasks.create_task(database, owner.id, {"title": "x"} | fields),
                tasks.update_task(database, owner.id, owner.task, tasks.Changes(fields)),
            )
            assert [(code_of(each), each.details, each.reason) for each in refused] == [
                (Code.VALIDATION_ERROR, [detail], None)
            ] * 2
            assert [dict(row) for row in await tasks.list_tasks(database, owner.id)] == owner.listed

    run_async(scenario())


def test_a_batch_names_the_operations_whose_time_zone_the_server_does_not_know(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            [owner] = await new_owners(database, 1)
            due = {"due_on": "2026-12-24", "due_time": "09:30"}
            operations = [
                BatchOperation("create", uuid4(), {"title": "a"}),
                BatchOperation("create", uuid4(), {"title": "b"} | due | {"time_zone": "Nowhere/Town"}),
                BatchOperation("update", UUID(owner.task), due | {"time_zone": "Nowhere/Town"}),
                BatchOperation("delete", uuid4(), {}),
            ]
            services = Services(database=database, max_tasks=NO_QUOTA, changes_days=90)
            with pytest.raises(Problem) as refused:
                await write_batch(services, owner.id, operations, AnswerOnce(None, str))
            assert (refused.value.code, refused.value.details) == (
                Code.VALIDATION_ERROR,
                [FieldError(f"operations[{place}].time_zone", UNKNOWN_TIME_ZONE) for place in (1, 2)],
            )
            assert [dict(row) for row in await tasks.list_tasks(database, owner.id)] == owner.listed

    run_async(scenario())


def test_an_invalid_parameter_of_a_statement_without_a_time_zone_is_a_database_error() -> None:
    error = asyncpg.InvalidParameterValueError("time zone not recognized")

    assert problem_of(error, tasks.UPDATE_TASK).code is Code.VALIDATION_ERROR
    assert problem_of(error, tasks.DELETE_TASK).code is Code.DATABASE_ERROR


@pytest.mark.parametrize("constraint", ["tasks_due_on_years", "tasks_tags_texts", "tasks_priority_known"])
def test_a_violation_of_what_the_service_has_checked_is_a_database_error(constraint: str) -> None:
    error = asyncpg.CheckViolationError(f'violates check constraint "{constraint}"')

    assert problem_of(error, tasks.UPDATE_TASK).code is Code.DATABASE_ERROR


def test_must_without_a_row_raises_an_error_that_names_the_statement(urls: Urls) -> None:
    async def scenario() -> None:
        async with database_at(urls.runtime) as database:
            [owner, other] = await new_owners(database, 2)
            with pytest.raises(StatementCallError, match=r"sql/tasks/get_task\.sql returned no row"):
                await database.require_one(tasks.GET_TASK, user_id=owner.id, task_id=other.tasks[0]["id"])

    run_async(scenario())
