"""Every write takes the next number of its user: the version of the task, its ETag, and what If-Match names."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.support import FEBRUARY, JANUARY, TASK_NOT_FOUND, Contract, User

TITLE = {"title": "Water the plants"}
CHANGED = {"title": "Feed the cat"}
UNREADABLE = ["5", '"5', "W/5", '"5" "6"', '"a"b', "*, *", ",", '"\u00e9']
INVALID_ID = {"field": "id", "message": "id must be a UUID of version 4 or 7"}


def put(user: User, task: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return user.put(f"/api/tasks/{task['id']}", CHANGED, headers=named)


def delete(user: User, task: dict[str, Any], **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return user.delete(f"/api/tasks/{task['id']}", headers=named)


def changed_since(task: dict[str, Any]) -> dict[str, Any]:
    return {"error": "The task has changed", "code": "PRECONDITION_FAILED", "current": task}


def test_each_write_takes_the_next_number_of_its_user_by_either_contract(ann: User, bob: User) -> None:
    first, second = ann.creates(FEBRUARY), ann.creates(JANUARY)
    bob.creates(FEBRUARY)
    third = put(ann, first).json()
    ann.put(f"/v1/api/tasks/{second['id']}", {"completed": True})
    delete(ann, first)

    assert (first["version"], third["version"]) == (1, 3)
    assert ann.get(f"/api/tasks/{second['id']}").json()["version"] == 4
    assert ann.get("/api/tasks").headers["ETag"] == 'W/"5"'
    assert bob.get("/api/tasks").headers["ETag"] == 'W/"1"'


def test_a_task_is_answered_with_its_version_as_etag(ann: User) -> None:
    created = ann.post("/api/tasks", TITLE)
    path = f"/api/tasks/{created.json()['id']}"

    assert [created.headers["ETag"], ann.get(path).headers["ETag"]] == ['"1"', '"1"']
    assert ann.put(path, CHANGED).headers["ETag"] == '"2"'
    assert ann.request("HEAD", path).headers["ETag"] == '"2"'


def test_january_shows_neither_version_nor_etag_and_ignores_preconditions(ann: User) -> None:
    created = ann.post("/v1/api/tasks", TITLE)
    path = f"/v1/api/tasks/{created.json()['task']['id']}"
    answers = [
        created,
        ann.get(path, headers={"If-None-Match": "*"}),
        ann.get("/v1/api/tasks", headers={"If-None-Match": 'W/"1"'}),
        ann.put(path, CHANGED, headers={"If-Match": '"9"', "If-None-Match": "*"}),
    ]

    assert [answer.status_code for answer in answers] == [201, 200, 200, 200]
    assert all("ETag" not in answer.headers and "version" not in answer.text for answer in answers)
    assert ann.delete(path, headers={"If-Match": '"9"'}).status_code == 204


@pytest.mark.parametrize("write", ["404", "412", "empty body", "refused field"])
def test_a_write_that_does_nothing_takes_no_number(ann: User, write: str) -> None:
    task = ann.creates(FEBRUARY)
    path = f"/api/tasks/{task['id']}"
    answers = {
        "404": lambda: [put(ann, {"id": uuid4()}), delete(ann, {"id": uuid4()})],
        "412": lambda: [put(ann, task, If_Match='"7"'), delete(ann, task, If_Match='"7"')],
        "empty body": lambda: [ann.put(path, {}), ann.put(f"/v1{path}", {})],
        "refused field": lambda: [ann.put(path, {"title": ""}), ann.put(path, {"due_time": "09:30"})],
    }[write]()

    assert [answer.status_code for answer in answers] == {
        "404": [404] * 2,
        "412": [412] * 2,
        "empty body": [400, 200],
    }.get(write, [400, 400])
    assert ann.get("/api/tasks").headers["ETag"] == 'W/"1"'
    assert ann.get(path).json() == task


@pytest.mark.parametrize("matching", ['"1"', "*", '"9", "1"', 'W/"9", "1"', '"9" , "1"', ', "9",, "1" ,'])
def test_a_write_with_if_match_happens_to_a_version_that_it_names(ann: User, matching: str) -> None:
    assert put(ann, ann.creates(FEBRUARY), If_Match=matching).status_code == 200
    task = ann.get("/api/tasks").json()["tasks"][0]
    assert delete(ann, task, If_Match=matching.replace("1", "2")).status_code == 200


@pytest.mark.parametrize("other", ['"2"', 'W/"1"', '"01"', '"x"', '"2", W/"1"', '""', '"99999999999999999999"', '"-1"'])
def test_a_write_with_if_match_on_another_version_returns_412_with_the_task_and_does_nothing(
    ann: User, other: str
) -> None:
    task = ann.creates(FEBRUARY)
    answers = [put(ann, task, If_Match=other), delete(ann, task, If_Match=other)]

    assert [(answer.status_code, answer.json()) for answer in answers] == [(412, changed_since(task))] * 2
    assert ann.get(f"/api/tasks/{task['id']}").json() == task


def test_a_task_that_is_not_there_is_404_with_if_match_too(ann: User, bob: User) -> None:
    of_bob, gone = bob.creates(FEBRUARY), ann.creates(FEBRUARY)
    delete(ann, gone)
    for task in (of_bob, gone, {"id": uuid4()}, {"id": "x"}):
        for header in ("*", '"1"', '"7"'):
            answers = [put(ann, task, If_Match=header), delete(ann, task, If_Match=header)]
            assert [(answer.status_code, answer.json()) for answer in answers] == [(404, TASK_NOT_FOUND)] * 2


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_precondition_that_cannot_be_read_returns_400(ann: User, value: str) -> None:
    task = ann.creates(FEBRUARY)
    path, sent = f"/api/tasks/{task['id']}", value.encode()
    answers = [
        ann.put(path, CHANGED, headers={"If-Match": sent}),
        ann.delete(path, headers={"If-Match": sent}),
        ann.get(path, headers={"If-None-Match": sent}),
        *(ann.get(f"/api/{each}", headers={"If-None-Match": sent}) for each in ("tasks", "changes")),
    ]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(400, "INVALID_REQUEST")] * 5
    assert ann.get(path).json() == task


@pytest.mark.parametrize("tag", [b'"\xff"', '"€"'.encode(), '"é"'.encode()], ids=["a byte", "euro", "e acute"])
def test_a_tag_may_have_any_byte_above_ascii(ann: User, tag: bytes) -> None:
    task = ann.creates(FEBRUARY)
    path = f"/api/tasks/{task['id']}"

    assert ann.put(path, CHANGED, headers={"If-Match": tag}).json() == changed_since(task)
    assert ann.get(path, headers={"If-None-Match": tag}).json() == task
    assert ann.get(path, headers={"If-None-Match": tag + b', "1"'}).status_code == 304


@pytest.mark.parametrize("headers", [{"If-None-Match": '"1"'}, {"If-None-Match": "*", "If-Match": "*"}])
def test_a_put_takes_no_other_if_none_match_than_a_star_alone(ann: User, headers: dict[str, str]) -> None:
    task = ann.creates(FEBRUARY)
    answer = ann.put(f"/api/tasks/{task['id']}", CHANGED, headers=headers)

    assert answer.status_code == 400
    assert answer.json() == {
        "error": "If-None-Match of a PUT must be *, without an If-Match",
        "code": "INVALID_REQUEST",
    }


@pytest.mark.parametrize("known", ['"1"', 'W/"1"', "*", '"8", "1"'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_if_none_match_with_the_version_returns_304_without_a_body(ann: User, known: str, method: str) -> None:
    task = ann.creates(FEBRUARY)
    answers = [
        ann.request(method, path, headers={"If-None-Match": known})
        for path in (f"/api/tasks/{task['id']}", "/api/tasks", "/api/tasks?q=plants&limit=1")
    ]

    assert [(answer.status_code, answer.content) for answer in answers] == [(304, b"")] * 3
    assert [answer.headers["ETag"] for answer in answers] == ['"1"', 'W/"1"', 'W/"1"']
    assert all("X-Request-ID" in answer.headers and "Content-Type" not in answer.headers for answer in answers)


@pytest.mark.parametrize("known", ['"0"', '"2"', 'W/"2"', '"x"'])
def test_if_none_match_with_another_version_returns_the_answer(ann: User, known: str) -> None:
    task = ann.creates(FEBRUARY)
    answers = [ann.get(path, headers={"If-None-Match": known}) for path in (f"/api/tasks/{task['id']}", "/api/tasks")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].json() == {"tasks": [task], "next_cursor": None}


def test_an_empty_list_has_a_number_as_well(ann: User) -> None:
    assert ann.get("/api/tasks").headers["ETag"] == 'W/"0"'
    assert ann.get("/api/tasks", headers={"If-None-Match": 'W/"0"'}).status_code == 304
    delete(ann, ann.creates(FEBRUARY))
    assert ann.get("/api/tasks").headers["ETag"] == 'W/"2"'
    assert ann.get("/api/tasks?q=x").headers["ETag"] == 'W/"2"'


def test_a_list_of_a_user_who_is_gone_is_401_with_if_none_match_too(ann: User, database: psycopg.Connection) -> None:
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])
    assert ann.get("/api/tasks", headers={"If-None-Match": 'W/"0"'}).status_code == 401


@pytest.mark.parametrize("version", [4, 7])
def test_put_with_if_none_match_creates_the_task_under_the_clients_id(ann: User, version: int) -> None:
    text = str(uuid4())
    own = text[:14] + str(version) + text[15:]
    answer = ann.put(f"/api/tasks/{own.upper()}", TITLE | {"priority": "high"}, headers={"If-None-Match": "*"})
    task = answer.json()

    assert answer.status_code == 201
    assert (answer.headers["Location"], answer.headers["ETag"]) == (f"/api/tasks/{own}", '"1"')
    assert (task["id"], task["user_id"], task["title"], task["priority"]) == (own, ann.id, TITLE["title"], "high")
    assert ann.get(answer.headers["Location"]).json() == task


def test_put_with_if_none_match_on_a_task_that_is_there_returns_412_with_it(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    answer = ann.put(f"/api/tasks/{task['id']}", CHANGED, headers={"If-None-Match": "*"})

    assert (answer.status_code, answer.json()) == (412, changed_since(task))
    assert ann.get("/api/tasks").headers["ETag"] == 'W/"1"'


@pytest.mark.parametrize("contract", [FEBRUARY, JANUARY], ids=str)
def test_put_with_if_none_match_on_a_deleted_task_returns_410(ann: User, contract: Contract) -> None:
    task = ann.creates(FEBRUARY)
    ann.delete(f"{contract.prefix}/tasks/{task['id']}")
    answer = ann.put(f"/api/tasks/{task['id']}", TITLE, headers={"If-None-Match": "*"})

    assert (answer.status_code, answer.json()) == (410, {"error": "The task was deleted", "code": "GONE"})
    assert ann.get("/api/tasks").json()["tasks"] == []


def test_an_id_of_another_user_is_no_hindrance_and_no_hint(ann: User, bob: User) -> None:
    living, gone = bob.creates(FEBRUARY), bob.creates(FEBRUARY)
    delete(bob, gone)
    for task in (living, gone):
        answer = ann.put(f"/api/tasks/{task['id']}", CHANGED, headers={"If-None-Match": "*"})
        assert (answer.status_code, answer.json()["user_id"]) == (201, ann.id)
    assert bob.get(f"/api/tasks/{living['id']}").json() == living
    assert bob.get(f"/api/tasks/{gone['id']}").status_code == 404


@pytest.mark.parametrize("own", [str(uuid4()), "x"], ids=["a new id", "no uuid"])
def test_a_create_under_an_own_id_by_a_user_who_is_gone_is_401(
    ann: User, database: psycopg.Connection, own: str
) -> None:
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])
    answer = ann.put(f"/api/tasks/{own}", TITLE, headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_TOKEN")


@pytest.mark.parametrize("other", ["4a8f1d5e-7a3c-11ef-9c1d-0242ac120002", "00000000-0000-0000-0000-000000000000"])
def test_an_id_of_another_version_is_refused(ann: User, other: str) -> None:
    answer = ann.put(f"/api/tasks/{other}", TITLE, headers={"If-None-Match": "*"})
    assert (answer.status_code, answer.json()) == (400, FEBRUARY.invalid(("id", INVALID_ID["message"])))


def test_a_create_under_an_own_id_obeys_the_rules_of_a_create(ann: User) -> None:
    path, only_new = f"/api/tasks/{uuid4()}", {"If-None-Match": "*"}
    answers = [ann.put(path, body, headers=only_new) for body in ({}, {"title": "x", "due_time": "09:30"})]
    no_uuid = ann.put("/api/tasks/x", TITLE, headers=only_new)

    assert [answer.json() for answer in answers] == [
        FEBRUARY.invalid(("title", "Title is required")),
        FEBRUARY.invalid(("due_time", "Due time needs a due date")),
    ]
    assert (no_uuid.status_code, no_uuid.json()) == (404, TASK_NOT_FOUND)
    assert ann.get("/api/tasks").json()["tasks"] == []


def test_of_100_racing_writes_to_one_version_exactly_one_happens(ann: User) -> None:
    task = ann.creates(FEBRUARY)
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: put(ann, task, If_Match='"1"'), range(100)))
    now = ann.get(f"/api/tasks/{task['id']}").json()

    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 99
    assert [answer.json() for answer in answers if answer.status_code == 412] == [changed_since(now)] * 99
    assert now["title"] == CHANGED["title"]


@pytest.mark.parametrize("contract", [FEBRUARY, JANUARY, None], ids=["february", "january", "batch"])
def test_updated_at_moves_on_with_each_write_though_its_statement_began_before_the_last_one(
    ann: User, database: psycopg.Connection, contract: Contract | None
) -> None:
    """A statement that waited for another one has the earlier time of the two."""
    task = ann.creates(FEBRUARY)
    path = f"/api/tasks/{task['id']}"
    database.execute("UPDATE tasks SET updated_at = now() + interval '1 hour' WHERE id = %s", [task["id"]])
    before = ann.get(path).json()["updated_at"]
    if contract is None:
        operation = {"op": "update", "id": task["id"], "is_completed": True}
        answer = ann.post("/api/tasks/batch", {"operations": [operation]})
    else:
        answer = ann.put(f"{contract.prefix}/tasks/{task['id']}", {contract.flag: True})
    after = ann.get(path).json()

    assert answer.status_code == 200
    assert after["completed_at"] == after["updated_at"] > before


def test_of_20_racing_creates_of_one_id_exactly_one_happens(ann: User) -> None:
    path = f"/api/tasks/{uuid4()}"
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda _: ann.put(path, TITLE, headers={"If-None-Match": "*"}), range(20)))

    assert sorted(answer.status_code for answer in answers) == [201] + [412] * 19
    assert ann.get("/api/tasks").headers["ETag"] == 'W/"1"'


def test_a_late_repetition_of_a_create_never_brings_a_task_back(new_user: Callable[[], User]) -> None:
    """Creates of ids that are deleted at the same moment: each ends as 412 or as 410."""
    user = new_user()
    tasks = [user.creates(FEBRUARY) for _ in range(20)]

    def race(task: dict[str, Any]) -> int:
        with ThreadPoolExecutor(2) as pair:
            gone = pair.submit(delete, user, task)
            again = pair.submit(user.put, f"/api/tasks/{task['id']}", TITLE, headers={"If-None-Match": "*"})
            assert gone.result().status_code == 200
            return again.result().status_code

    with ThreadPoolExecutor(5) as threads:
        assert set(threads.map(race, tasks)) <= {410, 412}
    assert user.get("/api/tasks").json()["tasks"] == []
