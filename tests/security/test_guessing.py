"""Password guessing: the limits by email and address."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest

from service import field_rules
from tests import support
from tests.security.guesses import LOCKED, WRONG, attempts_since, log_in, now, statuses
from tests.support import PASSWORD, Contract, Service, User, new_address, new_email

REFUSED = {"error": "Invalid email or password", "code": "INVALID_CREDENTIALS"}


def test_right_password_after_too_many_failures_returns_the_same_429_as_a_wrong_one(
    guarded: Service, ann: User, contract: Contract
) -> None:
    address = new_address()
    failures = [log_in(guarded, ann.email, WRONG, address, contract) for _ in range(4)]
    assert [(answer.status_code, answer.json()) for answer in failures] == [(401, REFUSED)] * 4

    wrong, right = (log_in(guarded, ann.email, each, address, contract) for each in (WRONG, PASSWORD))

    for answer in (wrong, right):
        assert (answer.status_code, answer.json()) == (429, LOCKED)
        assert 1 <= int(answer.headers["Retry-After"]) <= 900
    differing = {"date", "x-request-id", "retry-after"}
    assert {k: v for k, v in wrong.headers.items() if k not in differing} == {
        k: v for k, v in right.headers.items() if k not in differing
    }


def test_unknown_email_is_locked_after_as_many_failures_as_a_known_one(guarded: Service) -> None:
    email, address = new_email(), new_address()

    assert statuses([log_in(guarded, email, WRONG, address) for _ in range(6)]) == [401] * 4 + [429] * 2


def test_failures_with_different_spellings_of_an_email_count_together(guarded: Service, ann: User) -> None:
    address = new_address()
    spellings = [ann.email, ann.email.upper(), f" {ann.email} ", ann.email.title(), ann.email]

    assert statuses([log_in(guarded, each, WRONG, address) for each in spellings]) == [401] * 4 + [429]


def test_failures_through_both_contracts_count_together(guarded: Service, ann: User) -> None:
    address = new_address()
    contracts = [support.FEBRUARY, support.JANUARY, support.JANUARY, support.FEBRUARY, support.JANUARY]

    assert statuses([log_in(guarded, ann.email, WRONG, address, each) for each in contracts]) == [401] * 4 + [429]


def test_simultaneous_guesses_are_counted_across_all_workers(start_service: Callable[..., Service]) -> None:
    service = start_service(WORKERS=2, LOGIN_FAILURES=10, POOL_TIMEOUT=30)
    email = new_email()
    with ThreadPoolExecutor(50) as threads:
        # X-Forwarded-For is ignored without a trusted proxy.
        answers = list(threads.map(lambda _: log_in(service, email, WRONG, new_address()), range(50)))

    assert sorted(statuses(answers)) == [401] * 10 + [429] * 40


def test_successful_login_does_not_count_towards_the_limit(guarded: Service, ann: User) -> None:
    address = new_address()

    assert statuses([log_in(guarded, ann.email, PASSWORD, address) for _ in range(15)]) == [200] * 15
    assert statuses([log_in(guarded, ann.email, WRONG, address) for _ in range(5)]) == [401] * 4 + [429]


def test_address_limit_counts_failures_of_all_emails_and_locks_no_other_address(guarded: Service, ann: User) -> None:
    address = new_address()

    failures = [log_in(guarded, new_email(), WRONG, address) for _ in range(10)]

    assert statuses(failures) == [401] * 10
    assert log_in(guarded, ann.email, PASSWORD, address).status_code == 429
    assert log_in(guarded, ann.email, PASSWORD, new_address()).status_code == 200


def test_email_limit_counts_failures_from_all_addresses_and_locks_no_other_email(
    guarded: Service, ann: User, bob: User
) -> None:
    failures = [log_in(guarded, ann.email, WRONG, new_address()) for _ in range(6)]

    assert statuses(failures) == [401] * 6
    assert log_in(guarded, ann.email, PASSWORD, new_address()).status_code == 429
    assert log_in(guarded, bob.email, PASSWORD, new_address()).status_code == 200


def test_failures_from_one_address_do_not_lock_the_account_at_other_addresses(guarded: Service, ann: User) -> None:
    address = new_address()

    guesses = [log_in(guarded, ann.email, WRONG, address) for _ in range(30)]

    assert statuses(guesses) == [401] * 4 + [429] * 26
    assert log_in(guarded, ann.email, PASSWORD, new_address()).status_code == 200


def test_refusal_by_the_email_limit_does_not_count_towards_the_other_limits(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    for _ in range(6):
        log_in(guarded, ann.email, WRONG, new_address())
    address, began = new_address(), now(database)

    assert statuses([log_in(guarded, ann.email, PASSWORD, address) for _ in range(8)]) == [429] * 8
    assert attempts_since(database, began) == 0


def test_lock_ends_after_the_seconds_in_retry_after(guarded: Service, ann: User, database: psycopg.Connection) -> None:
    address = new_address()
    assert statuses([log_in(guarded, ann.email, WRONG, address) for _ in range(4)]) == [401] * 4
    locked = log_in(guarded, ann.email, PASSWORD, address)
    assert locked.status_code == 429

    pass_time(database, int(locked.headers["Retry-After"]) - 60)
    assert log_in(guarded, ann.email, PASSWORD, address).status_code == 429
    pass_time(database, 60)
    assert log_in(guarded, ann.email, PASSWORD, address).status_code == 200


def pass_time(database: psycopg.Connection, seconds: int) -> None:
    """Moves all counted attempts into the past."""
    database.execute(
        "UPDATE attempts SET attempted_at = ARRAY(SELECT each - make_interval(secs => %s) FROM unnest(attempted_at) "
        "WITH ORDINALITY AS attempt (each, place) ORDER BY place)",
        [seconds],
    )


def test_fourth_sign_up_from_an_address_returns_429_and_other_addresses_are_served(
    guarded: Service, contract: Contract
) -> None:
    address = new_address()

    def signs_up(address: str, **changed: Any) -> httpx.Response:
        given = {"email": new_email(), "password": PASSWORD} | changed
        headers = {"X-Forwarded-For": address}
        return httpx.post(f"{guarded.url}{contract.prefix}/auth/signup", json=given, headers=headers, timeout=60)

    taken = new_email()
    assert signs_up(address, password="short").status_code == 400
    assert statuses([signs_up(address, email=taken) for _ in range(3)]) == [201, 409, 409]
    locked = signs_up(address)
    assert (locked.status_code, locked.json()) == (429, LOCKED)
    assert 3500 <= int(locked.headers["Retry-After"]) <= 3600
    assert signs_up(new_address()).status_code == 201


def test_text_too_long_for_an_email_is_refused_without_being_normalised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Normalising a megabyte of accents takes minutes, during which the worker serves no other request."""
    seen: list[str] = []
    monkeypatch.setattr(field_rules, "validate_email", lambda email, **_: seen.append(email))

    assert field_rules.normal_email("a" + "\u0301\u0327" * 50_000 + "@example.com") is None
    assert field_rules.normal_email("a" * 256) is None
    assert seen == []


def test_limit_of_0_locks_nothing(service: Service, ann: User) -> None:
    assert statuses([log_in(service, ann.email, WRONG, "") for _ in range(12)]) == [401] * 12
