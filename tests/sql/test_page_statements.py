"""The statements of pages, each alone: with an owner and a stranger, and with the parameters that they are run with."""

from datetime import date, datetime, time
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from service.domain.task_lists import EVERYTHING, GET_TASKS, SORTS, Filters, Position, Sort
from tests.sql.owners import Run, new_task

INFINITY, MINUS_INFINITY = datetime.max, datetime.min  # noqa: DTZ901 - without a zone they are the driver's infinities
TEXTS = ("title", "description", "tags")


def native(name: str, value: Any) -> Any:
    """The driver's own values of dates and times; the service sends them as texts."""
    match name:
        case "after_created_at" | "after_updated_at":
            return {"infinity": INFINITY, "-infinity": MINUS_INFINITY}.get(value, value)
        case "after_due_on":
            return {"infinity": date.max, "-infinity": date.min}.get(value, value)
        case "after_due_time":
            return time(0) if value == "00:00" else value
        case _:
            return value


def page(
    run: Run,
    sort: Sort,
    owner: UUID,
    after: asyncpg.Record | None = None,
    *,
    max_rows: int = 100,
    with_texts: bool = True,
    **filters: Any,
) -> list[asyncpg.Record]:
    begin = sort.after(None if after is None else Position.of(after))
    values = {name: native(name, value) for name, value in begin.items()} | Filters(**filters)._asdict()
    return run(sort.statement, user_id=owner, max_rows=max_rows, with_texts=with_texts, **values)


@pytest.fixture(params=SORTS)
def sort(request: pytest.FixtureRequest) -> Sort:
    return SORTS[request.param]


@pytest.fixture
def planned(run: Run, owner: UUID, stranger: UUID) -> list[asyncpg.Record]:
    """Tasks of the owner with dates and times, so that no bound of a page stands for a missing one."""
    fields: list[dict[str, Any]] = [
        {"due_on": date(2026, 1, day), "due_time": time(hour), "priority": priority}
        for day, hour, priority in ((1, 9, 0), (1, 9, 3), (2, 8, 0), (2, 9, 3), (3, 7, 1))
    ]
    tasks = [new_task(run, owner, f"Task {n}", **given) for n, given in enumerate(fields)]
    for given in fields:
        new_task(run, stranger, "Another user's", **given)
    return tasks


def ids(rows: list[asyncpg.Record]) -> list[UUID]:
    return [row["id"] for row in rows]


def test_a_page_has_the_owners_tasks_alone_and_the_next_follows_it(
    run: Run, owner: UUID, sort: Sort, planned: list[asyncpg.Record]
) -> None:
    whole = page(run, sort, owner)

    assert set(ids(whole)) == set(ids(planned))
    assert {row["user_id"] for row in whole} == {owner}
    found: list[asyncpg.Record] = []
    while rows := page(run, sort, owner, found[-1] if found else None, max_rows=2):
        found += rows
    assert found == whole


def test_a_page_behind_a_task_of_a_stranger_has_the_owners_tasks_alone(
    run: Run, owner: UUID, stranger: UUID, sort: Sort, planned: list[asyncpg.Record]
) -> None:
    for theirs in page(run, sort, stranger):
        behind = page(run, sort, owner, theirs)
        assert set(ids(behind)) <= set(ids(planned))


def test_without_texts_a_page_has_the_same_rows_but_for_texts_and_tags(
    run: Run, owner: UUID, sort: Sort, planned: list[asyncpg.Record]
) -> None:
    whole = page(run, sort, owner)
    places = page(run, sort, owner, with_texts=False)

    assert [dict(row) | dict.fromkeys(TEXTS) for row in whole] == [dict(row) for row in places]
    assert all(row["title"] is not None for row in whole)


@pytest.mark.parametrize(
    "filters",
    [
        {"is_completed": True},
        {"priority": 2},
        {"due_from": date(2026, 2, 1)},
        {"due_to": date(2025, 12, 31)},
        {"tags": '["nobody"]'},
        {"search": "Another user's"},
    ],
    ids=str,
)
def test_a_filter_of_a_page_is_one_of_the_owners_tasks(
    run: Run, owner: UUID, stranger: UUID, sort: Sort, planned: list[asyncpg.Record], filters: dict[str, Any]
) -> None:
    assert page(run, sort, owner, **filters) == []
    for name in filters:
        assert name in dict(sort.statement.parameters)


def test_each_sort_passes_the_parameters_of_its_statement(sort: Sort) -> None:
    """As tests/sql/test_call_sites.py does for statements that are named at their calls."""
    first, later = (sort.after(place) for place in (None, Position("", "", None, None, 0, UUID(int=0))))

    assert list(first) == list(later)
    passed = {"user_id", "max_rows", "with_texts", *Filters._fields, *first}
    assert passed == {name for name, _ in sort.statement.parameters}
    assert sort.statement.kind == "many"


def test_the_default_list_is_the_first_of_the_sorts() -> None:
    assert EVERYTHING.sort is next(iter(SORTS.values()))
    assert EVERYTHING.filters == Filters()


def test_get_tasks_returns_the_owners_tasks_in_the_order_asked_for(
    run: Run, owner: UUID, stranger: UUID, planned: list[asyncpg.Record]
) -> None:
    theirs = [str(task_id) for task_id in ids(page(run, EVERYTHING.sort, stranger))]
    third, first, fourth = (str(planned[place]["id"]) for place in (3, 0, 4))
    wanted = [third, theirs[0], first, str(UUID(int=0)), fourth, theirs[1]]

    assert run(GET_TASKS, user_id=owner, task_ids=wanted) == [planned[3], planned[0], planned[4]]
    assert run(GET_TASKS, user_id=owner, task_ids=theirs) == []
    assert run(GET_TASKS, user_id=owner, task_ids=[]) == []
