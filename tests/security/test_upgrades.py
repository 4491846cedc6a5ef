"""Hash upgrades: a hash cheaper than BCRYPT_ROUNDS is replaced in the background of the next login."""

import time

import bcrypt
import psycopg
import pytest

from tests.support import PASSWORD, Contract, Service, User


def stored_hash(database: psycopg.Connection, user: User) -> str:
    found = database.execute("SELECT password_hash FROM users WHERE id = %s", [user.id]).fetchone()
    assert found is not None
    return str(found[0])


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hash_cheaper_than_the_setting_is_replaced_after_a_login(
    service: Service, database: psycopg.Connection, ann: User, contract: Contract, prefix: str
) -> None:
    cheap = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(9)).decode().replace("$2b$", prefix)
    database.execute("UPDATE users SET password_hash = %s WHERE id = %s", [cheap, ann.id])
    given = {"email": ann.email, "password": PASSWORD}

    assert service.http.post(f"{contract.prefix}/auth/login", json=given).status_code == 200

    deadline = time.monotonic() + 30
    while stored_hash(database, ann) == cheap:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    upgraded = stored_hash(database, ann)
    assert upgraded.startswith("$2b$10$")
    assert service.http.post(f"{contract.prefix}/auth/login", json=given).status_code == 200
    assert stored_hash(database, ann) == upgraded


def test_hash_is_kept_after_a_wrong_password_or_if_it_costs_more_than_the_setting(
    service: Service, database: psycopg.Connection, ann: User, bob: User
) -> None:
    cheap = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(9)).decode()
    dear = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(11)).decode()
    for user, kept in ((ann, cheap), (bob, dear)):
        database.execute("UPDATE users SET password_hash = %s WHERE id = %s", [kept, user.id])

    wrong = {"email": ann.email, "password": "wrong horse"}
    assert service.http.post("/api/auth/login", json=wrong).status_code == 401
    right = {"email": bob.email, "password": PASSWORD}
    for _ in range(2):  # an upgrade by the first login would be done before the second ends
        assert service.http.post("/api/auth/login", json=right).status_code == 200

    assert (stored_hash(database, ann), stored_hash(database, bob)) == (cheap, dear)
