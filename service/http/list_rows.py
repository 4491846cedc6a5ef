"""The rows of a long list that are not sent yet. Each piece of the response reads the next of them."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias
from uuid import UUID

from service.db.database import Database, Row
from service.domain import task_lists

# Reads a user's rows that follow the given one (None: from the start), at most so many.
ReadAfter: TypeAlias = Callable[[Database, UUID, Row | None, int], Awaitable[list[Row]]]


class UnsentRows(Protocol):
    is_over: bool

    async def read(self, max_rows: int) -> list[Row]:
        """The next rows. Those that are not taken are read again."""

    def take(self, rows: list[Row], count: int) -> None:
        """The first `count` of the rows that were just read are in a piece."""


class FollowingRows:
    """Rows in an order that never changes, found by the one before them. They are no snapshot: a row that is created or
    deleted meanwhile may be read or not; any other is read exactly once."""

    def __init__(self, database: Database, user_id: UUID, read_after: ReadAfter, max_rows: int | None) -> None:
        self._database, self._user_id, self._read_after = database, user_id, read_after
        self._left = max_rows
        self._last: Row | None = None
        self._are_last = False
        self.is_over = False

    async def read(self, max_rows: int) -> list[Row]:
        wanted = max_rows if self._left is None else min(max_rows, self._left)
        rows = await self._read_after(self._database, self._user_id, self._last, wanted)
        self._are_last = len(rows) < wanted
        return rows

    def take(self, rows: list[Row], count: int) -> None:
        if count:
            self._last = rows[count - 1]
        if self._left is not None:
            self._left -= count
        self.is_over = self._left == 0 or (self._are_last and count == len(rows))


class TasksOfPage:
    """The tasks of a page whose ids are known. Its order may change meanwhile, so it is not followed: each task is in
    the page once, as it is when it is read. One that is deleted meanwhile is left out."""

    def __init__(self, database: Database, user_id: UUID, page: task_lists.Page) -> None:
        self._database, self._user_id = database, user_id
        self._ids = [task["id"] for task in page.tasks] + page.ids
        self._asked = len(page.tasks)  # the first tasks were read with the page
        self.is_over = not self._ids

    async def read(self, max_rows: int) -> list[Row]:
        self._asked = min(max_rows, len(self._ids))
        return await task_lists.get_tasks(self._database, self._user_id, self._ids[: self._asked])

    def take(self, rows: list[Row], count: int) -> None:
        taken = self._asked if count == len(rows) else self._ids.index(rows[count - 1]["id"]) + 1
        del self._ids[:taken]
        self.is_over = not self._ids
