"""Known addresses: failures elsewhere lock a user out neither at an address of an earlier login nor with a token."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest

from tests import databases, support
from tests.databases import Urls
from tests.security.guesses import LOCKED, WRONG, log_in, statuses, wait_until
from tests.support import PASSWORD, SECRET, Contract, Service, User, new_address, new_email

PER_PAIR, PER_ADDRESS, PER_EMAIL = 4, 12, 6
LIMITS = {
    "LOGIN_FAILURES": PER_PAIR, "LOGIN_FAILURES_PER_ADDRESS": PER_ADDRESS, "LOGIN_FAILURES_PER_EMAIL": PER_EMAIL,
}  # fmt: skip
NEW_PASSWORD = "battery staple"


@pytest.fixture(scope="module")
def guarded(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers behind one proxy, with limits that a test can reach one by one."""
    settings = {
        "DATABASE_URL": databases.patient(database_url), "BETTER_AUTH_SECRET": SECRET,
        "WORKERS": 2, "TRUSTED_PROXIES": 1, "STATEMENT_TIMEOUT": 60,
    }  # fmt: skip
    with support.running(tmp_path_factory.mktemp("guarded"), **settings, **LIMITS) as service:
        yield service


def networks_of(database: psycopg.Connection, user: User) -> list[bytes]:
    found = database.execute("SELECT known_networks FROM users WHERE id = %s", [user.id]).fetchone()
    assert found is not None
    networks: list[bytes] = found[0]
    return networks


def logs_in(service: Service, database: psycopg.Connection, user: User, address: str) -> None:
    """Logs in and waits until the address is known, because the answer comes before that."""
    before = networks_of(database, user)
    assert log_in(service, user.email, PASSWORD, address).status_code == 200
    wait_until(lambda: networks_of(database, user) != before)


def lock_out_unknown_addresses(service: Service, email: str) -> None:
    assert statuses([log_in(service, email, WRONG, new_address()) for _ in range(PER_EMAIL)]) == [401] * PER_EMAIL
    assert log_in(service, email, PASSWORD, new_address()).status_code == 429


def change_password(service: Service, user: User, current: str, new: str, address: str) -> httpx.Response:
    given = {"current_password": current, "new_password": new}
    return User(service.http, user.id, user.email, user.token).post(
        "/api/auth/password", given, headers={"X-Forwarded-For": address}
    )


def delete_account(service: Service, user: User, password: str, address: str) -> httpx.Response:
    return User(service.http, user.id, user.email, user.token).delete(
        "/api/auth/me", json={"password": password}, headers={"X-Forwarded-For": address}
    )


def test_failures_at_unknown_addresses_do_not_lock_a_login_from_a_known_address(
    guarded: Service, ann: User, database: psycopg.Connection, contract: Contract
) -> None:
    home = new_address()
    logs_in(guarded, database, ann, home)

    lock_out_unknown_addresses(guarded, ann.email)

    assert log_in(guarded, ann.email, PASSWORD, home, contract).status_code == 200


def test_100_failures_from_ten_addresses_lock_only_unknown_addresses_by_default(
    start_service: Callable[..., Service], ann: User, database: psycopg.Connection
) -> None:
    service = start_service(
        TRUSTED_PROXIES=1, LOGIN_FAILURES=10, LOGIN_FAILURES_PER_ADDRESS=100, LOGIN_FAILURES_PER_EMAIL=100
    )
    home, strangers = new_address(), [new_address() for _ in range(10)]
    logs_in(service, database, ann, home)
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda each: log_in(service, ann.email, WRONG, each), strangers * 10))

    assert statuses(answers) == [401] * 100
    assert log_in(service, ann.email, PASSWORD, new_address()).status_code == 429
    assert log_in(service, ann.email, PASSWORD, home).status_code == 200
    assert change_password(service, ann, PASSWORD, NEW_PASSWORD, new_address()).status_code == 200


def test_address_of_a_sign_up_becomes_known(guarded: Service, contract: Contract) -> None:
    email, home = new_email(), new_address()
    given, headers = {"email": email, "password": PASSWORD}, {"X-Forwarded-For": home}
    assert guarded.http.post(f"{contract.prefix}/auth/signup", json=given, headers=headers).status_code == 201

    lock_out_unknown_addresses(guarded, email)

    assert log_in(guarded, email, PASSWORD, home).status_code == 200


def test_ipv6_address_is_known_by_its_64_bit_network(guarded: Service, ann: User, database: psycopg.Connection) -> None:
    logs_in(guarded, database, ann, "2001:db8:1:2::1")

    lock_out_unknown_addresses(guarded, ann.email)

    assert log_in(guarded, ann.email, PASSWORD, "2001:db8:1:2:ffff::9").status_code == 200
    assert log_in(guarded, ann.email, PASSWORD, "2001:db8:1:3::1").status_code == 429


def test_address_known_for_one_user_is_unknown_for_another(
    guarded: Service, ann: User, bob: User, database: psycopg.Connection
) -> None:
    shared = new_address()
    logs_in(guarded, database, ann, shared)

    lock_out_unknown_addresses(guarded, bob.email)

    assert log_in(guarded, bob.email, PASSWORD, shared).status_code == 429


def test_failed_login_does_not_make_its_address_known(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    guesser = new_address()
    assert log_in(guarded, ann.email, WRONG, guesser).status_code == 401

    strangers = [log_in(guarded, ann.email, WRONG, new_address()) for _ in range(PER_EMAIL - 1)]

    assert statuses(strangers) == [401] * (PER_EMAIL - 1)
    assert log_in(guarded, ann.email, PASSWORD, guesser).status_code == 429
    assert networks_of(database, ann) == []


def test_failures_at_a_known_address_lock_only_that_address(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    home, work = new_address(), new_address()
    for address in (home, work):
        logs_in(guarded, database, ann, address)

    guesses = [log_in(guarded, ann.email, WRONG, home) for _ in range(PER_PAIR + 1)]

    assert statuses(guesses) == [401] * PER_PAIR + [429]
    assert guesses[-1].json() == LOCKED
    assert log_in(guarded, ann.email, PASSWORD, home).status_code == 429
    assert log_in(guarded, ann.email, PASSWORD, work).status_code == 200
    assert log_in(guarded, ann.email, PASSWORD, new_address()).status_code == 200


def test_known_addresses_share_one_email_limit_and_the_log_names_it(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    known = [new_address() for _ in range(3)]
    for address in known:
        logs_in(guarded, database, ann, address)

    guesses = [log_in(guarded, ann.email, WRONG, known[number % 3]) for number in range(PER_EMAIL + 1)]

    assert statuses(guesses) == [401] * PER_EMAIL + [429]
    [line] = guarded.lines_of(guesses[-1].headers["X-Request-ID"])
    assert line["reason"] == f"login of an email from known addresses, {PER_EMAIL} times; {known[0]}"
    assert log_in(guarded, ann.email, PASSWORD, new_address()).status_code == 200


def test_known_address_is_still_locked_by_the_address_limit(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    home = new_address()
    logs_in(guarded, database, ann, home)

    guesses = [log_in(guarded, new_email(), WRONG, home) for _ in range(PER_ADDRESS)]

    assert statuses(guesses) == [401] * PER_ADDRESS
    assert log_in(guarded, ann.email, PASSWORD, home).status_code == 429


def test_only_the_newest_five_addresses_stay_known_and_a_login_renews_its_own(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    addresses = [new_address() for _ in range(6)]
    for address in [*addresses[:5], addresses[0], addresses[5]]:
        logs_in(guarded, database, ann, address)

    lock_out_unknown_addresses(guarded, ann.email)

    answers = [log_in(guarded, ann.email, PASSWORD, address) for address in addresses]
    assert statuses(answers) == [200, 429, 200, 200, 200, 200]


def test_simultaneous_logins_from_six_addresses_leave_five_known(
    guarded: Service, ann: User, database: psycopg.Connection
) -> None:
    addresses = [new_address() for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda each: log_in(guarded, ann.email, PASSWORD, each), addresses))

    assert statuses(answers) == [200] * 6
    wait_until(lambda: len(networks_of(database, ann)) == 5)
    assert len(set(networks_of(database, ann))) == 5


def test_known_address_is_stored_as_a_digest_that_differs_between_users(
    guarded: Service, ann: User, bob: User, database: psycopg.Connection
) -> None:
    home = new_address()
    for user in (ann, bob):
        logs_in(guarded, database, user, home)

    digests = networks_of(database, ann) + networks_of(database, bob)

    assert [len(each) for each in digests] == [16, 16]
    assert digests[0] != digests[1]
    assert all(home.encode() not in each for each in digests)


def test_row_lock_on_the_user_does_not_delay_a_login_from_a_new_address(
    guarded: Service, ann: User, urls: Urls, database: psycopg.Connection
) -> None:
    with psycopg.connect(urls.admin) as other:
        other.execute("SELECT FROM users WHERE id = %s FOR UPDATE", [ann.id])

        assert log_in(guarded, ann.email, PASSWORD, new_address()).status_code == 200
        assert networks_of(database, ann) == []

    wait_until(lambda: len(networks_of(database, ann)) == 1)


def test_address_known_under_the_old_secret_is_unknown_once_that_secret_is_removed(
    own_database: Urls, tmp_path: Path
) -> None:
    given = {"email": new_email(), "password": PASSWORD}
    settings = {"DATABASE_URL": own_database.runtime, "TRUSTED_PROXIES": 1} | LIMITS
    home, new_secret = new_address(), SECRET.swapcase()
    with support.running(tmp_path, BETTER_AUTH_SECRET=SECRET, **settings) as service:
        signed_up = service.http.post("/api/auth/signup", json=given, headers={"X-Forwarded-For": home})
        assert signed_up.status_code == 201
    with support.running(tmp_path, BETTER_AUTH_SECRET=new_secret, **settings) as service:
        lock_out_unknown_addresses(service, given["email"])
        assert log_in(service, given["email"], PASSWORD, home).status_code == 429
    rotated = {"BETTER_AUTH_SECRET": new_secret, "BETTER_AUTH_SECRET_OLD": SECRET}
    with support.running(tmp_path, **rotated, **settings) as service:
        assert log_in(service, given["email"], PASSWORD, home).status_code == 200


@pytest.mark.parametrize("where", ["at an unknown address", "at the address of the failures"])
def test_password_change_and_deletion_with_a_token_succeed_while_logins_are_locked(
    guarded: Service, ann: User, where: str
) -> None:
    guesser = new_address()
    assert statuses([log_in(guarded, ann.email, WRONG, guesser) for _ in range(PER_PAIR)]) == [401] * PER_PAIR
    for _ in range(PER_ADDRESS - PER_PAIR):
        log_in(guarded, new_email(), WRONG, guesser)
    for _ in range(PER_EMAIL - PER_PAIR):
        log_in(guarded, ann.email, WRONG, new_address())
    here = new_address() if where == "at an unknown address" else guesser
    assert log_in(guarded, ann.email, PASSWORD, here).status_code == 429

    changed = change_password(guarded, ann, PASSWORD, NEW_PASSWORD, here)
    assert changed.status_code == 200
    owner = User(guarded.http, ann.id, ann.email, changed.json()["token"])
    assert delete_account(guarded, owner, NEW_PASSWORD, here).status_code == 204


def test_wrong_passwords_with_a_token_lock_only_that_user_at_that_address(
    guarded: Service, ann: User, bob: User
) -> None:
    thief = new_address()

    wrong = [change_password(guarded, ann, WRONG, NEW_PASSWORD, thief) for _ in range(PER_PAIR - 1)]
    wrong.append(delete_account(guarded, ann, WRONG, thief))

    assert statuses(wrong) == [400] * PER_PAIR
    for locked in (
        change_password(guarded, ann, PASSWORD, NEW_PASSWORD, thief),
        delete_account(guarded, ann, PASSWORD, thief),
    ):
        assert (locked.status_code, locked.json()) == (429, LOCKED)
        assert 1 <= int(locked.headers["Retry-After"]) <= 900
    assert log_in(guarded, ann.email, PASSWORD, thief).status_code == 200
    assert change_password(guarded, bob, PASSWORD, NEW_PASSWORD, thief).status_code == 200
    assert change_password(guarded, ann, PASSWORD, NEW_PASSWORD, new_address()).status_code == 200
