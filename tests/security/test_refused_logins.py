"""Password guessing: the log line of a refused attempt, and the buckets in the database."""

from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg
import pytest

from tests import support
from tests.databases import Urls
from tests.security.guesses import LOCKED, WRONG, log_in, statuses, wait_until
from tests.support import PASSWORD, SECRET, Service, User, new_address, new_email


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
