"""Cursors belong to one list of one user. Any other is refused, whatever it is made of, and never an error of ours."""

import base64
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from service.api import cursor
from service.domain.task_lists import EVERYTHING, SORTS, Filters, ListWanted, Position
from tests.support import FEBRUARY, User

REFUSED = FEBRUARY.invalid(("cursor", "cursor does not belong to this list"))

# Cursors as the first release with lists wrote them. They are never changed: a cursor is good across releases.
READER = UUID("22222222-2222-4222-8222-222222222222")
PLACE = Position(
    created_at="2026-05-04T03:02:01.000009+00:00",
    updated_at="2026-06-05T04:03:02+00:00",
    due_on="2026-12-24",
    due_time="09:30",
    priority=3,
    id=UUID("11111111-1111-4111-8111-111111111111"),
)
FILTERS = Filters(
    is_completed=True, priority=2, due_from="2026-01-01", due_to="2026-12-31", tags='["home","work"]', search="milk"
)
FIRST_RELEASE = [
    (
        "AQEABlD1J4ycSQAGU3m8rwmAAAAAAAWgAAARERERERFBEYERERERERERPs-lNTscFglY-Ste",
        EVERYTHING,
        PLACE._replace(due_on=None, due_time=None, priority=0),
    ),
    (
        "AQUABlD1J4ycSQAGU3m8rwmAAAtKhgI6AAMRERERERFBEYERERERERER9FWl0B1og9BRDjqn",
        ListWanted(SORTS["-priority"], FILTERS),
        PLACE,
    ),
]

LISTS: list[dict[str, Any]] = [
    {},
    {"sort": "created_at"},
    {"sort": "-updated_at"},
    {"sort": "due_on"},
    {"sort": "-priority"},
    {"is_completed": "false"},
    {"priority": "none"},
    {"tag": "home"},
    {"tag": ["home", "garden"]},
    {"due_from": "2026-01-01"},
    {"due_to": "2026-12-31"},
    {"due_from": "2026-01-01", "due_to": "2026-12-31"},
    {"q": "plants"},
    {"q": "Plants"},
]
ONE_LIST = {"sort": "due_on", "tag": ["home", "garden"], "q": "a", "is_completed": "false"}


@pytest.fixture
def reader(ann: User) -> User:
    """A user with two tasks that are in all of LISTS."""
    for _ in range(2):
        ann.creates(FEBRUARY, "Water the plants, Plants", due_on="2026-06-01", tags=["home", "garden"])
    return ann


def first_cursor(user: User, **query: Any) -> str:
    found: str = user.get("/api/tasks", params={"limit": 1} | query).json()["next_cursor"]
    return found


def answer(user: User, given: str, **query: Any) -> tuple[int, Any]:
    found = user.get("/api/tasks", params=query | {"cursor": given})
    return found.status_code, found.json()


@pytest.mark.parametrize("query", LISTS, ids=str)
def test_a_cursor_is_short_opaque_text_and_taken_by_its_own_list_alone(reader: User, query: dict[str, Any]) -> None:
    given = first_cursor(reader, **query)

    assert len(given) <= cursor.MAX_CURSOR_CHARACTERS
    assert set(given) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert len(answer(reader, given, **query)[1]["tasks"]) == 1
    for other in LISTS:
        if other != query:
            assert answer(reader, given, **other) == (400, REFUSED)


def test_a_cursor_is_good_with_another_limit_and_with_the_same_filters_in_other_words(reader: User) -> None:
    given = first_cursor(reader, **ONE_LIST)

    for same in (
        ONE_LIST | {"limit": 1000},
        ONE_LIST | {"tag": ["garden", " home ", "garden"]},
        ONE_LIST | {"unknown": "x", "user_id": str(UUID(int=1))},
    ):
        status, body = answer(reader, given, **same)
        assert (status, len(body["tasks"]), body["next_cursor"]) == (200, 1, None)
    assert answer(reader, first_cursor(reader), sort="-created_at")[0] == 200


def test_a_cursor_of_another_user_is_refused(reader: User, bob: User) -> None:
    for query in ({}, ONE_LIST):
        assert answer(bob, first_cursor(reader, **query), **query) == (400, REFUSED)


def test_a_cursor_that_is_cut_or_changed_anywhere_is_refused(reader: User) -> None:
    given = first_cursor(reader)

    for place, character in enumerate(given):
        changed = "A" if character != "A" else "B"
        for broken in (given[:place], given[place + 1 :], given[:place] + changed + given[place + 1 :]):
            assert answer(reader, broken) == (400, REFUSED)


@pytest.mark.parametrize(
    "given",
    [
        "",
        " ",
        "null",
        "x" * 72,
        "A" * 72,
        "_" * 72,
        "x" * 300,
        "x" * 301,
        "x" * 5000,
        "\0",
        "é" * 72,
        "٣" * 72,
        "😀",
        "../../etc/passwd",
        "' OR 1=1 --",
        "=" * 72,
        "A" * 71 + "\n",
    ],
)
def test_a_text_that_is_no_cursor_is_refused(ann: User, given: str) -> None:
    assert answer(ann, given) == (400, REFUSED)


def test_a_cursor_with_blanks_or_padding_around_is_refused(reader: User) -> None:
    given = first_cursor(reader)

    for broken in (f" {given}", f"{given} ", f"{given}=", f"{given}\n", f'"{given}"'):
        assert answer(reader, broken) == (400, REFUSED)


def forged(user: User, listed: ListWanted = EVERYTHING, **changed: int | bytes) -> str:
    """A cursor with these values, and the digest that belongs to them: it holds no secret."""
    values: dict[str, int | bytes] = {
        "version": cursor.VERSION, "sort": listed.sort.number, "created_at": 0, "updated_at": 0, "day": 739_000,
        "minute": 570, "priority": 0, "id": b"\x11" * 16,
    }  # fmt: skip
    place = cursor._PLACE.pack(*(values | changed).values())
    digest = cursor._digest(place, UUID(user.id), listed)
    return base64.urlsafe_b64encode(place + digest).decode()


def numbers(*names: str, wrong: list[int]) -> Iterator[dict[str, int]]:
    for name in names:
        yield from ({name: value} for value in wrong)


@pytest.mark.parametrize(
    "changed",
    [
        *numbers("version", wrong=[0, 2, 255]),
        *numbers(
            "created_at", "updated_at", wrong=[-(2**63), 2**63 - 1, -62_135_596_800_000_001, 253_402_300_800_000_000]
        ),
        *numbers("day", wrong=[-1, -(2**31), 2**31 - 1, 3_652_060]),
        *numbers("minute", wrong=[-1, 1441, -(2**15), 2**15 - 1]),
        *numbers("priority", wrong=[4, 5, 65_535]),
    ],
    ids=str,
)
def test_a_forged_cursor_with_a_value_that_no_task_has_is_refused(ann: User, changed: dict[str, int]) -> None:
    for name, sort in SORTS.items():
        assert answer(ann, forged(ann, ListWanted(sort), **changed), sort=name) == (400, REFUSED)


@pytest.mark.parametrize(
    "changed",
    [
        *numbers("created_at", "updated_at", wrong=[-62_135_596_800_000_000, 253_402_300_799_999_999, -1]),
        *numbers("day", wrong=[0, 1, 3_652_059]),
        *numbers("minute", wrong=[0, 1439, 1440]),
        *numbers("priority", wrong=[3]),
        {"id": b"\0" * 16},
        {"id": b"\xff" * 16},
    ],
    ids=str,
)
def test_a_forged_cursor_with_values_of_tasks_moves_within_the_list_of_its_user(
    ann: User, bob: User, changed: dict[str, Any]
) -> None:
    mine = ann.creates(FEBRUARY)
    bob.creates(FEBRUARY)

    for name, sort in SORTS.items():
        status, body = answer(ann, forged(ann, ListWanted(sort), **changed), sort=name)
        assert status == 200
        assert body in ({"tasks": [mine], "next_cursor": None}, {"tasks": [], "next_cursor": None})


def test_a_cursor_under_the_number_of_another_sort_is_refused(ann: User) -> None:
    numbers_of_sorts = [sort.number for sort in SORTS.values()]

    for name, sort in SORTS.items():
        for number in {*numbers_of_sorts, 0, 6, 255} - {sort.number}:
            place = cursor._PLACE.pack(cursor.VERSION, number, 0, 0, 1, 0, 0, b"\x11" * 16)
            digest = cursor._digest(place, UUID(ann.id), ListWanted(sort))
            assert answer(ann, base64.urlsafe_b64encode(place + digest).decode(), sort=name) == (400, REFUSED)


@pytest.mark.parametrize(("given", "listed", "place"), FIRST_RELEASE)
def test_a_cursor_of_the_first_release_with_lists_is_still_good(
    given: str, listed: ListWanted, place: Position
) -> None:
    found = cursor.Cursor.read(given)

    assert found is not None
    assert found.position == place
    assert found.belongs_to(READER, listed)
    assert cursor.write(place, READER, listed) == given


def test_the_numbers_of_sorts_in_cursors_never_change() -> None:
    assert {name: sort.number for name, sort in SORTS.items()} == {
        "-created_at": 1, "created_at": 2, "-updated_at": 3, "due_on": 4, "-priority": 5,
    }  # fmt: skip


def test_a_cursor_is_refused_together_with_the_other_parameters(reader: User, bob: User) -> None:
    foreign = first_cursor(reader, sort="due_on")

    assert answer(bob, foreign, sort="due_on", limit="0") == (
        400,
        FEBRUARY.invalid(
            ("limit", "limit must be a number from 1 to 1000"), ("cursor", "cursor does not belong to this list")
        ),
    )
    # Whether it belongs to the list cannot be said without the sort.
    sorts = "sort must be one of -created_at, created_at, -updated_at, due_on, -priority"
    assert answer(reader, foreign, sort="nonsense") == (400, FEBRUARY.invalid(("sort", sorts)))
    assert answer(reader, "x", sort="nonsense") == (
        400,
        FEBRUARY.invalid(("cursor", "cursor does not belong to this list"), ("sort", sorts)),
    )
