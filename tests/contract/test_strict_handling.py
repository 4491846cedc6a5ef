"""`Prefer: handling=strict`: names that are not known are errors in February's contract. January ignores it."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.api.batch_models import MAX_OPERATIONS
from service.api.contract import CONTRACT
from service.api.models import NewTask
from service.http.contract import Operation
from service.http.json_stream import MAX_PAGE_ROWS
from service.http.strict_handling import MAX_UNKNOWN_NAMES, _unknown_names
from tests.support import FEBRUARY, JANUARY, NOT_FOUND, PASSWORD, TASK_NOT_FOUND, User

STRICT = {"Prefer": "handling=strict"}
NO_TOKEN = {"error": "Invalid or missing authentication token", "code": "UNAUTHORIZED"}
UNKNOWN = "is not known here"

OPERATIONS = [pytest.param(operation, id=operation.handler.__name__) for operation in CONTRACT.operations]
WITH_A_BODY = [pytest.param(each, id=each.handler.__name__) for each in CONTRACT.operations if each.body]


def applied(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list("Preference-Applied")


def refused(answer: httpx.Response, *details: tuple[str, str]) -> bool:
    """Whether these are the errors of the answer, in this order, and the answer says that it was strict."""
    assert (answer.status_code, answer.json()) == (400, FEBRUARY.invalid(*details))
    return applied(answer) == ["handling=strict"]


def example_of(operation: Operation) -> Any:
    if operation.body is None:
        return None
    [example] = operation.body.model_json_schema()["examples"]
    return example


@pytest.fixture
def address(ann: User) -> Callable[[Operation], str]:
    task = ann.creates(FEBRUARY)
    return lambda operation: (CONTRACT.prefix + operation.path).replace("<task_id>", task["id"])


@pytest.mark.parametrize("operation", OPERATIONS)
def test_unknown_query_parameter_is_refused_on_every_operation(
    ann: User, address: Callable[[Operation], str], operation: Operation
) -> None:
    answer = ann.request(
        operation.method, f"{address(operation)}?dueDate=2026-12-24&x", json=example_of(operation), headers=STRICT
    )

    assert refused(answer, ("dueDate", UNKNOWN), ("x", UNKNOWN))
    assert len(ann.get("/api/tasks").json()["tasks"]) == 1


@pytest.mark.parametrize("operation", WITH_A_BODY)
def test_unknown_body_field_is_refused_on_every_operation_with_a_body(
    ann: User, address: Callable[[Operation], str], operation: Operation
) -> None:
    body = {"dueDate": "2026-12-24"} | example_of(operation) | {"x": None}

    answer = ann.request(operation.method, address(operation), json=body, headers=STRICT)

    assert refused(answer, ("dueDate", UNKNOWN), ("x", UNKNOWN))
    assert len(ann.get("/api/tasks").json()["tasks"]) == 1


@pytest.mark.parametrize("operation", [each for each in OPERATIONS if each not in WITH_A_BODY])
def test_field_of_a_body_that_an_operation_does_not_take_is_refused(
    ann: User, address: Callable[[Operation], str], operation: Operation
) -> None:
    answer = ann.request(operation.method, address(operation), json={"reason": "done"}, headers=STRICT)

    assert refused(answer, ("reason", UNKNOWN))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_without_the_preference_unknown_names_are_ignored(
    ann: User, address: Callable[[Operation], str], operation: Operation
) -> None:
    answer = ann.request(operation.method, f"{address(operation)}?dueDate=1", json={"dueDate": "2026-12-24"})

    assert applied(answer) == []
    assert UNKNOWN not in answer.text


def test_unknown_names_are_refused_together_with_every_other_error(ann: User) -> None:
    body = {"zone": 1, "title": "", "description": 7, "user_id": ann.id, "is_completed": True}

    answer = ann.post("/api/tasks?zone=1&sortBy=x&title=y&%ff=1&=", body, headers=STRICT)

    assert refused(
        answer,
        ("title", "Title is required"),
        ("description", "Description must be a string"),
        ("zone", UNKNOWN),
        ("user_id", UNKNOWN),
        ("is_completed", UNKNOWN),
        ("sortBy", UNKNOWN),
        ("\ufffd", UNKNOWN),
        ("", UNKNOWN),
    )


def test_query_errors_and_unknown_parameters_of_a_list_are_answered_together(ann: User) -> None:
    answer = ann.get("/api/tasks?dueDate=2026-12-24&limit=0&is_completed=1", headers=STRICT)

    assert refused(
        answer,
        ("limit", "limit must be a number from 1 to 1000"),
        ("is_completed", "is_completed must be true or false"),
        ("dueDate", UNKNOWN),
    )


def test_change_of_unknown_fields_alone_names_them_and_does_not_call_the_body_empty(ann: User) -> None:
    path = f"/api/tasks/{ann.creates(FEBRUARY)['id']}"

    assert refused(ann.put(path, {"dueDate": "2026-12-24"}, headers=STRICT), ("dueDate", UNKNOWN))
    assert refused(
        ann.put(f"{path}?x=1", {}, headers=STRICT), ("body", "At least one field is required"), ("x", UNKNOWN)
    )
    assert refused(ann.put(path, {}, headers=STRICT), ("body", "At least one field is required"))


def test_put_that_creates_is_checked_as_a_create(ann: User) -> None:
    path, headers = f"/api/tasks/{uuid4()}", STRICT | {"If-None-Match": "*"}

    flagged = ann.put(path, {"title": "x", "is_completed": "yes"}, headers=headers)
    untitled = ann.put(f"{path}?x=1", {"dueDate": "2026-12-24"}, headers=headers)
    unreadable = ann.put(path, {"title": "x", "is_completed": True}, headers=STRICT | {"If-None-Match": "x"})
    assert ann.get(path).status_code == 404
    created = ann.put(path, {"title": "x"}, headers=headers)
    changed = ann.put(path, {"is_completed": True}, headers=STRICT)

    assert refused(flagged, ("is_completed", UNKNOWN))
    assert refused(untitled, ("title", "Title is required"), ("dueDate", UNKNOWN), ("x", UNKNOWN))
    assert (unreadable.status_code, unreadable.json()["code"]) == (400, "INVALID_REQUEST")
    assert (created.status_code, applied(created)) == (201, ["handling=strict"])
    assert (changed.status_code, changed.json()["is_completed"]) == (200, True)


@pytest.mark.parametrize("task_id", ["none", "ffffffff-ffff-4fff-bfff-ffffffffffff"])
def test_unknown_name_is_refused_before_the_task_is_looked_up(ann: User, task_id: str) -> None:
    assert refused(ann.get(f"/api/tasks/{task_id}?x=1", headers=STRICT), ("x", UNKNOWN))
    assert refused(ann.put(f"/api/tasks/{task_id}", {"x": 1}, headers=STRICT), ("x", UNKNOWN))


def test_optional_body_is_not_required_for_its_unknown_parameter(ann: User) -> None:
    assert refused(ann.delete("/api/auth/me?x=1", headers=STRICT), ("x", UNKNOWN))
    assert refused(
        ann.delete("/api/auth/me", json={"passwd": PASSWORD}, headers=STRICT),
        ("password", "Password is required"),
        ("passwd", UNKNOWN),
    )
    assert ann.get("/api/auth/me").status_code == 200


def test_strict_requests_with_known_names_succeed_and_say_that_they_were_strict(ann: User) -> None:
    created = ann.post("/api/tasks", {"title": "Water the plants", "description": None}, headers=STRICT)
    path = f"/api/tasks/{created.json()['id']}"
    changed = ann.put(path, {"is_completed": True}, headers=STRICT)
    answers = [
        created,
        changed,
        ann.get("/api/tasks?limit=10&sort=due_on", headers=STRICT),
        ann.request("HEAD", path, headers=STRICT),
        ann.get("/api/auth/me/export", headers=STRICT),
        ann.delete(path, headers=STRICT),
        ann.post("/api/auth/logout", headers=STRICT),
    ]

    assert [(answer.status_code, applied(answer)) for answer in answers] == [
        (status, ["handling=strict"]) for status in (201, 200, 200, 200, 200, 200, 204)
    ]
    assert changed.json()["is_completed"] is True


def test_streamed_answer_says_that_it_was_strict(ann: User, database: psycopg.Connection) -> None:
    database.execute(
        "INSERT INTO tasks (user_id, title) SELECT %s, n FROM generate_series(1, %s) AS n", [ann.id, MAX_PAGE_ROWS + 1]
    )

    answer = ann.get("/api/auth/me/export", headers=STRICT)

    assert (answer.headers["Transfer-Encoding"], applied(answer)) == ("chunked", ["handling=strict"])
    assert len(answer.json()["tasks"]) == MAX_PAGE_ROWS + 1


def test_errors_say_that_the_request_was_strict(ann: User) -> None:
    content = {"Content-Type": "application/json"} | STRICT
    answers = [
        ann.http.get("/api/tasks?x=1", headers=STRICT),
        ann.get("/api/tasks?x=1", headers=STRICT | {"Authorization": "Bearer none"}),
        ann.get("/api/tasks/none", headers=STRICT),
        ann.http.post("/api/auth/login", json={"email": ann.email, "password": "wrong horse"}, headers=STRICT),
        ann.http.post("/api/auth/signup", json={"email": ann.email, "password": PASSWORD}, headers=STRICT),
        ann.request("POST", "/api/tasks?x=1", content=b"{", headers=content),
        ann.request("POST", "/api/tasks?x=1", content=b"a" * 2_000_000, headers=content),
    ]

    assert [(answer.status_code, answer.json()["code"], applied(answer)) for answer in answers] == [
        (status, code, ["handling=strict"])
        for status, code in (
            (401, "UNAUTHORIZED"),
            (401, "INVALID_TOKEN"),
            (404, "NOT_FOUND"),
            (401, "INVALID_CREDENTIALS"),
            (409, "EMAIL_EXISTS"),
            (400, "INVALID_REQUEST"),
            (413, "PAYLOAD_TOO_LARGE"),
        )
    ]
    assert (answers[0].json(), answers[2].json()) == (NO_TOKEN, TASK_NOT_FOUND)


def test_answers_outside_the_operations_of_the_contract_are_not_strict(ann: User) -> None:
    answers = {
        path: ann.request(method, path, headers=STRICT)
        for method, path in (
            ("GET", "/api/nowhere?x=1"),
            ("PATCH", "/api/tasks"),
            ("GET", "/health/live?x=1"),
            ("GET", "/?x=1"),
            ("GET", "/docs/openapi.json?x=1"),
            ("OPTIONS", "/api/tasks?x=1"),
        )
    }

    assert [answer.status_code for answer in answers.values()] == [404, 405, 200, 200, 200, 204]
    assert answers["/api/nowhere?x=1"].json() == NOT_FOUND
    assert [applied(answer) for answer in answers.values()] == [[]] * 6


def test_january_ignores_the_preference(ann: User) -> None:
    path = f"/v1/api/tasks/{ann.creates(JANUARY)['id']}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", "/v1/api/tasks?dueDate=1", None),
        ("GET", f"{path}?dueDate=1", None),
        ("PUT", f"{path}?x=1", {"dueDate": "2026-12-24"}),
        ("POST", "/v1/api/tasks", {"dueDate": "2026-12-24"}),
        ("POST", "/v1/api/auth/login", {"email": ann.email, "password": PASSWORD, "x": 1}),
    ]

    for method, address, body in asked:
        plain, strict = (ann.request(method, address, json=body, headers=headers) for headers in ({}, STRICT))
        assert applied(strict) == []
        assert strict.status_code == plain.status_code
        assert _without_token(strict) == _without_token(plain)


def _without_token(answer: httpx.Response) -> Any:
    return {name: value for name, value in answer.json().items() if name != "token"}


@pytest.mark.parametrize(
    "lines",
    [
        ["handling=strict"],
        ["HANDLING=Strict"],
        ['handling="strict"'],
        ['handling="str\\ict"'],
        ["handling \t=  strict"],
        ["respond-async, handling=strict"],
        ["respond-async", "handling=strict"],
        ["handling=strict; foo; bar=1;;"],
        ['return=minimal; a="x, handling=lenient", handling=strict'],
        [", ,handling=strict ,"],
        ["handling=strict, handling=lenient"],
        ["handling=strict", "handling=lenient"],
        ['wait="', "handling=strict"],
        ['x="a\\", handling=lenient", handling=strict'],
    ],
)
def test_preference_is_read_as_rfc_7240_says(ann: User, lines: list[str]) -> None:
    answer = ann_with(ann, lines)

    assert refused(answer, ("x", UNKNOWN))


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        ["handling"],
        ["handling=lenient"],
        ["handling=lenient, handling=strict"],
        ["handling=other", "handling=strict"],
        ["handling, handling=strict"],
        ['handling="", handling=strict'],
        ["handling=strictly"],
        ["handling=strict lenient"],
        ["handling='strict'"],
        ["x; handling=strict"],
        ['x="handling=strict"'],
        ['x="a, handling=strict'],
        ["strict"],
        ["x-handling=strict"],
    ],
)
def test_other_preference_is_not_strict(ann: User, lines: list[str]) -> None:
    answer = ann_with(ann, lines)

    assert (answer.status_code, applied(answer)) == (200, [])


def ann_with(ann: User, lines: list[str]) -> httpx.Response:
    """Ann's answer to a request with these lines of Prefer."""
    headers = [("Authorization", f"Bearer {ann.token}"), *(("Prefer", line) for line in lines)]
    return ann.http.get("/api/auth/me?x=1", headers=headers)


def test_answer_names_a_limited_number_of_unknown_fields(ann: User) -> None:
    names = [f"f{number}" for number in range(MAX_UNKNOWN_NAMES + 1)]

    answer = ann.post("/api/tasks", {"title": "x"} | dict.fromkeys(names), headers=STRICT)

    assert refused(answer, *((name, UNKNOWN) for name in names[:-1]))


def test_a_batch_names_the_unknown_fields_of_as_many_operations_as_it_may_have(ann: User) -> None:
    operations = [{"op": "create", "title": "x"}] * MAX_OPERATIONS + [{"op": "create", "title": "x", "further": 1}]

    answer = ann.post("/api/tasks/batch", {"operations": operations}, headers=STRICT)

    assert answer.status_code == 400
    assert [detail["field"] for detail in answer.json()["details"]] == ["operations"]


def test_names_beyond_those_that_are_answered_are_not_looked_at() -> None:
    """A body has room for 150 000: looking at each would hold up the other requests of the process."""

    def names() -> Iterator[str]:
        yield from (f"f{number}" for number in range(MAX_UNKNOWN_NAMES))
        pytest.fail("one more was looked at")

    assert len(_unknown_names(NewTask, names())) == MAX_UNKNOWN_NAMES
