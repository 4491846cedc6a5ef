"""Password guessing: the limits by email and address, and the attempts that do not count."""

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import psycopg
import pytest

from service import field_rules
from tests import databases, support
from tests.databases import Urls
from tests.support import PASSWORD, SECRET, Contract, Service, User, new_email

WRONG = "wrong horse"
REFUSED = {"error": "Invalid email or password", "code": "INVALID_CREDENTIALS"}
LOCKED = {"error": "Too many attempts, try again later", "code": "RATE_LIMITED"}

_numbers = count(1)


def new_address() -> str:
    """An address without attempts."""
    number = next(_numbers)
    return f"198.51.{number // 256}.{number % 256}"


@pytest.fixture(scope="module")
def guarded(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers behind one proxy. A test can reach each limit without reaching the others."""
    settings = {
        "DATABASE_URL": databases.patient(database_url), "BETTER_AUTH_SECRET": SECRET,
        "WORKERS": 2, "TRUSTED_PROXIES": 1,
        "LOGIN_FAILURES": 4, "LOGIN_FAILURES_PER_ADDRESS": 10, "LOGIN_FAILURES_PER_EMAIL": 6, "SIGNUPS_PER_ADDRESS": 3,
        "STATEMENT_TIMEOUT": 60, "POOL_MAX": 20,  # so that one email may have five logins at a time
    }  # fmt: skip
    with support.running(tmp_path_factory.mktemp("guarded"), **settings) as service:
        yield service


def log_in(
    service: Service, email: str, password: str, address: str, contract: Contract = support.FEBRUARY
) -> httpx.Response:
    """Logs in on a new connection, so that any worker may get it."""
    given = {"email": email, "password": password}
    headers = {"X-Forwarded-For": address} if address else {}
    return httpx.post(f"{service.url}{contract.prefix}/auth/login", json=given, headers=headers, timeout=60)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


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


def test_login_refused_by_the_hashing_queue_does_not_count_as_a_failure(
    start_service: Callable[..., Service], database: psycopg.Connection
) -> None:
    """No hash was computed, so the password is not known to be wrong."""
    service = start_service(LOGIN_FAILURES=1000, POOL_TIMEOUT=0.1, HASH_THREADS=1)
    began = now(database)
    dear = new_email()  # a hash of cost 13 takes longer than 0.1 s on any machine
    password_hash = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(13)).decode()
    database.execute("INSERT INTO users (email, password_hash) VALUES (%s, %s)", [dear, password_hash])

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: log_in(service, dear, PASSWORD, ""), range(4)))
    assert set(statuses(answers)) - {200} == {503}

    wait_until(lambda: attempts_since(database, began) == 0)


def test_abandoned_login_counts_if_the_password_was_wrong_and_not_if_it_was_right(
    guarded: Service, ann: User, bob: User, urls: Urls, database: psycopg.Connection
) -> None:
    address, left_before, began = new_address(), len(abandoned_requests(guarded)), now(database)
    guesses = [(ann, WRONG), (ann, WRONG), (bob, PASSWORD), (ann, WRONG), (ann, WRONG)]
    with psycopg.connect(urls.admin) as blocker:
        blocker.execute("LOCK TABLE users")  # so that no login is answered before its client has gone
        for number, (user, password) in enumerate(guesses, start=1):
            with sent(guarded, user.email, password, address):
                wait_until(lambda number=number: waiting_for_users(database) == number)  # type: ignore[misc]  # its default is no number
        wait_until(lambda: len(abandoned_requests(guarded)) == left_before + len(guesses))

    wait_until(lambda: attempts_since(database, began) == 3 * 4)  # four failures count towards three limits each
    assert log_in(guarded, ann.email, PASSWORD, address).status_code == 429


def abandoned_requests(service: Service) -> list[Any]:
    return [line for line in service.lines() if line.get("status") == 499]


@contextmanager
def sent(service: Service, email: str, password: str, address: str) -> Iterator[None]:
    """Sends a login and resets the connection at the end: a FIN would not do, since it may be a half-close."""
    body = json.dumps({"email": email, "password": password})
    head = f"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    head += f"\r\nX-Forwarded-For: {address}"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(f"{head}\r\n\r\n{body}".encode())
        yield


def waiting_for_users(database: psycopg.Connection) -> int:
    """The number of logins that have been counted and now wait for the lock."""
    found = database.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND query LIKE '%find_credentials%'"
    ).fetchone()
    assert found is not None
    return int(found[0])


def test_successful_login_is_uncounted_later_if_uncounting_fails_at_first(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(LOGIN_FAILURES=3)
    began = now(database)
    database.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$; "
        "CREATE TRIGGER refuse BEFORE UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    try:
        assert log_in(service, ann.email, PASSWORD, "").status_code == 200
        assert attempts_since(database, began) == 1
    finally:
        database.execute("DROP FUNCTION refuse CASCADE")

    wait_until(lambda: attempts_since(database, began) == 0)


def refused_by_email_and_address(service: Service, user: User, address: str) -> httpx.Response:
    return [log_in(service, user.email, WRONG, address) for _ in range(5)][-1]


def refused_by_address(service: Service, _: User, address: str) -> httpx.Response:
    return [log_in(service, new_email(), WRONG, address) for _ in range(11)][-1]


def refused_by_email(service: Service, user: User, address: str) -> httpx.Response:
    for _ in range(6):
        log_in(service, user.email, WRONG, new_address())
    return log_in(service, user.email, WRONG, address)


def refused_with_a_token(service: Service, user: User, address: str) -> httpx.Response:
    own = User(service.http, user.id, user.email, user.token)
    given, headers = {"current_password": WRONG, "new_password": PASSWORD}, {"X-Forwarded-For": address}
    return [own.post("/api/auth/password", given, headers=headers) for _ in range(5)][-1]


def refused_sign_up(service: Service, _: User, address: str) -> httpx.Response:
    given, headers = {"email": new_email(), "password": PASSWORD}, {"X-Forwarded-For": address}
    return [service.http.post("/api/auth/signup", json=given, headers=headers) for _ in range(4)][-1]


@pytest.mark.parametrize(
    ("refused", "limit"),
    [
        (refused_by_email_and_address, "login of an email from an address, 4 times"),
        (refused_by_address, "login from an address, 10 times"),
        (refused_by_email, "login of an email, 6 times"),
        (refused_with_a_token, "password of a token's user from an address, 4 times"),
        (refused_sign_up, "sign-up from an address, 3 times"),
    ],
)
def test_log_line_of_a_429_names_the_limit_and_the_address(
    guarded: Service, ann: User, refused: Callable[[Service, User, str], httpx.Response], limit: str
) -> None:
    address = new_address()

    answer = refused(guarded, ann, address)

    assert (answer.status_code, answer.json()) == (429, LOCKED)
    lines = guarded.lines_of(answer.headers["X-Request-ID"])
    assert [line["reason"] for line in lines] == [f"{limit}; {address}"]


def test_buckets_store_no_email_or_address_and_each_secret_counts_separately(
    own_database: Urls, tmp_path: Path
) -> None:
    email = new_email()
    limits = {"DATABASE_URL": own_database.runtime, "LOGIN_FAILURES": 1, "LOGIN_FAILURES_PER_EMAIL": 5}
    for secret in (SECRET, SECRET.swapcase()):
        with support.running(tmp_path, BETTER_AUTH_SECRET=secret, **limits) as service:
            assert statuses([log_in(service, email, WRONG, "") for _ in range(2)]) == [401, 429]

    with psycopg.connect(own_database.admin) as connection:
        rows = connection.execute("SELECT bucket, attempts::text FROM attempts").fetchall()
    assert len({bucket for bucket, _ in rows}) == 4  # two of each secret: the email, and the email with the address
    assert all(len(bucket) == 32 and email not in row and "127.0.0.1" not in row for bucket, row in rows)


def test_expired_bucket_is_deleted_and_a_current_one_is_kept(
    start_service: Callable[..., Service], database: psycopg.Connection
) -> None:
    add = "INSERT INTO attempts VALUES (sha256(%s), ARRAY[now()], now() + %s::interval)"
    for name, ends in ((b"over", "0 seconds"), (b"going on", "1 hour")):
        database.execute(add, [name, ends])

    service = start_service(LOGIN_FAILURES=5)
    log_in(service, new_email(), WRONG, "")

    kept = "SELECT count(*) FROM attempts WHERE bucket = sha256(%s)"
    wait_until(lambda: database.execute(kept, [b"over"]).fetchone() == (0,))
    assert database.execute(kept, [b"going on"]).fetchone() == (1,)


def now(database: psycopg.Connection) -> datetime:
    found = database.execute("SELECT now()").fetchone()
    assert found is not None
    moment: datetime = found[0]
    return moment


def attempts_since(database: psycopg.Connection, began: datetime) -> int:
    """The number of counted attempts since then. Older ones may be deleted meanwhile."""
    counted = "SELECT count(*) FROM attempts CROSS JOIN unnest(attempted_at) AS attempt WHERE attempt >= %s"
    found = database.execute(counted, [began]).fetchone()
    assert found is not None
    return int(found[0])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90  # an attempt is uncounted after 36 s at the latest
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
