"""Ten addresses send ten wrong passwords each: the owner must still log in and change the password.

The limits are the service's own defaults. Nothing is timed.
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from service.cli import embedded_postgres
from service.db import migrations
from service.settings.all_settings import Settings
from tests import support
from tests.attacks import Measurement
from tests.support import NO_LIMITS, PASSWORD, SECRET, Service, User, new_email

LIMITS = {name: Settings.model_fields[name.lower()].default for name in NO_LIMITS}
ADDRESSES = 10
NEW_PASSWORD = "battery staple"
HOME, WORK, UNKNOWN = "203.0.113.1", "2001:db8:1:2::1", "203.0.113.99"


def run() -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as name, embedded_postgres.running(Path(name)) as url:
        migrations.apply(url)
        for workers in (1, 2):
            settings = {"DATABASE_URL": url, "BETTER_AUTH_SECRET": SECRET, "TRUSTED_PROXIES": 1, "WORKERS": workers}
            with support.running(Path(name), **settings, **LIMITS) as service:
                yield from _one_victim(service, f"{workers} worker{'s' * (workers > 1)}")


def _one_victim(service: Service, workers: str) -> Iterator[Measurement]:
    owner = _sign_up(service)
    _log_in(service, owner, PASSWORD, WORK)
    strangers = [f"198.51.100.{number}" for number in range(ADDRESSES)]
    with ThreadPoolExecutor(ADDRESSES) as threads:
        guesses = list(threads.map(lambda each: _log_in(service, owner, "wrong horse", each), strangers * 10))
    yield _status(f"{workers}: wrong passwords that were refused as such", 100, guesses.count(401))
    yield _status(
        f"{workers}: the owner's login from an unknown address", 429, _log_in(service, owner, PASSWORD, UNKNOWN)
    )
    for where, address in (("the sign-up's", HOME), ("an earlier login's", WORK)):
        status = _log_in(service, owner, PASSWORD, address)
        yield _status(f"{workers}: the owner's login from {where} address", 200, status)
    given, headers = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}, {"X-Forwarded-For": UNKNOWN}
    changed = owner.post("/api/auth/password", given, headers=headers)
    yield _status(f"{workers}: a change of the password, with a token, from there", 200, changed.status_code)
    changed_owner = User(service.http, owner.id, owner.email, changed.json().get("token", owner.token))
    password = NEW_PASSWORD if changed.status_code == 200 else PASSWORD
    deleted = changed_owner.delete("/api/auth/me", json={"password": password}, headers=headers)
    yield _status(f"{workers}: a deletion of the account, with a token, from there", 204, deleted.status_code)


def _sign_up(service: Service) -> User:
    given = {"email": new_email(), "password": PASSWORD}
    body = service.http.post("/api/auth/signup", json=given, headers={"X-Forwarded-For": HOME}).json()
    return User(service.http, body["user"]["id"], body["user"]["email"], body["token"])


def _log_in(service: Service, user: User, password: str, address: str) -> int:
    """Logs in on a new connection, so that any worker may get it."""
    given = {"email": user.email, "password": password}
    headers = {"X-Forwarded-For": address}
    return httpx.post(f"{service.url}/api/auth/login", json=given, headers=headers, timeout=60).status_code


def _status(name: str, wanted: int, found: int) -> Measurement:
    return Measurement(name, str(wanted), str(found), found == wanted)
