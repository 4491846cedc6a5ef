"""Every code of the error table, as both contracts return it."""

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import psycopg
import pytest

from service.errors import Code
from tests.support import NOT_FOUND, PASSWORD, TASK_NOT_FOUND, Contract, Service, User, new_email, sign_up

SEEN_ELSEWHERE = {
    Code.VALIDATION_ERROR: "test_fields.py",
    Code.INVALID_REQUEST: "test_bodies.py, test_http.py",
    Code.PAYLOAD_TOO_LARGE: "test_bodies.py",
    Code.UNAUTHORIZED: "security/test_tokens.py",
    Code.INVALID_TOKEN: "security/test_tokens.py",
    Code.TOKEN_EXPIRED: "security/test_tokens.py",
    Code.QUOTA_EXCEEDED: "test_quota.py",
    Code.IDEMPOTENCY_KEY_REUSED: "test_idempotency.py",
    Code.GONE: "test_versions.py",
    Code.CURSOR_EXPIRED: "test_changes.py",
    Code.PRECONDITION_FAILED: "test_versions.py",
    Code.RATE_LIMITED: "security/test_guessing.py",
    Code.INTERNAL_ERROR: "operations/test_faults.py",
    Code.DATABASE_ERROR: "operations/test_faults.py",
    Code.OVERLOADED: "operations/test_faults.py",
}
SEEN_HERE = {Code.INVALID_CREDENTIALS, Code.NOT_FOUND, Code.METHOD_NOT_ALLOWED, Code.EMAIL_EXISTS}


def test_every_error_code_is_assigned_to_a_test_file() -> None:
    assert set(Code) == SEEN_HERE | set(SEEN_ELSEWHERE)


def test_login_with_an_unknown_email_or_a_wrong_password_returns_the_same_401(
    http: httpx.Client, contract: Contract
) -> None:
    user = sign_up(http, contract)
    attempts = [
        {"email": user.email, "password": PASSWORD + "!"},
        {"email": user.email, "password": PASSWORD.upper()},
        {"email": user.email, "password": f" {PASSWORD}"},
        {"email": user.email, "password": "a" * 73},
        {"email": user.email, "password": "é" * 5000},
        {"email": new_email(), "password": PASSWORD},
        {"email": "no address at all", "password": PASSWORD},
        {"email": "a" * 300 + "@example.com", "password": PASSWORD},
    ]

    for attempt in attempts:
        answer = http.post(f"{contract.prefix}/auth/login", json=attempt)
        assert (answer.status_code, answer.json()) == (
            401,
            {"error": "Invalid email or password", "code": "INVALID_CREDENTIALS"},
        )
        assert "WWW-Authenticate" not in answer.headers


def test_login_with_a_73_byte_password_does_not_match_its_first_72_bytes(
    http: httpx.Client, contract: Contract
) -> None:
    user = sign_up(http, contract, password="a" * 72)

    answer = http.post(f"{contract.prefix}/auth/login", json={"email": user.email, "password": "a" * 72 + "b"})

    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_CREDENTIALS")


def test_login_with_a_malformed_stored_hash_returns_401_and_logs_one_line(
    service: Service, http: httpx.Client, database: psycopg.Connection, contract: Contract
) -> None:
    user = sign_up(http, contract)
    database.execute("UPDATE users SET password_hash = 'broken' WHERE id = %s", [user.id])
    lines_before = len(service.lines())

    answer = http.post(f"{contract.prefix}/auth/login", json={"email": user.email, "password": PASSWORD})

    assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_CREDENTIALS")
    messages = [line["message"] for line in service.lines()[lines_before:]]
    assert messages.count("a stored password hash is malformed; its owner cannot log in") == 1


def test_sign_up_with_any_spelling_of_a_taken_email_returns_409(http: httpx.Client, contract: Contract) -> None:
    user = sign_up(http, contract)

    for spelling in (user.email, user.email.upper(), f" {user.email}\n"):
        answer = http.post(f"{contract.prefix}/auth/signup", json={"email": spelling, "password": PASSWORD})
        assert (answer.status_code, answer.json()) == (
            409,
            {"error": "Email already registered", "code": "EMAIL_EXISTS"},
        )


def test_simultaneous_sign_ups_with_one_email_create_exactly_one_account(service: Service, contract: Contract) -> None:
    email = new_email()

    def signs_up(_: int) -> int:
        given = {"email": email, "password": PASSWORD}
        return httpx.post(f"{service.url}{contract.prefix}/auth/signup", json=given, timeout=60).status_code

    with ThreadPoolExecutor(10) as threads:
        statuses = sorted(threads.map(signs_up, range(10)))

    assert statuses == [201] + [409] * 9


def malformed_ids(task_id: str) -> list[str]:
    """Ids other than a UUID of 36 characters. Python's UUID() would accept some of them."""
    full_width = "".join(chr(ord(c) + 0xFEE0) if c.isdigit() else c for c in task_id)
    return [
        "1",
        "null",
        task_id[:-1],
        task_id + "0",
        task_id.replace("-", ""),
        "{" + task_id + "}",
        f"urn:uuid:{task_id}",
        full_width,
        f"%20{task_id}",
        f"{task_id}%00",
        f"{task_id}%0A",
        "%00",
        "..%2f..%2fetc%2fpasswd",
        "' OR '1'='1",
        "a" * 4000,
    ]


def test_missing_task_and_malformed_id_return_the_same_404(ann: User, contract: Contract) -> None:
    task = ann.creates(contract)

    for task_id in (str(uuid4()), "00000000-0000-0000-0000-000000000000", *malformed_ids(task["id"])):
        for method, body in (("GET", None), ("PUT", {"title": "x"}), ("DELETE", None)):
            answer = ann.request(method, f"{contract.prefix}/tasks/{task_id}", json=body)
            assert (method, task_id, answer.status_code, answer.json()) == (method, task_id, 404, TASK_NOT_FOUND)
    assert ann.get(f"{contract.prefix}/tasks").json() == contract.list_of(task)


def test_update_of_a_missing_task_with_an_invalid_body_returns_400(ann: User, contract: Contract) -> None:
    answer = ann.put(f"{contract.prefix}/tasks/{uuid4()}", {"title": ""})

    assert (answer.status_code, answer.json()) == (400, contract.invalid(("title", "Title cannot be empty")))


@pytest.mark.parametrize("path", ["/nowhere", "/tasks/a/b", "/auth", "/auth/signup/now", "//tasks", "/Tasks"])
def test_unknown_path_in_a_contract_returns_404_with_and_without_a_token(
    ann: User, contract: Contract, path: str
) -> None:
    for answer in (ann.get(contract.prefix + path), ann.http.get(contract.prefix + path)):
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize("path", ["/v1", "/v2/api/tasks", "/v1/health", "/docs/nothing.js", "/docs/../app.py", "/.env"])
def test_unknown_path_outside_the_contracts_returns_404(http: httpx.Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "NONE"):
        answer = http.request(method, path)
        assert (answer.status_code, answer.json()) == (404, NOT_FOUND)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/auth/signup", "POST, OPTIONS"),
        ("DELETE", "/auth/login", "POST, OPTIONS"),
        ("PUT", "/tasks", "GET, HEAD, POST, OPTIONS"),
        ("PATCH", "/tasks/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("POST", "/tasks/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("TRACE", "/tasks/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
        ("BREW", "/tasks", "GET, HEAD, POST, OPTIONS"),
        ("NONE", "/auth/signup", "POST, OPTIONS"),
    ],
)
def test_wrong_method_returns_405_with_allow_and_needs_no_token(
    http: httpx.Client, contract: Contract, method: str, path: str, allowed: str
) -> None:
    answer = http.request(method, contract.prefix + path)

    assert (answer.status_code, answer.json()) == (
        405,
        {"error": "Method not allowed", "code": "METHOD_NOT_ALLOWED"},
    )
    assert answer.headers["Allow"] == allowed


def test_wrong_method_outside_the_contracts_returns_405_with_allow(http: httpx.Client) -> None:
    for path in ("/", "/health", "/health/live", "/docs", "/docs/openapi.json"):
        answer = http.post(path, json={})
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")


def test_deleting_a_user_row_deletes_the_users_tasks(
    ann: User, database: psycopg.Connection, contract: Contract
) -> None:
    ann.creates(contract)

    database.execute("DELETE FROM users WHERE id = %s", [ann.id])

    found = database.execute("SELECT count(*) FROM tasks WHERE user_id = %s", [ann.id]).fetchone()
    assert found == (0,)


def test_update_advances_updated_at_and_keeps_created_at(ann: User, contract: Contract) -> None:
    task = ann.creates(contract)

    seen = [task]
    for number in range(3):
        time.sleep(0.002)
        answer = ann.put(f"{contract.prefix}/tasks/{task['id']}", {"title": f"title {number}"})
        seen.append(contract.task(answer.json()))

    assert [each["updated_at"] for each in seen] == sorted({each["updated_at"] for each in seen})
    assert {each["created_at"] for each in seen} == {task["created_at"]}
