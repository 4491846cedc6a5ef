"""The rule of each planning field by itself: refused values and their messages, and values at the limits."""

from typing import Any

import pytest

from service.field_rules import TIME_ZONES
from tests.contract.planning import NO_PLAN, PLAN, changed, read
from tests.support import FEBRUARY, User

# Every character that str.strip() removes.
WHITE_SPACE = [chr(point) for point in range(0x3001) if chr(point).isspace()]

DATE = "Due date must be a date like 2026-12-24"
TIME = "Due time must be a time like 09:30"
ZONE = "Time zone must be a name like Europe/Berlin"
PRIORITY = "Priority must be one of none, low, medium, high"
TAGS = "Tags must be a list of at most 20 texts"
TAG = "A tag must have 1 to 50 characters"
TAG_NUL = "A tag contains a character that cannot be stored"


NO_TEXTS = ["", " ", 1, 0, 1.5, True, False, [], {}, ["x"], {"x": 1}]

NO_TAGS: list[Any] = [None, "", "home", 1, True, {}, {"0": "x"}, [None], [1], [True], [["x"]], [{}]]

REFUSED_DATES = [
    *NO_TEXTS,
    "2026-02-29",
    "2100-02-29",
    "2026-13-01",
    "2026-00-10",
    "2026-04-31",
    "2026-01-00",
    "1899-12-31",
    "3000-01-01",
    "9999-12-31",
    "0000-01-01",
    "0001-01-01",
    "infinity",
    "-infinity",
    "now",
    "today",
    "epoch",
    "20261224",
    "2026-358",
    "2026-W52-4",
    "2026-12-4",
    "26-12-24",
    "02026-12-24",
    "2026/12/24",
    "24.12.2026",
    "2026-12-24T00:00",
    "2026-12-24T00:00:00Z",
    "2026-12-24 BC",
    " 2026-12-24",
    "2026-12-24\n",
    "2026-12-24\0",
    "-2026-12-24",
    "\u0662\u0660\u0662\u0666-\u0661\u0662-\u0662\u0664",
    "\uff12\uff10\uff12\uff16-12-24",
    20261224,
]
REFUSED_TIMES = [
    *NO_TEXTS,
    "24:00",
    "23:60",
    "25:00",
    "-1:00",
    "9:30",
    "0930",
    "09.30",
    "09:3",
    "09:30:00",
    "09:30:15",
    "09:30.5",
    "09:30Z",
    "09:30+01",
    "09:30 PM",
    "T09:30",
    " 09:30",
    "09:30\n",
    "09:30\0",
    "allballs",
    "now",
    "\u0660\u0669:\u0663\u0660",
    930,
]
REFUSED_ZONES = [
    *NO_TEXTS,
    "Europe/Nowhere",
    "europe/berlin",
    "EUROPE/BERLIN",
    "utc",
    " UTC",
    "UTC\0",
    "Europe/Berlin\n",
    "CEST",
    "PST",
    "posixrules",
    "localtime",
    "posix/UTC",
    "right/UTC",
    "Foo5",
    "<+01>-1",
    "+01:00",
    "../UTC",
    "/usr/share/zoneinfo/UTC",
    "Europe",
    "UTC" * 1000,
]
REFUSED_PRIORITIES = [None, *NO_TEXTS, "High", "HIGH", "urgent", " low", "low\0", 3]
REFUSED_TAGS: list[tuple[Any, str]] = [
    *((broken, TAGS) for broken in NO_TAGS),
    (["x", None], TAGS),
    ([f"tag {n}" for n in range(21)], TAGS),
    (["x"] * 21, TAGS),
    (["a\0b"], TAG_NUL),
    (["\0"], TAG_NUL),
    (["x" * 51, "a\0b"], TAG_NUL),
    ([""], TAG),
    (["home", " "], TAG),
    *(([blank], TAG) for blank in WHITE_SPACE),
    (["x" * 51], TAG),
    (["\U0001f642" * 51], TAG),
    (["e\u0301" * 26], TAG),
]
REFUSED: list[tuple[str, Any, str]] = [
    *(("due_on", value, DATE) for value in REFUSED_DATES),
    *(("due_time", value, TIME) for value in REFUSED_TIMES),
    *(("time_zone", value, ZONE) for value in REFUSED_ZONES),
    *(("priority", value, PRIORITY) for value in REFUSED_PRIORITIES),
    *(("tags", value, message) for value, message in REFUSED_TAGS),
]


@pytest.mark.parametrize("field", PLAN)
def test_value_that_breaks_a_fields_rule_returns_400_and_changes_nothing(ann: User, field: str) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    refused = [(value, message) for name, value, message in REFUSED if name == field]
    assert refused
    for value, message in refused:
        for answer in (
            ann.post("/api/tasks", {"title": "x", **PLAN, field: value}),
            ann.put(f"/api/tasks/{task['id']}", {field: value}),
        ):
            assert (value, answer.status_code, answer.json()) == (value, 400, FEBRUARY.invalid((field, message)))

    assert ann.get("/api/tasks").json()["tasks"] == [task]


def test_every_field_at_fault_is_reported_at_once_in_the_order_of_the_contract(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    sent = {"tags": "x", "priority": 1, "time_zone": "x", "due_time": "x", "due_on": "x", "description": 1, "title": ""}
    details = [
        ("description", "Description must be a string"),
        ("due_on", DATE),
        ("due_time", TIME),
        ("time_zone", ZONE),
        ("priority", PRIORITY),
        ("tags", TAGS),
    ]

    created = ann.post("/api/tasks", sent)
    updated = ann.put(f"/api/tasks/{task['id']}", sent | {"is_completed": 1})

    assert (created.status_code, created.json()) == (400, FEBRUARY.invalid(("title", "Title is required"), *details))
    details.insert(1, ("is_completed", "is_completed must be true or false"))
    assert (updated.status_code, updated.json()) == (
        400,
        FEBRUARY.invalid(("title", "Title cannot be empty"), *details),
    )


@pytest.mark.parametrize("text", [b'"\\ud800"', b'["\\udfff"]', b"\xff"])
def test_field_that_is_no_unicode_makes_the_body_unreadable(ann: User, text: bytes) -> None:
    for field in PLAN:
        body = b'{"title": "x", "%s": %s}' % (field.encode(), text)
        answer = ann.request("POST", "/api/tasks", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "Request body is not valid JSON", "code": "INVALID_REQUEST"},
        )


@pytest.mark.parametrize("due_on", ["1900-01-01", "2999-12-31", "2024-02-29", "2000-02-29", "2026-12-24"])
def test_due_date_is_returned_as_it_was_sent(ann: User, due_on: str) -> None:
    task = ann.creates(FEBRUARY, due_on=due_on)

    assert task == task | NO_PLAN | {"due_on": due_on}
    assert read(ann, task) == task
    assert changed(ann, ann.creates(FEBRUARY), due_on=due_on)["due_on"] == due_on


@pytest.mark.parametrize("due_time", ["00:00", "09:30", "12:00", "23:59"])
def test_due_time_is_returned_as_it_was_sent(ann: User, due_time: str) -> None:
    task = ann.creates(FEBRUARY, due_on="2026-12-24", due_time=due_time)

    assert task == task | NO_PLAN | {"due_on": "2026-12-24", "due_time": due_time}
    assert read(ann, task) == task


def test_every_name_of_the_iana_database_is_a_time_zone(ann: User) -> None:
    task = ann.creates(FEBRUARY, **PLAN)

    assert {"Europe/Berlin", "Europe/Kyiv", "Europe/Kiev", "UTC", "EST5EDT", "Etc/GMT+12"} <= TIME_ZONES
    for time_zone in TIME_ZONES:
        answer = ann.put(f"/api/tasks/{task['id']}", {"time_zone": time_zone})
        assert (answer.status_code, answer.json().get("time_zone")) == (200, time_zone)


@pytest.mark.parametrize("priority", ["none", "low", "medium", "high"])
def test_priority_is_returned_as_it_was_sent(ann: User, priority: str) -> None:
    task = ann.creates(FEBRUARY, priority=priority)

    assert task == task | NO_PLAN | {"priority": priority}
    assert read(ann, task) == task


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ([], []),
        ([f"tag {n}" for n in range(20)], [f"tag {n}" for n in range(20)]),
        (["b", "a", "c"], ["b", "a", "c"]),
        (["x" * 50, "\U0001f642" * 50], ["x" * 50, "\U0001f642" * 50]),
        ([f"{blank}a{blank}b{blank}" for blank in WHITE_SPACE[:15]], [f"a{blank}b" for blank in WHITE_SPACE[:15]]),
        ([f"{blank}a{blank}b{blank}" for blank in WHITE_SPACE[15:]], [f"a{blank}b" for blank in WHITE_SPACE[15:]]),
        ([" " * 60 + "x" + " " * 60], ["x"]),
        (["\ufeff", "\u200b", "\x01", "\x7f"], ["\ufeff", "\u200b", "\x01", "\x7f"]),
        (['"', "\\", "\\u0041", "'; --", "$1", "%s", "[]", "null", "</b>", "\u202e"],) * 2,
        (["home", "home"], ["home"]),
        (["Home", "garden", "HOME", "home", "Garden"], ["Home", "garden"]),
        (["home", " HOME "], ["home"]),
        (["Ä", "ä", "\u00c9t\u00e9", "\u00e9T\u00c9"], ["Ä", "\u00c9t\u00e9"]),
        # One of them composed: another text, not another case.
        (["\u00e9", "e\u0301", "\u00c9", "E\u0301"], ["\u00e9", "e\u0301"]),
        # PostgreSQL's lower() changes one letter into one letter, whatever comes after it.
        (["ß", "ss", "SS", "ẞ"], ["ß", "ss"]),
        (["Σ", "\u03c3", "ς"], ["Σ", "ς"]),
        (["İ", "i", "I", "\u0131"], ["İ", "\u0131"]),
        (["x"] * 20, ["x"]),
    ],
    ids=str,
)  # fmt: skip
def test_tags_are_trimmed_and_the_first_of_each_case_is_kept_in_order(
    ann: User, sent: list[str], kept: list[str]
) -> None:
    task = ann.creates(FEBRUARY, tags=sent)

    assert task == task | NO_PLAN | {"tags": kept}
    assert read(ann, task) == task
    assert changed(ann, ann.creates(FEBRUARY, tags=["before"]), tags=sent)["tags"] == kept
