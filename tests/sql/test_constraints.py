"""The database's constraints are the widest of both contracts, and agree with Python on what is trimmed."""

from collections.abc import Iterator

import psycopg
import pytest

from service import field_rules
from service.api import models as february
from service.db.admin_session import connected
from service.review.catalog import Catalog
from service.v1 import models as january
from tests.databases import Urls
from tests.support import new_email

WHITE_SPACE = [chr(point) for point in range(0x110000) if chr(point).isspace()]


@pytest.fixture
def row(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def owner(row: psycopg.Connection) -> str:
    found = row.execute(
        "INSERT INTO users (email, password_hash) VALUES (%s, 'x') RETURNING id::text", [new_email()]
    ).fetchone()
    assert found is not None
    owner: str = found[0]
    return owner


def refused_by(row: psycopg.Connection, query: str, values: list[object]) -> str | None:
    try:
        with row.transaction(force_rollback=True):
            row.execute(query.encode(), values)
    except psycopg.errors.CheckViolation as violation:
        return violation.diag.constraint_name
    return None


def refused_task(row: psycopg.Connection, owner: str, title: str, description: str | None = None) -> str | None:
    return refused_by(
        row, "INSERT INTO tasks (user_id, title, description) VALUES (%s, %s, %s)", [owner, title, description]
    )


def test_the_limits_are_the_wider_of_the_two_contracts(row: psycopg.Connection, owner: str) -> None:
    title = max(february.TITLE_LIMIT, january.TITLE_LIMIT)
    description = max(february.DESCRIPTION_LIMIT, january.DESCRIPTION_LIMIT)

    assert refused_task(row, owner, "🙂" * title, "🙂" * description) is None
    assert refused_task(row, owner, "🙂" * (title + 1)) == "tasks_title_length"
    assert refused_task(row, owner, "") == "tasks_title_length"
    assert refused_task(row, owner, "x", "🙂" * (description + 1)) == "tasks_description_length"
    assert refused_task(row, owner, "x", "") == "tasks_description_length"


def test_every_index_on_a_table_of_users_rows_starts_with_the_owner(database_url: str) -> None:
    with connected(database_url) as connection:
        catalog = Catalog.of(connection)

    firsts = {
        index.index_name: index.column_names[0] for index in catalog.indexes if index.table in catalog.owner_position
    }
    assert {"tasks_pkey", "tasks_newest_first"} <= set(firsts)
    assert set(firsts.values()) == {"user_id"}


@pytest.mark.parametrize("blank", WHITE_SPACE, ids=lambda blank: f"U+{ord(blank):04X}")
def test_the_database_refuses_texts_with_white_space_that_python_trims(
    row: psycopg.Connection, owner: str, blank: str
) -> None:
    assert refused_task(row, owner, f"a{blank}") == "tasks_title_trimmed"
    assert refused_task(row, owner, f"{blank}a") == "tasks_title_trimmed"
    assert refused_task(row, owner, "a", f"{blank}a") == "tasks_description_trimmed"
    assert refused_task(row, owner, f"a{blank}a", f"a{blank}a") is None


@pytest.mark.parametrize("kept", ["\u200b", "\ufeff", "\u180e", "\u2060", "\x01", "\x7f", "t", "n", "f", "0", "\\"])
def test_the_database_takes_characters_that_python_does_not_trim(
    row: psycopg.Connection, owner: str, kept: str
) -> None:
    assert f"{kept}a{kept}".strip() == f"{kept}a{kept}"
    assert refused_task(row, owner, f"{kept}a{kept}", f"{kept}a{kept}") is None


def test_an_email_is_in_lower_case_and_no_longer_than_the_contract_says(row: psycopg.Connection) -> None:
    insert = "INSERT INTO users (email, password_hash) VALUES (%s, 'x')"

    assert refused_by(row, insert, ["Ann@example.com"]) == "users_email_lower_case"
    assert refused_by(row, insert, ["é" * field_rules.MAX_EMAIL_CHARACTERS]) is None
    assert refused_by(row, insert, ["é" * (field_rules.MAX_EMAIL_CHARACTERS + 1)]) == "users_email_length"


def test_a_user_has_five_known_networks_at_the_most(row: psycopg.Connection) -> None:
    insert = "INSERT INTO users (email, password_hash, known_networks) VALUES (%s, 'x', %s)"

    assert refused_by(row, insert, [new_email(), [b"x"] * 5]) is None
    assert refused_by(row, insert, [new_email(), [b"x"] * 6]) == "users_known_networks_count"


@pytest.mark.parametrize(
    ("email", "password_hash", "issuer", "subject"),
    [
        ("a@example.com", None, None, None),
        (None, "x", None, None),
        (None, None, None, None),
        ("a@example.com", "x", "https://issuer.example", "1"),
        ("a@example.com", "x", "https://issuer.example", None),
        ("a@example.com", None, "https://issuer.example", None),
        (None, None, None, "1"),
    ],
)
def test_a_user_has_either_a_password_or_an_issuer_and_a_subject(
    row: psycopg.Connection, email: str | None, password_hash: str | None, issuer: str | None, subject: str | None
) -> None:
    insert = "INSERT INTO users (email, password_hash, issuer, subject) VALUES (%s, %s, %s, %s)"

    assert refused_by(row, insert, [email, password_hash, issuer, subject]) == "users_password_or_issuer"


def test_an_issuer_and_a_subject_have_1_to_255_characters(row: psycopg.Connection) -> None:
    insert = "INSERT INTO users (issuer, subject) VALUES (%s, %s)"

    assert refused_by(row, insert, ["🙂" * 255, "🙂" * 255]) is None
    assert refused_by(row, insert, ["🙂" * 256, "x"]) == "users_issuer_length"
    assert refused_by(row, insert, ["", "x"]) == "users_issuer_length"
    assert refused_by(row, insert, ["x", "🙂" * 256]) == "users_subject_length"
    assert refused_by(row, insert, ["x", ""]) == "users_subject_length"


@pytest.mark.parametrize("letter", ["İ", "ẞ", "Σ", "Ǆ", "Ɐ", "\U00010d50", "\U0001e921", "Ꟊ"])
def test_a_letter_that_python_lowers_its_own_way_is_no_fault(row: psycopg.Connection, letter: str) -> None:
    insert = "INSERT INTO users (email, password_hash) VALUES (%s, 'x')"

    assert refused_by(row, insert, [f"{letter}@example.com".lower()]) is None
