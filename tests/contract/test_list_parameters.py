"""The filters of February's list, and the refusal of parameters that break their rules: all of them at once."""

import json
from typing import Any

import psycopg
import pytest

from tests.support import FEBRUARY, Service, User

SORTS = "sort must be one of -created_at, created_at, -updated_at, due_on, -priority"
PRIORITIES = "priority must be one of none, low, medium, high"
A_DATE = "must be a date like 2026-12-24"
NOT_STORABLE = "contains a character that cannot be stored"
IS_COMPLETED = "is_completed must be true or false"
LIMIT = "limit must be a number from 1 to 1000"

NO_LIMITS = [
    "", "0", "1001", "-1", "%2B5", "1.5", "5x", "+5", "1_0", "007", "1e2", "%D9%A3", "%EF%BC%95", "9" * 20, "9" * 5000,
    "NaN", "%00", "%FF", "null",
]  # fmt: skip
NO_DATES = [
    "", "2026-02-30", "2023-02-29", "2026-2-3", "20260203", "2026-W01-1", "1899-12-31", "3000-01-01", "9999-12-31",
    "infinity", "today", "2026-12-24T00:00:00Z", "%D9%A2026-12-24", "-2026-12-24", "%00", "%FF",
]  # fmt: skip


def titles(user: User, query: str) -> list[str]:
    answer = user.get(f"/api/tasks?{query}")
    assert answer.status_code == 200, answer.text
    return [task["title"] for task in reversed(answer.json()["tasks"])]


@pytest.fixture
def planner(ann: User) -> User:
    ann.creates(FEBRUARY, "one", description="Buy MILK", priority="high", tags=["Work", "Home"], due_on="2024-02-29")
    ann.creates(FEBRUARY, "two", description="100% a_b", priority="low", tags=["work"], due_on="2024-03-01")
    ann.creates(FEBRUARY, "three milk", tags=["Ärger", 'a"b', "back\\slash"], due_on="2999-12-31")
    done = ann.creates(FEBRUARY, "four", priority="high", tags=["workshop"])
    ann.put(f"/api/tasks/{done['id']}", {"is_completed": True})
    return ann


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["one", "two", "three milk", "four"]),
        ("is_completed=true", ["four"]),
        ("is_completed=false", ["one", "two", "three milk"]),
        ("priority=high", ["one", "four"]),
        ("priority=none", ["three milk"]),
        ("priority=medium", []),
        ("tag=work", ["one", "two"]),
        ("tag=WORK&tag=hOME", ["one"]),
        ("tag=work&tag=work&tag=WORK", ["one", "two"]),
        ("tag=%20home+", ["one"]),
        ("tag=wor", []),
        ("tag=%C3%84RGER", ["three milk"]),
        ("tag=A%22B", ["three milk"]),
        ("tag=back%5Cslash", ["three milk"]),
        ("tag=%25", []),
        ("tag=work&tag=nobody", []),
        ("due_from=2024-02-29", ["one", "two", "three milk"]),
        ("due_from=2024-03-01", ["two", "three milk"]),
        ("due_to=2024-02-29", ["one"]),
        ("due_from=2024-03-01&due_to=2024-03-01", ["two"]),
        ("due_from=2024-03-02&due_to=2024-03-01", []),
        ("due_from=1900-01-01&due_to=2999-12-31", ["one", "two", "three milk"]),
        ("q=milk", ["one", "three milk"]),
        ("q=MiLk", ["one", "three milk"]),
        ("q=buy+milk", ["one"]),
        ("q=100%25+A", ["two"]),
        ("q=%25", ["two"]),
        ("q=a_b", ["two"]),
        ("q=a%5C_b", []),
        ("q=+", ["one", "two", "three milk"]),
        ("q=milk&is_completed=true", []),
        ("q=o&priority=high&is_completed=true&tag=workshop", ["four"]),
    ],
)
def test_a_filter_finds_these_tasks(planner: User, query: str, expected: list[str]) -> None:
    assert titles(planner, query) == expected


@pytest.mark.parametrize(
    ("query", "message"),
    [
        *((f"limit={value}", LIMIT) for value in NO_LIMITS),
        ("limit", LIMIT),
        *((f"sort={value}", SORTS) for value in ("", "created", "-due_on", "CREATED_AT", "due_on,title", "%00", "-")),
        *((f"is_completed={value}", IS_COMPLETED) for value in ("", "1", "True", "null", "%FF")),
        *((f"priority={value}", PRIORITIES) for value in ("", "High", "3", "urgent", "none,low", "%00")),
        *((f"{name}={value}", f"{name} {A_DATE}") for name in ("due_from", "due_to") for value in NO_DATES),
        ("tag=", "tag must have 1 to 50 characters"),
        ("tag", "tag must have 1 to 50 characters"),
        ("tag=%20%E3%80%80", "tag must have 1 to 50 characters"),
        ("tag=" + "x" * 51, "tag must have 1 to 50 characters"),
        ("tag=ok&tag=", "tag must have 1 to 50 characters"),
        ("&".join(f"tag={n}" for n in range(21)), "tag must be given at most 20 times"),
        ("tag=a%00b", f"tag {NOT_STORABLE}"),
        ("tag=%ED%A0%80", f"tag {NOT_STORABLE}"),
        ("q=", "q must have 1 to 100 characters"),
        ("q=" + "x" * 101, "q must have 1 to 100 characters"),
        ("q=%00", f"q {NOT_STORABLE}"),
        ("q=%ED%A0%80", f"q {NOT_STORABLE}"),
        ("q=%FF", f"q {NOT_STORABLE}"),
        ("q=%C3", f"q {NOT_STORABLE}"),
        *(
            (f"{name}={value}&{name}={value}", f"{name} must be given once")
            for name, value in (
                ("limit", "5"), ("cursor", "x"), ("sort", "due_on"), ("is_completed", "true"), ("priority", "low"),
                ("due_from", "2026-01-01"), ("due_to", "2026-01-01"), ("q", "x"),
            )
        ),
        ("q=x&q=", "q must be given once"),
    ],
)  # fmt: skip
def test_a_parameter_that_breaks_its_rule_is_named(ann: User, query: str, message: str) -> None:
    answer = ann.get(f"/api/tasks?{query}")

    assert (answer.status_code, answer.json()) == (400, FEBRUARY.invalid((message.partition(" ")[0], message)))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("q=100%", f"q {NOT_STORABLE}"),
        ("q=%zz", f"q {NOT_STORABLE}"),
        ("q=%u0041", f"q {NOT_STORABLE}"),
        ("tag=%4", f"tag {NOT_STORABLE}"),
        ("limit=5%", LIMIT),
        ("limit=%35%", LIMIT),
        ("%zz=%&limit=%zz", LIMIT),
    ],
)
def test_a_percent_sign_that_begins_no_escape_is_refused(service: Service, ann: User, query: str, message: str) -> None:
    """In raw bytes, because a client's library would encode the percent sign."""
    fields = f"Host: x\r\nConnection: close\r\nAuthorization: Bearer {ann.token}\r\n\r\n"

    answer = service.raw(f"GET /api/tasks?{query} HTTP/1.1\r\n{fields}".encode())

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == FEBRUARY.invalid((message.partition(" ")[0], message))


def test_all_parameters_that_break_their_rules_are_named_in_the_order_of_the_contract(ann: User) -> None:
    query = "q=&due_to=x&due_from=x&tag=&priority=x&is_completed=x&sort=x&sort=x&cursor=x&limit=x&foo=%FF"

    answer = ann.get(f"/api/tasks?{query}")

    assert (answer.status_code, answer.json()) == (
        400,
        FEBRUARY.invalid(
            ("limit", LIMIT),
            ("cursor", "cursor does not belong to this list"),
            ("sort", "sort must be given once"),
            ("is_completed", IS_COMPLETED),
            ("priority", PRIORITIES),
            ("tag", "tag must have 1 to 50 characters"),
            ("due_from", f"due_from {A_DATE}"),
            ("due_to", f"due_to {A_DATE}"),
            ("q", "q must have 1 to 100 characters"),
        ),
    )


@pytest.mark.parametrize(
    "query",
    [
        "?", "?&", "?&&=", "?=x", "?foo=bar", "?foo=1&foo=2", "?%FF=%FF", "?LIMIT=0", "?limit%5B%5D=0",
        "?%00=%00", "?user_id=x", "?a=" + "x" * 4000, "?;limit=0",
    ],
)  # fmt: skip
def test_unknown_parameters_are_ignored(ann: User, query: str) -> None:
    task = ann.creates(FEBRUARY)

    answer = ann.get(f"/api/tasks{query}")

    assert (answer.status_code, answer.json()) == (200, {"tasks": [task], "next_cursor": None})


@pytest.mark.parametrize("path", ["/api/tasks/?limit=1", "/api/tasks?%6Cimit=%31", "/api/tasks?limit=1&"])
def test_a_parameter_is_read_on_the_path_with_a_slash_and_in_percent_encoding(ann: User, path: str) -> None:
    first, second = ann.creates(FEBRUARY, "first"), ann.creates(FEBRUARY, "second")

    answer = ann.get(path)

    assert [answer.json()["tasks"], ann.get("/api/tasks").json()["tasks"]] == [[second], [second, first]]


def test_lengths_of_texts_are_counted_in_characters(ann: User) -> None:
    wide, long = "\U0001f642" * 50, "\U0001f642" * 100
    task = ann.creates(FEBRUARY, "x", description=f"{long}.", tags=[wide])

    for query in ({"tag": wide}, {"q": long}, {"limit": "1000"}, {"limit": "1"}):
        answer = ann.get("/api/tasks", params=query)
        assert (answer.status_code, answer.json()["tasks"]) == (200, [task])


def test_an_open_list_of_20_tags_finds_a_task_with_all_of_them(ann: User) -> None:
    names = [f"Tag {n}" for n in range(20)]
    task = ann.creates(FEBRUARY, tags=names)
    ann.creates(FEBRUARY, tags=names[:19])

    answer = ann.get("/api/tasks", params={"tag": [name.upper() for name in names]})

    assert answer.json()["tasks"] == [task]


def test_a_list_of_completed_tasks_shows_a_task_as_soon_as_it_is_completed(
    ann: User, database: psycopg.Connection
) -> None:
    task: dict[str, Any] = ann.creates(FEBRUARY)

    assert titles(ann, "is_completed=true") == []
    changed = ann.put(f"/api/tasks/{task['id']}", {"is_completed": True}).json()
    assert ann.get("/api/tasks?is_completed=true").json()["tasks"] == [changed]
