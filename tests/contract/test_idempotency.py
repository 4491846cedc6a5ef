"""A request that is repeated with its Idempotency-Key is not done again, and has the same answer byte for byte."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.domain.idempotency import MAX_KEPT_BYTES
from tests.support import FEBRUARY, User

TITLE = {"title": "Water the plants"}
REUSED = {"error": "The idempotency key was used for another request", "code": "IDEMPOTENCY_KEY_REUSED"}
UNREADABLE = {"error": "Idempotency-Key must be 1 to 255 visible characters", "code": "INVALID_REQUEST"}
BATCH = {"operations": [{"op": "create", "title": "a"}, {"op": "create", "title": "b"}]}
REQUESTS = [pytest.param("/api/tasks", TITLE, id="create"), pytest.param("/api/tasks/batch", BATCH, id="batch")]


def post(user: User, path: str, body: Any, key: str) -> httpx.Response:
    return user.post(path, body, headers={"Idempotency-Key": key})


def titles(user: User) -> list[str]:
    return [task["title"] for task in user.get("/api/tasks").json()["tasks"]]


def replayed(answer: httpx.Response) -> str | None:
    found: str | None = answer.headers.get("Idempotency-Replayed")
    return found


def same(first: httpx.Response, second: httpx.Response) -> bool:
    """Status, body and what the headers say of the answer."""
    told = [
        (
            each.status_code,
            each.content,
            each.headers.get("Location"),
            each.headers.get("ETag"),
            each.headers["Content-Type"],
        )
        for each in (first, second)
    ]
    return told[0] == told[1]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_repetition_has_the_same_answer_and_does_nothing(ann: User, path: str, body: Any) -> None:
    first = post(ann, path, body, "key")
    written = ann.get("/api/tasks")
    again = [post(ann, path, body, "key") for _ in range(3)]
    now = ann.get("/api/tasks")

    assert first.is_success
    assert replayed(first) is None
    assert [same(first, each) for each in again] == [True] * 3
    assert [replayed(each) for each in again] == ["true"] * 3
    assert (now.content, now.headers["ETag"]) == (written.content, written.headers["ETag"])


def test_a_kept_answer_is_that_of_a_create_without_a_key(ann: User) -> None:
    plain, keyed = ann.post("/api/tasks", TITLE), post(ann, "/api/tasks", TITLE, "key")
    differ = ("id", "created_at", "updated_at", "version")
    task = keyed.json()

    assert {name: value for name, value in task.items() if name not in differ} == {
        name: value for name, value in plain.json().items() if name not in differ
    }
    assert (keyed.status_code, task["version"]) == (201, 2)
    assert (keyed.headers["Location"], keyed.headers["ETag"]) == (f"/api/tasks/{task['id']}", '"2"')
    assert ann.get(keyed.headers["Location"]).json() == task
    assert keyed.headers["Content-Type"] == plain.headers["Content-Type"]


def test_a_repetition_has_the_answer_of_then_after_the_task_was_changed_and_deleted(ann: User) -> None:
    first = post(ann, "/api/tasks", TITLE, "key")
    path = first.headers["Location"]
    ann.put(path, {"title": "changed"})
    assert same(first, post(ann, "/api/tasks", TITLE, "key"))
    ann.delete(path)

    assert same(first, post(ann, "/api/tasks", TITLE, "key"))
    assert titles(ann) == []


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/api/tasks", b'{"title": "Feed the cat"}'),
        ("/api/tasks", b'{"title":"Water the plants"}'),
        ("/api/tasks/batch", b'{"operations": [{"op": "create", "title": "Water the plants"}]}'),
    ],
    ids=["another title", "another byte", "another path"],
)
def test_a_key_of_another_request_returns_409(ann: User, path: str, sent: bytes) -> None:
    json = {"Idempotency-Key": "key", "Content-Type": "application/json"}
    first = ann.post("/api/tasks", content=b'{"title": "Water the plants"}', headers=json)
    other = ann.post(path, content=sent, headers=json)

    assert (other.status_code, other.json(), replayed(other)) == (409, REUSED, None)
    assert same(first, ann.post("/api/tasks/", content=b'{"title": "Water the plants"}', headers=json))
    assert titles(ann) == ["Water the plants"]


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "\u00e9"], ids=["empty", "blank", "256", "letter"])
def test_a_key_that_cannot_be_read_returns_400(ann: User, key: str) -> None:
    for path, body in (("/api/tasks", TITLE), ("/api/tasks/batch", BATCH)):
        answer = ann.post(path, body, headers={"Idempotency-Key": key.encode()})
        assert (answer.status_code, answer.json()) == (400, UNREADABLE)
    assert titles(ann) == []


def test_a_key_of_the_same_body_on_another_path_returns_409(ann: User) -> None:
    """Each path ignores the fields of the other."""
    first, other = (post(ann, path, TITLE | BATCH, "key") for path in ("/api/tasks", "/api/tasks/batch"))
    assert (first.status_code, other.status_code, other.json()) == (201, 409, REUSED)
    assert titles(ann) == ["Water the plants"]


def test_two_keys_in_one_request_return_400(ann: User) -> None:
    headers = [("Authorization", f"Bearer {ann.token}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = ann.http.post("/api/tasks", json=TITLE, headers=headers)
    assert (answer.status_code, answer.json()) == (400, UNREADABLE)


@pytest.mark.parametrize("key", ["!", "~" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "a,b;c"])
def test_a_key_is_any_1_to_255_visible_characters(ann: User, key: str) -> None:
    first, again = (post(ann, "/api/tasks", TITLE, key) for _ in range(2))
    assert first.status_code == 201
    assert same(first, again)


def test_keys_that_differ_in_case_are_two_keys(ann: User) -> None:
    answers = [post(ann, "/api/tasks", TITLE, key) for key in ("key", "KEY")]
    assert [replayed(each) for each in answers] == [None, None]
    assert len(titles(ann)) == 2


def test_what_was_refused_is_not_kept(ann: User, database: psycopg.Connection) -> None:
    for body in ({}, {"title": "x", "due_time": "09:30"}):
        assert post(ann, "/api/tasks", body, "key").status_code == 400
    task = ann.creates(FEBRUARY)
    conflict = {"operations": [{"op": "create", "title": "a"}, {"op": "delete", "id": task["id"], "version": 9}]}
    assert post(ann, "/api/tasks/batch", conflict, "key").status_code == 412
    [[kept]] = database.execute("SELECT count(*) FROM idempotency_keys WHERE user_id = %s", [ann.id])

    assert kept == 0
    assert post(ann, "/api/tasks", TITLE, "key").status_code == 201
    assert len(titles(ann)) == 2


def test_a_key_is_of_one_user(ann: User, bob: User) -> None:
    first, other = post(ann, "/api/tasks", TITLE, "key"), post(bob, "/api/tasks", {"title": "Bob's"}, "key")

    assert (other.status_code, other.json()["user_id"], replayed(other)) == (201, bob.id, None)
    assert same(first, post(ann, "/api/tasks", TITLE, "key"))
    assert (titles(ann), titles(bob)) == ([TITLE["title"]], ["Bob's"])


def test_other_requests_and_january_ignore_the_key(ann: User) -> None:
    for _ in range(2):
        assert post(ann, "/v1/api/tasks", TITLE, "key").status_code == 201
    path = f"/api/tasks/{uuid4()}"
    created = ann.put(path, TITLE, headers={"If-None-Match": "*", "Idempotency-Key": "key"})
    changed = [ann.put(path, {"title": title}, headers={"Idempotency-Key": "key"}) for title in ("x", "y")]

    assert [each.status_code for each in (created, *changed)] == [201, 200, 200]
    assert titles(ann) == ["y", *[TITLE["title"]] * 2]


def test_after_its_time_a_key_is_a_new_one(ann: User, database: psycopg.Connection) -> None:
    first = post(ann, "/api/tasks", TITLE, "key")
    database.execute("UPDATE idempotency_keys SET forget_at = now() - interval '1 second' WHERE user_id = %s", [ann.id])
    second, third = (post(ann, "/api/tasks", {"title": "Feed the cat"}, "key") for _ in range(2))

    assert (second.status_code, replayed(second), replayed(third)) == (201, None, "true")
    assert same(second, third)
    assert not same(first, second)
    assert len(titles(ann)) == 2


def test_an_answer_is_kept_for_24_hours(ann: User, database: psycopg.Connection) -> None:
    post(ann, "/api/tasks", TITLE, "key")
    [[hours]] = database.execute(
        "SELECT round(extract(epoch FROM forget_at - now()) / 3600) FROM idempotency_keys WHERE user_id = %s", [ann.id]
    )
    assert hours == 24


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_of_20_equal_requests_at_once_one_is_done_and_all_have_its_answer(
    new_user: Callable[[], User], path: str, body: Any
) -> None:
    user = new_user()
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: post(user, path, body, "key"), range(20)))
    number = 1 if path == "/api/tasks" else 2

    assert len({(each.status_code, each.content) for each in answers}) == 1
    assert answers[0].is_success
    assert sorted(str(replayed(each)) for each in answers) == ["None", *["true"] * 19]
    assert len(titles(user)) == number
    assert user.get("/api/tasks").headers["ETag"] == f'W/"{number}"'


def test_of_20_requests_at_once_with_one_key_and_two_bodies_one_body_wins(new_user: Callable[[], User]) -> None:
    user = new_user()
    bodies = [TITLE, {"title": "Feed the cat"}]
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda n: post(user, "/api/tasks", bodies[n % 2], "key"), range(20)))

    assert sorted(each.status_code for each in answers) == [201] * 10 + [409] * 10
    assert all(each.json() == REUSED for each in answers if each.status_code == 409)
    assert len(titles(user)) == 1


def test_too_many_kept_bytes_are_refused_until_the_window_is_over_and_replays_are_not(
    ann: User, database: psycopg.Connection
) -> None:
    first = post(ann, "/api/tasks", TITLE, "first")
    [[kept]] = database.execute("SELECT kept_bytes FROM task_counters WHERE user_id = %s", [ann.id])
    fill = "UPDATE task_counters SET kept_bytes = %s, kept_until = now() + interval '100 s' WHERE user_id = %s"
    database.execute(fill, [MAX_KEPT_BYTES, ann.id])
    refused = post(ann, "/api/tasks", TITLE, "second")

    assert kept == len(first.content)
    assert (refused.status_code, refused.json()) == (
        429,
        {"error": "Too many attempts, try again later", "code": "RATE_LIMITED"},
    )
    assert 90 <= int(refused.headers["Retry-After"]) <= 100
    assert same(first, post(ann, "/api/tasks", TITLE, "first"))
    assert ann.post("/api/tasks", TITLE).status_code == 201
    database.execute("UPDATE task_counters SET kept_until = now() - interval '1 s' WHERE user_id = %s", [ann.id])
    assert post(ann, "/api/tasks", TITLE, "second").status_code == 201
    [[kept_now, hours]] = database.execute(
        "SELECT kept_bytes, round(extract(epoch FROM kept_until - now()) / 3600) FROM task_counters WHERE user_id = %s",
        [ann.id],
    )
    assert (kept_now, hours) == (kept, 24)


def test_a_repetition_by_a_user_who_is_gone_is_401(ann: User, database: psycopg.Connection) -> None:
    post(ann, "/api/tasks", TITLE, "key")
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])
    answer = post(ann, "/api/tasks", TITLE, "key")
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")
