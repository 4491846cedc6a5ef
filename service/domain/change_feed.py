"""Changes in a user's tasks since a client last asked: the tasks themselves, and the ids of deleted ones.

Every write takes the next number of its user, under a lock that it holds until its commit. So a reader of a number
sees all lower ones, and a place in the feed is a number.
"""

import time
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from service.db.database import Database, Row
from service.db.statements import statement
from service.domain.users import user_is_gone
from service.errors import Code, Problem

LIST_CHANGED_TASKS = statement("tasks/list_changed_tasks", "many")
LIST_DELETED_TASKS = statement("tasks/list_deleted_tasks", "many")
GET_HISTORY = statement("tasks/get_history", "one")

DAY_SECONDS = 24 * 3600
BEFORE_ALL_VERSIONS = -1  # tasks from before there were numbers have 0
LOWEST_ID = UUID(int=0)


class Place(NamedTuple):
    """Behind which change the next ones begin."""

    version: int
    id: UUID  # orders tasks of the same version: of 0
    deletions: int  # deletions up to this number are left out: the client never had the task
    history: UUID  # that the numbers belong to
    good_until: int  # seconds since 1970; deletions are kept for longer

    @property
    def highest(self) -> int:
        return max(self.version, self.deletions)


class FeedEntry(NamedTuple):
    id: UUID
    version: int
    task: Row | None  # None: it was deleted


class ChangesPage(NamedTuple):
    changes: list[FeedEntry]
    end: Place  # where the next page begins: where this one did, if nothing is new
    has_more: bool
    newest: int  # the highest number of the owner when the page was read


@dataclass(frozen=True, slots=True)
class ChangeFeed:
    database: Database
    days: int  # for which a place is good

    async def read(self, user_id: UUID, after: Place | None, limit: int) -> ChangesPage:
        """CURSOR_EXPIRED when deletions after the place may have been cleaned, or were never recorded, or its history
        has ended."""
        now = int(time.time())
        good_until = now + self.days * DAY_SECONDS
        found = await self.database.one(GET_HISTORY, user_id=user_id)
        if found is None:
            raise user_is_gone()
        newest, history = found["list_version"], found["history_id"]
        begin = after or Place(BEFORE_ALL_VERSIONS, LOWEST_ID, newest, history, good_until)
        is_before_untold = begin.deletions < found["untold_version"]
        # A place that is good for longer than a new one is from a time when CHANGES_DAYS was higher: since it is lower,
        # deletions are kept for less. The day is for the clocks of several machines.
        is_old = begin.good_until < now or begin.good_until > good_until + DAY_SECONDS
        if is_before_untold or is_old or begin.history != history or begin.highest > newest:
            raise Problem(Code.CURSOR_EXPIRED)
        changes = await self._read(user_id, begin, newest, limit + 1) if begin.version < newest or not newest else []
        has_more = len(changes) > limit
        del changes[limit:]
        if not changes:
            return ChangesPage([], begin, has_more, newest)
        last = changes[-1]
        # Deletions that are left for the next page may be as old as the place where this one began.
        end = Place(
            last.version, last.id, max(begin.deletions, last.version), history,
            begin.good_until if has_more else good_until,
        )  # fmt: skip
        return ChangesPage(changes, end, has_more, newest)

    async def _read(self, user_id: UUID, begin: Place, newest: int, max_rows: int) -> list[FeedEntry]:
        """Two statements, each at its own moment. They agree because all numbers up to `newest` were given before: a
        task that is written in between has a higher one, and is a change of the next page."""
        # Alone, because it looks at all tasks of the owner: in a batch other users would wait for it.
        tasks = await self.database.many_alone(
            LIST_CHANGED_TASKS,
            user_id=user_id, after_version=begin.version, after_id=begin.id, newest=newest, max_rows=max_rows,
        )  # fmt: skip
        deleted = await self.database.many(
            LIST_DELETED_TASKS, user_id=user_id, after_version=begin.deletions, newest=newest, max_rows=max_rows
        )
        changes = [FeedEntry(task["id"], task["version"], task) for task in tasks]
        changes += [FeedEntry(task["id"], task["version"], None) for task in deleted]
        return sorted(changes, key=lambda change: (change.version, change.id))[:max_rows]
