"""The database's constraints are the widest of both contracts, and agree with Python on what is trimmed."""

import re
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb
from pydantic import ValidationError

from service import field_rules
from service.api import models as february
from service.db.admin_session import connected
from service.db.statements import SQL
from service.domain.tasks import PRIORITIES
from service.errors import FieldError
from service.http.json_body import errors_of
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
    assert refused_plan(row, owner, tags=Jsonb(["x", f"a{blank}"])) == "tasks_tags_trimmed"
    assert refused_plan(row, owner, tags=Jsonb([f"{blank}a", "x"])) == "tasks_tags_trimmed"
    assert refused_plan(row, owner, tags=Jsonb([blank])) == "tasks_tags_trimmed"
    assert refused_task(row, owner, f"a{blank}a", f"a{blank}a") is None
    assert refused_plan(row, owner, tags=Jsonb([f"a{blank}a"])) is None


@pytest.mark.parametrize("kept", ["\u200b", "\ufeff", "\u180e", "\u2060", "\x01", "\x7f", "t", "n", "f", "0", "\\"])
def test_the_database_takes_characters_that_python_does_not_trim(
    row: psycopg.Connection, owner: str, kept: str
) -> None:
    assert f"{kept}a{kept}".strip() == f"{kept}a{kept}"
    assert refused_task(row, owner, f"{kept}a{kept}", f"{kept}a{kept}") is None
    assert refused_plan(row, owner, tags=Jsonb([f"{kept}a{kept}", kept])) is None


def test_the_rules_between_fields_are_those_of_the_table_and_of_a_batch(row: psycopg.Connection) -> None:
    """All in the order of their names, in which the server looks at them: the first broken one is the answer."""
    checks = (
        "SELECT conname FROM pg_constraint WHERE conrelid = 'tasks'::regclass AND contype = 'c'"
        " AND cardinality(conkey) > 1 ORDER BY conname"
    )
    judged = (SQL / "tasks" / "write_batch.sql").read_text().partition("\njudged AS (")[2].partition("\n),")[0]
    _, _, by_hand = judged.partition("WHEN wanted.op = 'delete' THEN NULL")
    rules = field_rules.RULES_BETWEEN_FIELDS

    assert [rule.constraint for rule in rules] == [name for (name,) in row.execute(checks)]
    assert [rule.field for rule in rules] == re.findall(
        r"THEN '(\w+)'", by_hand.partition("WHEN wanted.op = 'create'")[0]
    )


def test_a_field_is_refused_without_the_one_that_it_needs(row: psycopg.Connection, owner: str) -> None:
    """By the table as by the model of a new task, which knows the rules from the same list."""
    given = {"due_on": "2026-12-24", "due_time": "09:30", "time_zone": "Europe/Berlin"}
    assert refused_plan(row, owner, **given) is None
    assert february.NewTask.model_validate({"title": "x"} | given).fields() == {"title": "x"} | given
    for rule in field_rules.RULES_BETWEEN_FIELDS:
        alone = {rule.field: given[rule.field]}
        assert refused_plan(row, owner, **alone) == rule.constraint
        with pytest.raises(ValidationError) as caught:
            february.NewTask.model_validate({"title": "x"} | alone)
        assert errors_of(caught.value) == [FieldError(rule.field, rule.message)]


def refused_plan(row: psycopg.Connection, owner: str, **columns: object) -> str | None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    marks = sql.SQL(", ").join([sql.Placeholder()] * len(columns))
    query = sql.SQL("INSERT INTO tasks (user_id, title, {}) VALUES (%s, 'x', {})").format(names, marks)
    return refused_by(row, query.as_string(row), [owner, *columns.values()])


def test_a_due_date_lies_in_the_years_of_the_contract(row: psycopg.Connection, owner: str) -> None:
    day = timedelta(days=1)

    assert refused_plan(row, owner, due_on=field_rules.FIRST_DATE) is None
    assert refused_plan(row, owner, due_on=field_rules.LAST_DATE) is None
    for outside in (
        field_rules.FIRST_DATE - day,
        field_rules.LAST_DATE + day,
        "infinity",
        "-infinity",
        "0044-03-15 BC",
    ):
        assert refused_plan(row, owner, due_on=outside) == "tasks_due_on_years"


@pytest.mark.parametrize("due_time", ["24:00", "09:30:01", "09:30:00.000001", "23:59:59.999999"])
def test_a_due_time_is_a_whole_minute_of_a_day(row: psycopg.Connection, owner: str, due_time: str) -> None:
    assert refused_plan(row, owner, due_on="2026-12-24", due_time=due_time) == "tasks_due_time_whole_minutes"
    for accepted in ("00:00", "09:30", "23:59"):
        assert refused_plan(row, owner, due_on="2026-12-24", due_time=accepted) is None


def test_a_due_time_needs_a_date_and_a_time_zone_needs_a_time(row: psycopg.Connection, owner: str) -> None:
    assert refused_plan(row, owner, due_time="09:30") == "tasks_due_time_needs_due_on"
    assert refused_plan(row, owner, time_zone="UTC") == "tasks_time_zone_needs_due_time"
    assert refused_plan(row, owner, time_zone="UTC", due_on="2026-12-24") == "tasks_time_zone_needs_due_time"
    assert refused_plan(row, owner, time_zone="UTC", due_on="2026-12-24", due_time="09:30") is None


def test_a_time_zone_has_room_for_every_name_of_tzdata(row: psycopg.Connection, owner: str) -> None:
    due = {"due_on": "2026-12-24", "due_time": "09:30"}

    assert refused_plan(row, owner, **due, time_zone=max(field_rules.TIME_ZONES, key=len)) is None
    assert refused_plan(row, owner, **due, time_zone="x" * 64) is None
    for outside in ("", "x" * 65):
        assert refused_plan(row, owner, **due, time_zone=outside) == "tasks_time_zone_length"


def test_a_count_of_tasks_is_not_negative(row: psycopg.Connection, owner: str) -> None:
    query = "INSERT INTO task_counters (user_id, task_count) VALUES (%s, %s)"

    assert refused_by(row, query, [owner, 0]) is None
    assert refused_by(row, query, [owner, -1]) == "task_counters_task_count_not_negative"


def test_a_priority_is_a_position_among_those_of_the_contract(row: psycopg.Connection, owner: str) -> None:
    for number in range(-2, len(PRIORITIES) + 2):
        is_known = number in range(len(PRIORITIES))
        assert refused_plan(row, owner, priority=number) == (None if is_known else "tasks_priority_known")


@pytest.mark.parametrize(
    ("tags", "constraint"),
    [
        ([], None),
        (["x"] * field_rules.MAX_TAGS, None),
        (["x"] * (field_rules.MAX_TAGS + 1), "tasks_tags_list"),
        ({}, "tasks_tags_list"),
        ({"0": "x"}, "tasks_tags_list"),
        ("home", "tasks_tags_list"),
        (1, "tasks_tags_list"),
        (None, "tasks_tags_list"),
        ([1], "tasks_tags_texts"),
        (["x", None], "tasks_tags_texts"),
        ([["x"]], "tasks_tags_texts"),
        ([{"x": "y"}], "tasks_tags_texts"),
        ([True], "tasks_tags_texts"),
        ([""], "tasks_tags_texts"),
        (["x", "🙂" * field_rules.MAX_TAG_CHARACTERS], None),
        (["x", "🙂" * (field_rules.MAX_TAG_CHARACTERS + 1)], "tasks_tags_texts"),
        (["x\n" * (field_rules.MAX_TAG_CHARACTERS // 2 - 1) + "x"], None),
        (["x\n" * (field_rules.MAX_TAG_CHARACTERS // 2) + "x"], "tasks_tags_texts"),
    ],
    ids=str,
)
def test_tags_are_a_list_of_texts_of_the_contracts_length(
    row: psycopg.Connection, owner: str, tags: object, constraint: str | None
) -> None:
    assert refused_plan(row, owner, tags=Jsonb(tags)) == constraint


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
