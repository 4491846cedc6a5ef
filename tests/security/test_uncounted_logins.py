"""Password guessing: attempts that do not count, and those that are counted first and uncounted later."""

import json
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import bcrypt
import psycopg

from tests.databases import Urls
from tests.security.guesses import WRONG, attempts_since, log_in, now, statuses, wait_until
from tests.support import PASSWORD, Service, User, new_address, new_email


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
