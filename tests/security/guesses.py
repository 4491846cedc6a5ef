"""Logins with a wrong password, from addresses without attempts."""

import time
from collections.abc import Callable
from datetime import datetime

import httpx
import psycopg

from tests import support
from tests.support import Contract, Service

WRONG = "wrong horse"

LOCKED = {"error": "Too many attempts, try again later", "code": "RATE_LIMITED"}


def log_in(
    service: Service, email: str, password: str, address: str, contract: Contract = support.FEBRUARY
) -> httpx.Response:
    """Logs in on a new connection, so that any worker may get it."""
    given = {"email": email, "password": password}
    headers = {"X-Forwarded-For": address} if address else {}
    return httpx.post(f"{service.url}{contract.prefix}/auth/login", json=given, headers=headers, timeout=60)


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


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
