"""Statements that return rows of other users: no request gets such a row, and no other request of the batch fails.

`sql check` refuses these statements, so they are planted here. Each names another column `user_id`."""

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest

from service.db.batch_rows import certain_rows
from service.db.database import Database
from service.db.statements import Statement, parse
from service.errors import Code
from tests.databases import Urls
from tests.db.event_loop import run_async
from tests.db.message_counter import MessageCounter
from tests.db.owners import Owner, code_of, database_at, gather_all, new_owners

SHARES = """
CREATE TABLE shares (user_id uuid, id uuid DEFAULT gen_random_uuid(), shared_with uuid, title text DEFAULT 'old');
GRANT ALL ON shares TO PUBLIC;
"""
OUTPUT = "-- -> id  uuid\n-- -> user_id  uuid\n-- index: none"
LIST_SHARES = parse(
    "tasks/list_shares",
    f"-- name: list_shares :many\n-- For a test.\n-- $1 user_id  uuid\n{OUTPUT}\n"
    "SELECT /* tasks/list_shares */ id, shared_with AS user_id FROM shares WHERE user_id = $1",
)
UPDATE_SHARE = parse(
    "tasks/update_share",
    f"-- name: update_share :one\n-- For a test.\n-- $1 user_id  uuid\n-- $2 title  text\n{OUTPUT}\n"
    "UPDATE /* tasks/update_share */ shares SET title = $2 WHERE user_id = $1 RETURNING id, shared_with AS user_id",
)
LOGGED = "sql/tasks/{}.sql returned a row that no request asked for; such requests fail"
STRANGER = uuid4()


def share(url: str, *shared: tuple[UUID, UUID]) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(SHARES)
        connection.cursor().executemany("INSERT INTO shares (user_id, shared_with) VALUES (%s, %s)", shared)


async def list_shares(database: Database, owners: list[Owner]) -> list[Any]:
    answers = await gather_all(*(database.many(LIST_SHARES, user_id=owner.id) for owner in owners))
    return [[row["user_id"] for row in each] if isinstance(each, list) else code_of(each) for each in answers]


@pytest.mark.parametrize("culprit", [0, 2, 4], ids=["alone", "in a batch", "last of a batch"])
@pytest.mark.parametrize("shared_with", ["a stranger", "the first of the batch"])
def test_a_read_that_returns_a_foreign_row_fails_alone(
    own_database: Urls, culprit: int, shared_with: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with database_at(own_database.runtime) as database:
            owners = await new_owners(database)
            foreign = STRANGER if shared_with == "a stranger" else owners[1].id
            share(own_database.admin, *((owner.id, owner.id) for owner in owners), (owners[culprit].id, foreign))
            wanted: list[Any] = [[owner.id] for owner in owners]
            wanted[culprit] = Code.INTERNAL_ERROR

            for _ in range(2):
                assert await list_shares(database, owners) == wanted

    run_async(scenario())
    assert caplog.messages == [LOGGED.format("list_shares")]


def test_after_a_foreign_row_a_statement_is_sent_alone_and_others_in_batches(
    own_database: Urls, message_counter: MessageCounter
) -> None:
    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            owners = await new_owners(database)
            share(own_database.admin, (owners[2].id, STRANGER))
            await list_shares(database, owners)

            before = message_counter.sent.copy()
            await list_shares(database, owners)
            assert dict(message_counter.sent - before) == {"Bind": 5, "Execute": 5, "Sync": 5}

    run_async(scenario())


def test_a_write_that_returns_a_foreign_row_fails_alone_and_no_write_is_sent_again(
    own_database: Urls, message_counter: MessageCounter, caplog: pytest.LogCaptureFixture
) -> None:
    async def update(database: Database, owners: list[Owner], title: str) -> list[Any]:
        asked = (database.one(UPDATE_SHARE, user_id=owner.id, title=title) for owner in owners)
        answers = await gather_all(*asked)
        return [each["user_id"] if isinstance(each, asyncpg.Record) else code_of(each) for each in answers]

    async def scenario() -> None:
        async with database_at(message_counter.url, pool=1) as database:
            owners = sorted(await new_owners(database, 6), key=lambda owner: owner.id)
            has_no_row, culprit = 1, 4
            kept = [owner.id for owner in owners if owner not in (owners[has_no_row], owners[culprit])]
            share(own_database.admin, *((each, each) for each in kept))
            await update(database, owners, "prepared")
            with psycopg.connect(own_database.admin) as connection:
                connection.execute(
                    "INSERT INTO shares (user_id, shared_with) VALUES (%s, %s)", [owners[culprit].id, STRANGER]
                )
            wanted: list[Any] = [owner.id for owner in owners]
            wanted[has_no_row], wanted[culprit] = None, Code.INTERNAL_ERROR

            for title, syncs in (("batched", 2), ("alone", 6)):
                before = message_counter.sent.copy()
                assert await update(database, owners, title) == wanted
                assert dict(message_counter.sent - before) == {"Bind": 6, "Execute": 6, "Sync": syncs}
                with psycopg.connect(own_database.admin) as connection:
                    assert connection.execute("SELECT DISTINCT title FROM shares").fetchall() == [(title,)]

    run_async(scenario())
    assert caplog.messages == [LOGGED.format("update_share")]


@pytest.mark.parametrize(
    ("statement", "returned", "wanted"),
    [
        (UPDATE_SHARE, "a?c", {"a": 1, "b": None, "c": 1}),
        (UPDATE_SHARE, "?bc", {"a": None, "b": 1, "c": 1}),
        (UPDATE_SHARE, "ab?", {"a": 1, "b": 1, "c": None}),
        (UPDATE_SHARE, "?", {"a": None, "b": None, "c": None}),
        (UPDATE_SHARE, "ab?c", {"a": 1, "b": None, "c": None}),
        (UPDATE_SHARE, "aac", {"a": None, "b": None, "c": 1}),
        (UPDATE_SHARE, "bac", {"a": None, "b": None, "c": 1}),
        (LIST_SHARES, "aa?c", {"a": None, "b": None, "c": None}),
        (LIST_SHARES, "aab?", {"a": 2, "b": None, "c": None}),
    ],
)
def test_executions_that_may_have_returned_the_foreign_row_have_no_certain_rows(
    statement: Statement, returned: str, wanted: dict[str, int | None]
) -> None:
    assert statement.key is not None
    rows: Any = [{"user_id": each} for each in returned]

    found = certain_rows(statement, statement.key, ["a", "b", "c"], rows)

    assert {execution: None if own is None else len(own) for execution, own in found.items()} == wanted
    assert all(row["user_id"] == execution for execution, own in found.items() for row in own or [])
