"""Hashing: off the event loop, and the same work with and without a stored hash."""

import asyncio
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest

from service.auth.passwords import Passwords

HASH = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(10)).decode()
CLIENT = "203.0.113.1"
TIMEOUT_SECONDS = 600.0  # long, because hashing threads have a low priority on a busy machine


@pytest.mark.parametrize(
    ("password", "stored", "matches"),
    [
        ("correct horse", HASH, True),
        ("correct horsf", HASH, False),
        ("correct horse", None, False),
        ("correct horse", "broken", False),
        ("correct horse", HASH[:-1], False),
        ("correct horse", HASH + "\n", False),
        ("correct horse", HASH.replace("$10$", "$17$"), False),
        ("correct horse", HASH.replace("$2b$", "$2x$"), False),
        ("a" * 73, HASH, False),
        ("somebody", None, False),
        ("nobody", None, False),
    ],
    ids=[
        "right",
        "wrong",
        "unknown",
        "broken hash",
        "cut off",
        "a line",
        "too costly",
        "another kind",
        "too long",
        "somebody",
        "nobody",
    ],
)
def test_every_password_check_runs_bcrypt_once_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, password: str, stored: str | None, matches: bool
) -> None:
    runs: list[threading.Thread] = []
    check = bcrypt.checkpw

    def counted(given: bytes, against: bytes) -> bool:
        answer = check(given, against)  # a malformed `against` raises at once and counts as no run
        runs.append(threading.current_thread())
        return answer

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    hasher = Passwords(10, threads=1, timeout=TIMEOUT_SECONDS)

    assert asyncio.run(hasher.matches(password, stored, CLIENT)) is matches
    hasher.close()
    assert len(runs) == 1
    assert runs[0] is not threading.main_thread()


@pytest.mark.parametrize(("stored", "rounds"), [(9, 9), (9, 10), (9, 11), (10, 11)])
def test_wrong_password_costs_the_same_work_for_any_stored_hash_and_for_none(
    monkeypatch: pytest.MonkeyPatch, stored: int, rounds: int
) -> None:
    old = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(stored)).decode()
    hasher = Passwords(rounds, threads=1, timeout=TIMEOUT_SECONDS)
    work = []
    hashpw, checkpw = bcrypt.hashpw, bcrypt.checkpw

    def counted(run: Callable[[bytes, bytes], Any]) -> Callable[[bytes, bytes], Any]:
        def count_and_run(given: bytes, salt: bytes) -> Any:
            work.append(2 ** int(salt.split(b"$")[2]))
            return run(given, salt)

        return count_and_run

    monkeypatch.setattr(bcrypt, "hashpw", counted(hashpw))
    monkeypatch.setattr(bcrypt, "checkpw", counted(checkpw))

    assert asyncio.run(hasher.matches("wrong horse", old, CLIENT)) is False
    assert asyncio.run(hasher.matches("wrong horse", None, CLIENT)) is False
    hasher.close()
    assert sum(work) == 2 * 2**rounds


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a priority for each thread")
@pytest.mark.parametrize(("of_the_service", "of_hashes"), [(5, 15), (15, 19)])
def test_hashing_thread_runs_at_a_lower_priority_than_requests(
    monkeypatch: pytest.MonkeyPatch, of_the_service: int, of_hashes: int
) -> None:
    """Also of a service that runs at a low priority itself, and that may not raise it."""
    priorities = []

    def look(*_: object) -> bool:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    def run_at_its_priority() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), of_the_service)
        hasher = Passwords(10, threads=1, timeout=TIMEOUT_SECONDS)
        asyncio.run(hasher.matches("correct horse", HASH, CLIENT))
        hasher.close()

    monkeypatch.setattr(bcrypt, "checkpw", look)
    service = threading.Thread(target=run_at_its_priority)
    service.start()
    service.join()

    assert priorities == [of_hashes]


@pytest.mark.parametrize(
    "broken",
    ["", "broken", HASH[:-1], HASH + "a", HASH.replace("$10$", "$16$"), "$2x" + HASH[3:], HASH[:28] + "a" + HASH[29:]],
    ids=["empty", "broken", "cut off", "longer", "too costly", "another kind", "no salt"],
)
def test_malformed_stored_hash_matches_no_password_and_logs_one_line(
    caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    hasher = Passwords(10, threads=1, timeout=TIMEOUT_SECONDS)

    assert asyncio.run(hasher.matches("correct horse", broken, CLIENT)) is False
    hasher.close()
    assert [record.getMessage() for record in caplog.records] == [
        "a stored password hash is malformed; its owner cannot log in"
    ]


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_with_other_bcrypt_prefixes_verify(prefix: str) -> None:
    hasher = Passwords(10, threads=1, timeout=TIMEOUT_SECONDS)

    assert asyncio.run(hasher.matches("correct horse", HASH.replace("$2b$", prefix), CLIENT))
    hasher.close()


def test_new_hash_has_the_configured_cost() -> None:
    hasher = Passwords(11, threads=1, timeout=TIMEOUT_SECONDS)

    assert asyncio.run(hasher.hash("correct horse", CLIENT)).startswith("$2b$11$")
    hasher.close()
