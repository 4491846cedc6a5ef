"""The owner rule for accounts: a statement that reaches another account is a finding."""

import pytest

from tests.sql.faults import OWNER, Plant, findings, new_statement


@pytest.mark.parametrize(
    ("body", "header", "why"),
    [
        (
            "SELECT email FROM users WHERE id = $2 AND $1::uuid IS NOT NULL",
            [OWNER, "-- $2 other_id  uuid"],
            "users must be bound to a unique key",
        ),
        (
            "SELECT email FROM users WHERE id = (SELECT max(id::text)::uuid FROM users AS u WHERE u.id = $1)",
            [OWNER],
            "users must be bound to a unique key",
        ),
        (
            "UPDATE users SET password_hash = 'x' WHERE id = $2 AND $1::uuid IS NOT NULL",
            [OWNER, "-- $2 other_id  uuid"],
            "users must be changed by users.id = $1",
        ),
        (
            "UPDATE users SET password_hash = 'x' WHERE email = $1 AND password_hash IS NOT NULL",
            ["-- $1 email  text"],
            "users must be changed by users.id = $1",
        ),
        (
            "DELETE FROM users WHERE email = $1 AND password_hash IS NOT NULL",
            ["-- $1 email  text"],
            "users must be changed by users.id = $1",
        ),
        (
            (
                "INSERT INTO users (email, password_hash) VALUES ($1, $2) "
                "ON CONFLICT (email) WHERE password_hash IS NOT NULL "
                "DO UPDATE SET password_hash = excluded.password_hash"
            ),
            ["-- $1 email  text", "-- $2 password_hash  text"],
            "must not change password_hash of a row that it did not make",
        ),
        (
            "INSERT INTO users (issuer, subject) VALUES ($1, $2) ON CONFLICT (issuer, subject) DO UPDATE SET id = NULL",
            ["-- $1 issuer  text", "-- $2 subject  text"],
            "must not change id of a row that it did not make",
        ),
    ],
)
def test_a_statement_that_reaches_another_account_is_a_finding(
    any_small_url: str, plant: Plant, body: str, header: list[str], why: str
) -> None:
    header = [*header, "-- -> email  text"] if body.startswith("SELECT") else header
    root = plant("accounts/new_statement", new=new_statement("accounts/new_statement", body, *header))

    assert any(why in finding for finding in findings(any_small_url, root))


@pytest.mark.parametrize(
    "body", ["UPDATE users SET password_hash = $2 WHERE id = $1", "DELETE FROM users WHERE id = $1 AND $2 = 'yes'"]
)
def test_an_account_may_be_changed_by_its_owner(any_small_url: str, plant: Plant, body: str) -> None:
    new = new_statement("accounts/new_statement", body, OWNER, "-- $2 word  text")

    assert findings(any_small_url, plant("accounts/new_statement", new=new)) == []
