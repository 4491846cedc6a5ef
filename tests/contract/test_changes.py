"""GET /api/changes: what has changed since a client last asked, each task once, and nothing twice or never."""

import base64
import time
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from service.api import change_cursor
from service.domain.account_changes import BEFORE_ALL_IDS, DELETE_TASKS
from tests.support import FEBRUARY, JANUARY, User

EXPIRED = {"error": "Start again without a cursor", "code": "CURSOR_EXPIRED"}
REFUSED = FEBRUARY.invalid(("cursor", "cursor does not belong to these changes"))


def changes(user: User, cursor: str | None = None, **more: Any) -> dict[str, Any]:
    answer = asked(user, cursor, **more)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def asked(user: User, cursor: str | None = None, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return user.get("/api/changes", params=({"cursor": cursor} if cursor else {}) | more, headers=headers)


def changed(task: dict[str, Any]) -> dict[str, Any]:
    return {"id": task["id"], "version": task["version"], "task": task}


def deleted(task: dict[str, Any], version: int) -> dict[str, Any]:
    return {"id": task["id"], "version": version, "task": None}


def test_without_a_cursor_every_living_task_is_answered_in_the_order_of_versions(ann: User, bob: User) -> None:
    first, second, gone = ann.creates(FEBRUARY), ann.creates(JANUARY), ann.creates(FEBRUARY)
    bob.creates(FEBRUARY)
    ann.delete(f"/api/tasks/{gone['id']}")
    first = ann.put(f"/api/tasks/{first['id']}", {"is_completed": True}).json()
    second = ann.get(f"/api/tasks/{second['id']}").json()
    answer = changes(ann)

    assert answer == {"changes": [changed(second), changed(first)], "cursor": answer["cursor"], "has_more": False}
    assert len(answer["cursor"]) <= 300


def test_after_a_cursor_each_changed_task_is_answered_once_at_its_newest(ann: User) -> None:
    kept, edited, gone = ann.creates(FEBRUARY), ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    cursor = changes(ann)["cursor"]
    for title in ("a", "b"):
        edited = ann.put(f"/api/tasks/{edited['id']}", {"title": title}).json()
    ann.delete(f"/api/tasks/{gone['id']}")
    new = ann.creates(FEBRUARY)
    short_lived = ann.creates(FEBRUARY)
    ann.delete(f"/v1/api/tasks/{short_lived['id']}")
    answer = changes(ann, cursor)

    assert answer["changes"] == [changed(edited), deleted(gone, 6), changed(new), deleted(short_lived, 9)]
    assert kept["id"] not in str(answer)
    assert changes(ann, answer["cursor"])["changes"] == []


def test_pages_have_every_change_once(ann: User) -> None:
    tasks = [ann.creates(FEBRUARY) for _ in range(7)]
    for limit in (1, 2, 3, 7, 1000):
        found, cursor, more = [], None, True
        while more:
            page = changes(ann, cursor, limit=limit)
            assert len(page["changes"]) <= limit
            found += page["changes"]
            cursor, more = page["cursor"], page["has_more"]
        assert found == [changed(task) for task in tasks]


def test_a_task_that_is_deleted_between_two_pages_is_answered_as_a_deletion(ann: User) -> None:
    first, second = ann.creates(FEBRUARY), ann.creates(FEBRUARY)
    page = changes(ann, limit=1)
    ann.delete(f"/api/tasks/{first['id']}")
    rest = changes(ann, page["cursor"])

    assert page["changes"] == [changed(first)]
    assert page["has_more"]
    assert rest["changes"] == [changed(second), deleted(first, 3)]


def test_tasks_from_before_there_were_versions_are_all_answered(ann: User, database: psycopg.Connection) -> None:
    database.execute(
        "INSERT INTO tasks (user_id, title) SELECT %s, 'old ' || n FROM generate_series(1, 5) AS n", [ann.id]
    )
    found, cursor, more = [], None, True
    while more:
        page = changes(ann, cursor, limit=2)
        found += page["changes"]
        cursor, more = page["cursor"], page["has_more"]

    assert [change["version"] for change in found] == [0] * 5
    assert {change["task"]["title"] for change in found} == {f"old {n}" for n in range(1, 6)}
    assert changes(ann, cursor) == {"changes": [], "cursor": cursor, "has_more": False}


@pytest.mark.parametrize("tasks", [0, 1])
def test_nothing_new_is_the_same_cursor_and_304_with_if_none_match(ann: User, tasks: int) -> None:
    for _ in range(tasks):
        ann.creates(FEBRUARY)
    first = asked(ann)
    cursor = first.json()["cursor"]
    again = asked(ann, cursor)
    known = asked(ann, cursor, headers={"If-None-Match": again.headers["ETag"]})

    assert again.json() == {"changes": [], "cursor": cursor, "has_more": False}
    assert first.headers["ETag"] == again.headers["ETag"] == f'W/"{tasks}"'
    assert (known.status_code, known.content) == (304, b"")


def test_changes_that_were_not_read_are_never_answered_with_304(ann: User) -> None:
    ann.creates(FEBRUARY)
    ann.creates(FEBRUARY)
    page = asked(ann, limit=1)
    rest = asked(ann, page.json()["cursor"], headers={"If-None-Match": page.headers["ETag"]})

    assert rest.status_code == 200
    assert len(rest.json()["changes"]) == 1


def test_a_cursor_of_another_user_or_none_at_all_is_refused(ann: User, bob: User) -> None:
    ann.creates(FEBRUARY)
    of_bob, own = changes(bob)["cursor"], changes(ann)["cursor"]
    data = bytearray(base64.urlsafe_b64decode(own))
    altered = [bytes(data[:n]) + bytes([data[n] ^ 1]) + bytes(data[n + 1 :]) for n in range(len(data))]
    wrong = [of_bob, "x", "", own[:-1], own + "A", own.swapcase(), "\x00", "\u00e9" * 92]

    for text in [*wrong, *(base64.urlsafe_b64encode(each).decode() for each in altered)]:
        answer = ann.get("/api/changes", params={"cursor": text})
        assert (answer.status_code, answer.json()) == (400, REFUSED), text


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "1.5", ""])
def test_a_limit_out_of_range_is_refused(ann: User, limit: str) -> None:
    answer = ann.get("/api/changes", params={"limit": limit})
    assert answer.json() == FEBRUARY.invalid(("limit", "limit must be a number from 1 to 1000"))


def test_a_cursor_that_is_older_than_changes_days_is_410(ann: User) -> None:
    ann.creates(FEBRUARY)
    cursor = changes(ann)["cursor"]
    place = change_cursor.read(cursor, uuid(ann))
    assert place is not None
    old = change_cursor.write(place._replace(good_until=1_700_000_000), uuid(ann))
    answer = asked(ann, old)

    assert (answer.status_code, answer.json()) == (410, EXPIRED)
    assert changes(ann, cursor)["changes"] == []


def good_for(user: User, cursor: str, days: float) -> str:
    """The cursor as it is when this many days are left of its time."""
    place = change_cursor.read(cursor, uuid(user))
    assert place is not None
    return change_cursor.write(place._replace(good_until=int(time.time() + days * 86400)), uuid(user))


def seconds_left(user: User, cursor: str) -> float:
    place = change_cursor.read(cursor, uuid(user))
    assert place is not None
    return place.good_until - time.time()


@pytest.mark.parametrize("begins_anew", [False, True])
def test_a_cursor_between_two_pages_lasts_as_long_as_that_of_the_first(ann: User, begins_anew: bool) -> None:
    """Deletions that the next page has to tell of may be as old as the first cursor, and are forgotten as early."""
    first = changes(ann)["cursor"]
    for _ in range(3):
        ann.creates(FEBRUARY)
    page = changes(ann, *([] if begins_anew else [good_for(ann, first, 2)]), limit=1)
    cursor = good_for(ann, page["cursor"], 1) if begins_anew else page["cursor"]
    following = changes(ann, cursor, limit=1)
    last = changes(ann, following["cursor"], limit=1)

    days = 1 if begins_anew else 2
    assert [page["has_more"], following["has_more"], last["has_more"]] == [True, True, False]
    assert days * 86400 - 600 < seconds_left(ann, following["cursor"]) <= days * 86400
    assert 89.9 * 86400 < seconds_left(ann, last["cursor"]) <= 90 * 86400


def test_a_cursor_from_when_changes_days_was_higher_is_410(ann: User) -> None:
    ann.creates(FEBRUARY)
    cursor = changes(ann)["cursor"]

    assert changes(ann, good_for(ann, cursor, 90.5))["changes"] == []
    answer = asked(ann, good_for(ann, cursor, 91.5))
    assert (answer.status_code, answer.json()) == (410, EXPIRED)


def test_a_cursor_from_before_a_restore_is_410(ann: User, database: psycopg.Connection) -> None:
    """Numbers that were taken back show at once; numbers that were taken again show by the history."""
    ann.creates(FEBRUARY)
    taken_back = ann.creates(FEBRUARY)
    cursor = changes(ann)["cursor"]
    database.execute("DELETE FROM tasks WHERE user_id = %s AND id = %s", [ann.id, taken_back["id"]])
    database.execute("UPDATE task_counters SET version = 1 WHERE user_id = %s", [ann.id])

    answer = asked(ann, cursor)
    assert (answer.status_code, answer.json()) == (410, EXPIRED)


def test_a_cursor_from_before_an_interrupted_deletion_of_the_account_is_410(
    ann: User, database: psycopg.Connection
) -> None:
    """A piece of the deletion leaves no tombstones. The list has a new tag too."""
    tasks = [ann.creates(FEBRUARY) for _ in range(3)]
    before = ann.get("/api/tasks").headers["ETag"]
    first_page, cursor = changes(ann, limit=1)["cursor"], changes(ann)["cursor"]
    with psycopg.RawCursor(database) as raw:
        raw.execute(DELETE_TASKS.text.encode(), [ann.id, 0, BEFORE_ALL_IDS, 2])

    for old in (first_page, cursor):
        answer = asked(ann, old)
        assert (answer.status_code, answer.json()) == (410, EXPIRED)
    left = max(tasks, key=lambda task: task["id"])
    again = changes(ann)
    assert again["changes"] == [changed(left)]
    assert changes(ann, again["cursor"])["changes"] == []
    assert ann.get("/api/tasks", headers={"If-None-Match": before}).json()["tasks"] == [left]


def test_a_cursor_of_another_history_is_410(ann: User) -> None:
    ann.creates(FEBRUARY)
    place = change_cursor.read(changes(ann)["cursor"], uuid(ann))
    assert place is not None
    other = change_cursor.write(place._replace(history=uuid4()), uuid(ann))

    answer = asked(ann, other)
    assert (answer.status_code, answer.json()) == (410, EXPIRED)


def uuid(user: User) -> UUID:
    return UUID(user.id)


def test_january_has_no_changes(ann: User) -> None:
    assert ann.get("/v1/api/changes").status_code == 404


def test_a_page_never_has_more_than_250_changes(ann: User, database: psycopg.Connection) -> None:
    database.execute(
        "INSERT INTO tasks (user_id, title, version) SELECT %s, 'task ' || n, n FROM generate_series(1, 300) AS n",
        [ann.id],
    )
    database.execute("INSERT INTO task_counters (user_id, task_count, version) VALUES (%s, 300, 300)", [ann.id])
    page = changes(ann, limit=1000)
    rest = changes(ann, page["cursor"], limit=1000)

    assert (len(page["changes"]), page["has_more"]) == (250, True)
    assert (len(rest["changes"]), rest["has_more"]) == (50, False)


def test_the_changes_of_a_user_who_is_gone_are_401(ann: User, database: psycopg.Connection) -> None:
    cursor = changes(ann)["cursor"]
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])
    assert [asked(ann).status_code, asked(ann, cursor).status_code] == [401, 401]
