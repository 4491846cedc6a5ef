"""The rules of every field in both contracts: refused values, their messages, and values at the limits."""

from typing import Any

import httpx
import pytest

from tests.support import PASSWORD, Contract, User, new_email, sign_up

NUL = "a\0b"
# Every character that str.strip() removes.
WHITE_SPACE = "".join(chr(point) for point in range(0x3001) if chr(point).isspace())


def signup_error(http: httpx.Client, contract: Contract, **fields: Any) -> Any:
    given = {name: value for name, value in fields.items() if value is not ...}
    answer = http.post(f"{contract.prefix}/auth/signup", json=given)
    assert answer.status_code == 400
    return answer.json()


@pytest.mark.parametrize(
    ("email", "message"),
    [
        (..., "Email is required"),
        (None, "Email is required"),
        ("", "Email is required"),
        (" \t\u3000", "Email is required"),
        (1, "Email must be a string"),
        (True, "Email must be a string"),
        (["a@example.com"], "Email must be a string"),
        ("a\0@example.com", "Email contains a character that cannot be stored"),
        ("a" * 244 + "@example.com", "Email must not exceed 255 characters"),
        ("a" * 243 + "@example.com", "Invalid email format"),
        ("nobody", "Invalid email format"),
        ("a@b", "Invalid email format"),
        ("Bob <bob@example.com>", "Invalid email format"),
        ("a@example.com, b@example.com", "Invalid email format"),
        ("a b@example.com", "Invalid email format"),
        ("a@example..com", "Invalid email format"),
        ("a@[127.0.0.1]", "Invalid email format"),
    ],
)
def test_sign_up_with_an_invalid_email_returns_400(
    http: httpx.Client, contract: Contract, email: Any, message: str
) -> None:
    assert signup_error(http, contract, email=email, password=PASSWORD) == contract.invalid(("email", message))


@pytest.mark.parametrize(
    ("password", "message"),
    [
        (..., "Password is required"),
        (None, "Password is required"),
        ("", "Password is required"),
        (12345678, "Password must be a string"),
        ("1234567\0", "Password contains a character that cannot be stored"),
        ("1234567", "Password must be at least 8 characters"),
        ("éééé", "Password must be at least 8 characters"),
        ("a" * 73, "Password must not exceed 72 bytes"),
        ("é" * 37, "Password must not exceed 72 bytes"),
    ],
)
def test_sign_up_with_an_invalid_password_returns_400(
    http: httpx.Client, contract: Contract, password: Any, message: str
) -> None:
    refused = signup_error(http, contract, email=new_email(), password=password)

    assert refused == contract.invalid(("password", message))


def test_all_invalid_fields_are_reported_in_the_order_of_the_contract(http: httpx.Client, contract: Contract) -> None:
    assert signup_error(http, contract, password="short", email=None) == contract.invalid(
        ("email", "Email is required"), ("password", "Password must be at least 8 characters")
    )


@pytest.mark.parametrize("password", ["8 blanks", " " * 8, "a" * 72, "é" * 36, "🙂" * 18])
def test_password_at_the_limits_signs_up_and_logs_in(http: httpx.Client, contract: Contract, password: str) -> None:
    user = sign_up(http, contract, password=password)

    answer = http.post(f"{contract.prefix}/auth/login", json={"email": user.email, "password": password})

    assert (answer.status_code, answer.json()["user"]["id"]) == (200, user.id)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (" Ann.{}@EXAMPLE.com\n", "ann.{}@example.com"),
        ("ÄNN.{}@example.com", "änn.{}@example.com"),
        ("İ.{}@example.com", "i\u0307.{}@example.com"),
        ("ann.{}@BÜCHER.example.com", "ann.{}@bücher.example.com"),
        ("J\u030c.{}@example.com", "\u01f0.{}@example.com"),
    ],
)
def test_email_is_stored_trimmed_in_lower_case_and_found_by_other_spellings(
    http: httpx.Client, contract: Contract, given: str, stored: str
) -> None:
    unique = new_email().partition("@")[0]
    given, stored = given.format(unique), stored.format(unique)

    user = sign_up(http, contract, email=given)

    assert user.email == stored
    for spelling in (given, stored):
        answer = http.post(f"{contract.prefix}/auth/login", json={"email": spelling, "password": PASSWORD})
        assert (answer.status_code, answer.json()["user"]["id"]) == (200, user.id)


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({}, [("email", "Email is required"), ("password", "Password is required")]),
        ({"email": None, "password": None}, [("email", "Email is required"), ("password", "Password is required")]),
        ({"email": " ", "password": "x"}, [("email", "Email is required")]),
        ({"email": "a@example.com"}, [("password", "Password is required")]),
        ({"email": "a@example.com", "password": ""}, [("password", "Password is required")]),
    ],
)
def test_login_with_a_missing_field_returns_400(
    http: httpx.Client, contract: Contract, fields: dict[str, Any], details: list[tuple[str, str]]
) -> None:
    answer = http.post(f"{contract.prefix}/auth/login", json=fields)

    expected = contract.invalid(*details)
    if contract.name == "january":
        expected["error"] = "Email and password required"
    assert (answer.status_code, answer.json()) == (400, expected)


def test_login_with_a_nul_character_or_a_number_returns_400(http: httpx.Client, contract: Contract) -> None:
    answer = http.post(f"{contract.prefix}/auth/login", json={"email": NUL, "password": 12345678})

    assert (answer.status_code, answer.json()) == (
        400,
        contract.invalid(
            ("email", "Email contains a character that cannot be stored"), ("password", "Password must be a string")
        ),
    )


@pytest.mark.parametrize(
    ("title", "message"),
    [
        (..., "Title is required"),
        (None, "Title is required"),
        ("", "Title is required"),
        (WHITE_SPACE, "Title is required"),
        (7, "Title must be a string"),
        ({"text": "x"}, "Title must be a string"),
        (NUL, "Title contains a character that cannot be stored"),
    ],
)
def test_create_task_without_a_valid_title_returns_400(ann: User, contract: Contract, title: Any, message: str) -> None:
    answer = ann.post(f"{contract.prefix}/tasks", {} if title is ... else {"title": title})

    assert (answer.status_code, answer.json()) == (400, contract.invalid(("title", message)))


@pytest.mark.parametrize(
    ("fields", "details"),
    [
        ({"title": None}, [("title", "Title cannot be empty")]),
        ({"title": "  "}, [("title", "Title cannot be empty")]),
        ({"title": 0}, [("title", "Title must be a string")]),
        ({"title": NUL}, [("title", "Title contains a character that cannot be stored")]),
        ({"description": 1}, [("description", "Description must be a string")]),
        ({"description": NUL}, [("description", "Description contains a character that cannot be stored")]),
        ({"description": False, "title": ""}, [
            ("title", "Title cannot be empty"),
            ("description", "Description must be a string"),
        ]),
    ],
)  # fmt: skip
def test_update_with_an_invalid_field_returns_400_and_changes_nothing(
    ann: User, contract: Contract, fields: dict[str, Any], details: list[tuple[str, str]]
) -> None:
    task = ann.creates(contract)

    answer = ann.put(f"{contract.prefix}/tasks/{task['id']}", fields)

    assert (answer.status_code, answer.json()) == (400, contract.invalid(*details))
    assert contract.task(ann.get(f"{contract.prefix}/tasks/{task['id']}").json()) == task


@pytest.mark.parametrize("flag", [None, 1, 0, "yes", "true", [], 1.0])
def test_completed_flag_other_than_true_or_false_returns_400(ann: User, contract: Contract, flag: Any) -> None:
    task = ann.creates(contract)

    answer = ann.put(f"{contract.prefix}/tasks/{task['id']}", {contract.flag: flag})

    assert (answer.status_code, answer.json()) == (
        400,
        contract.invalid((contract.flag, f"{contract.flag} must be true or false")),
    )


def test_length_limits_count_code_points_after_trimming(ann: User, contract: Contract) -> None:
    title, description = "🙂" * contract.title_limit, "é" * contract.description_limit

    task = ann.creates(contract, title=f"{WHITE_SPACE}{title}{WHITE_SPACE}", description=f"\n{description} ")

    assert (task["title"], task["description"]) == (title, description)


def test_text_one_character_over_the_limit_returns_400_on_create_and_update(ann: User, contract: Contract) -> None:
    sent = {"title": "🙂" * (contract.title_limit + 1), "description": "é" * (contract.description_limit + 1)}
    expected = contract.invalid(
        ("title", f"Title must not exceed {contract.title_limit} characters"),
        ("description", f"Description must not exceed {contract.description_limit} characters"),
    )
    task = ann.creates(contract)

    for answer in (ann.post(f"{contract.prefix}/tasks", sent), ann.put(f"{contract.prefix}/tasks/{task['id']}", sent)):
        assert (answer.status_code, answer.json()) == (400, expected)


@pytest.mark.parametrize("description", [None, "", "  ", WHITE_SPACE])
def test_blank_description_is_stored_as_null(ann: User, contract: Contract, description: str | None) -> None:
    assert ann.creates(contract, description=description)["description"] is None


def test_texts_are_returned_as_they_were_sent(ann: User, contract: Contract) -> None:
    text = "'; DROP TABLE tasks; -- \\ \" $1 %s {} <b>\u202e\ufeff\x01 🙂 e\u0301"

    task = ann.creates(contract, title=text, description=text)

    assert (task["title"], task["description"]) == (text, text)


def test_unknown_fields_are_ignored(ann: User, bob: User, contract: Contract) -> None:
    chosen = "11111111-1111-4111-8111-111111111111"
    sent: dict[str, Any] = {
        "id": chosen,
        "user_id": bob.id,
        "created_at": "2020-01-01",
        contract.flag: True,
        "colour": {"deep": [1]},
    }

    task = ann.creates(contract, **sent)

    assert (task["user_id"], task[contract.flag]) == (ann.id, False)
    assert task["id"] != chosen
    assert not task["created_at"].startswith("2020")
