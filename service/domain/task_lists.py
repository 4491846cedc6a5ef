"""Pages of the owner's tasks: in one of five orders, with filters. No HTTP here.

A page begins behind a position: the values by which the last task of the page before is ordered. So a task that does
not change is on exactly one page, however many are written or deleted meanwhile.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from service.db.database import Database, Row
from service.db.statements import Statement, statement
from service.domain.tasks import LIST_LIMIT, LIST_TASKS
from service.domain.users import require_user, user_is_gone

GET_TASKS = statement("tasks/get_tasks", "many")
GET_LIST_VERSION = statement("tasks/get_list_version", "one")

HIGHEST_ID = UUID(int=2**128 - 1)
ABOVE_ALL_PRIORITIES = 4
NO_DATE, NO_TIME = "infinity", "24:00"  # their places in an order: behind all others


class Position(NamedTuple):
    """The place of a task in every order."""

    created_at: str
    updated_at: str
    due_on: str | None
    due_time: str | None
    priority: int
    id: UUID

    @classmethod
    def of(cls, task: Row) -> "Position":
        return cls(*(task[name] for name in cls._fields))


# Before all tasks. With `created_at` alone the order is that of the oldest first.
_START = {
    "after_created_at": "infinity", "after_updated_at": "infinity", "after_due_on": "-infinity",
    "after_due_time": "00:00", "after_priority": ABOVE_ALL_PRIORITIES, "after_id": HIGHEST_ID,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sort:
    number: int  # in cursors; never given to another order
    statement: Statement
    has_index: bool = False
    start: str = "infinity"  # of created_at

    def after(self, position: Position | None) -> dict[str, Any]:
        """The parameters of the statement that say where the page begins."""
        values: dict[str, Any] = _START | {"after_created_at": self.start}
        if position is not None:
            values = {f"after_{name}": value for name, value in position._asdict().items()}
            values |= {"after_due_on": position.due_on or NO_DATE, "after_due_time": position.due_time or NO_TIME}
        return {name: values[name] for name, _ in self.statement.parameters if name.startswith("after_")}


SORTS = {
    "-created_at": Sort(1, statement("tasks/page_newest", "many"), has_index=True),
    "created_at": Sort(2, statement("tasks/page_oldest", "many"), has_index=True, start="-infinity"),
    "-updated_at": Sort(3, statement("tasks/page_updated", "many")),
    "due_on": Sort(4, statement("tasks/page_due", "many")),
    "-priority": Sort(5, statement("tasks/page_priority", "many")),
}
NEWEST = SORTS["-created_at"]


class Filters(NamedTuple):
    """The filters by the names of the statements' parameters. None: not filtered by it."""

    is_completed: bool | None = None
    priority: int | None = None
    due_from: str | None = None
    due_to: str | None = None
    tags: str | None = None  # a JSON array
    search: str | None = None


class ListWanted(NamedTuple):
    sort: Sort = NEWEST
    filters: Filters = Filters()

    @property
    def reads_all(self) -> bool:
        """Whether a page takes the longer, the more tasks the owner has."""
        return not self.sort.has_index or self.filters.tags is not None or self.filters.search is not None


EVERYTHING = ListWanted()


class PageWanted(NamedTuple):
    listed: ListWanted = EVERYTHING
    after: Position | None = None  # None: from the start
    limit: int = LIST_LIMIT


FIRST_PAGE = PageWanted()


class Page(NamedTuple):
    tasks: list[Row]  # the first tasks of the page
    ids: list[UUID]  # the ids of the others, whose rows were not read yet
    end: Position | None  # where the next page begins; None: this is the last one
    version: int  # the highest number of the owner when the page was read, or a lower one


async def read_page(database: Database, user_id: UUID, wanted: PageWanted, max_first: int) -> Page:
    """One task more than the limit is asked for, which says whether there is a next page. Of a long page only
    `max_first` tasks are read, and the positions of the others."""
    max_rows = min(wanted.limit + 1, max_first)
    tasks = await _read(database, user_id, wanted, max_rows)
    if tasks:
        version = tasks[0]["list_version"]
    else:
        # Nothing has the number of an empty page. It is read before the page that it is given to, because a client
        # that gets a number believes to have seen everything up to it.
        version = await list_version(database, user_id)
        tasks = await _read(database, user_id, wanted, max_rows)
    if len(tasks) < max_rows:
        return Page(tasks, [], None, version)
    if max_rows > wanted.limit:
        return Page(tasks[:-1], [], Position.of(tasks[-2]), version)
    behind = wanted._replace(after=Position.of(tasks[-1]))
    rest = await _read(database, user_id, behind, wanted.limit + 1 - max_rows, with_texts=False)
    has_next = len(tasks) + len(rest) > wanted.limit
    if has_next:
        rest.pop()
    end = Position.of(rest[-1] if rest else tasks[-1])
    return Page(tasks, [task["id"] for task in rest], end if has_next else None, version)


async def list_version(database: Database, user_id: UUID) -> int:
    """The number of the newest write to any task of the owner."""
    row = await database.one(GET_LIST_VERSION, user_id=user_id)
    if row is None:
        raise user_is_gone()  # a deleted account has no tasks either, and must get 401
    version: int = row["list_version"]
    return version


async def get_tasks(database: Database, user_id: UUID, ids: list[UUID]) -> list[Row]:
    """The tasks with these ids in their order, without those that were deleted."""
    tasks = await database.many(GET_TASKS, user_id=user_id, task_ids=[str(task_id) for task_id in ids])
    if not tasks:
        await require_user(database, user_id)
    return tasks


async def _read(
    database: Database, user_id: UUID, wanted: PageWanted, max_rows: int, *, with_texts: bool = True
) -> list[Row]:
    if wanted.after is None and wanted.listed == EVERYTHING:
        return await database.many(LIST_TASKS, user_id=user_id, max_rows=max_rows)
    sort, filters = wanted.listed
    # A page that takes long goes to the server alone, so that no other request waits for it.
    run = database.many_alone if wanted.listed.reads_all else database.many
    values = filters._asdict() | sort.after(wanted.after) | {"max_rows": max_rows, "with_texts": with_texts}
    return await run(sort.statement, user_id=user_id, **values)
