"""Hashing: off the event loop, in a queue with an end, and the same work whether there is a hash to check or not."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import bcrypt
import pytest

from service.auth.passwords import QUEUE_PER_THREAD, Passwords
from service.errors import Code, Problem

HASH = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(10)).decode()
PATIENCE = 600.0  # seconds: its threads step back behind everything else that runs, and that may be much


def test_beyond_its_queue_it_refuses_after_a_moment_and_later_it_serves_again(monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: go_on.wait(PATIENCE))

    async def story() -> None:
        waiting = [asyncio.create_task(hasher.matches("correct horse", HASH)) for _ in range(QUEUE_PER_THREAD + 1)]
        refused = [asyncio.create_task(hasher.matches("correct horse", HASH)) for _ in range(5)]
        for _ in range(5):
            await asyncio.sleep(0)
            assert not any(each.done() for each in refused)
        errors = await asyncio.gather(*refused, return_exceptions=True)
        assert [error.code for error in errors if isinstance(error, Problem)] == [Code.OVERLOADED] * 5
        go_on.set()
        assert await asyncio.gather(*waiting) == [True] * (QUEUE_PER_THREAD + 1)  # the one at work and those who wait
        assert await hasher.matches("correct horse", HASH)

    hasher = Passwords(10, threads=1, timeout=PATIENCE)
    asyncio.run(story())
    hasher.close()


def test_who_waits_for_a_thread_is_refused_in_time_and_what_a_thread_has_begun_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = threading.Event()
    monkeypatch.setattr(bcrypt, "checkpw", lambda *_: go_on.wait(PATIENCE))

    async def story() -> None:
        begun, waiting = (asyncio.create_task(hasher.matches("correct horse", HASH)) for _ in range(2))
        with pytest.raises(Problem) as refused:
            await waiting
        assert refused.value.code is Code.OVERLOADED
        assert not begun.done()
        go_on.set()
        assert await begun is True

    hasher = Passwords(10, threads=1, timeout=0.2)
    asyncio.run(story())
    hasher.close()


def test_a_hash_that_ends_after_the_service_is_no_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started, go_on, threads = threading.Event(), threading.Event(), threading.active_count()

    def check(*_: object) -> bool:
        started.set()
        return go_on.wait(PATIENCE)

    async def story() -> None:
        asked = asyncio.create_task(hasher.matches("correct horse", HASH))
        await asyncio.to_thread(started.wait, PATIENCE)
        asked.cancel()

    monkeypatch.setattr(bcrypt, "checkpw", check)
    hasher = Passwords(10, threads=1, timeout=PATIENCE)
    asyncio.run(story())
    hasher.close()
    go_on.set()

    while threading.active_count() > threads:  # the one that hashed
        time.sleep(0.01)
    assert caplog.records == []


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
def test_every_check_is_one_run_of_bcrypt_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, password: str, stored: str | None, matches: bool
) -> None:
    runs: list[threading.Thread] = []
    check = bcrypt.checkpw

    def counted(given: bytes, against: bytes) -> bool:
        answer = check(given, against)  # raises at once where `against` is no hash: that is no run
        runs.append(threading.current_thread())
        return answer

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    hasher = Passwords(10, threads=1, timeout=PATIENCE)

    assert asyncio.run(hasher.matches(password, stored)) is matches
    hasher.close()
    assert len(runs) == 1
    assert runs[0] is not threading.main_thread()


@pytest.mark.parametrize(("stored", "rounds"), [(9, 9), (9, 10), (9, 11), (10, 11)])
def test_a_wrong_password_is_as_much_work_whatever_the_hash_once_cost(
    monkeypatch: pytest.MonkeyPatch, stored: int, rounds: int
) -> None:
    old = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(stored)).decode()
    hasher = Passwords(rounds, threads=1, timeout=PATIENCE)
    work = []
    hashpw, checkpw = bcrypt.hashpw, bcrypt.checkpw

    def counted(run: Callable[[bytes, bytes], Any]) -> Callable[[bytes, bytes], Any]:
        def count_and_run(given: bytes, salt: bytes) -> Any:
            work.append(2 ** int(salt.split(b"$")[2]))
            return run(given, salt)

        return count_and_run

    monkeypatch.setattr(bcrypt, "hashpw", counted(hashpw))
    monkeypatch.setattr(bcrypt, "checkpw", counted(checkpw))

    assert asyncio.run(hasher.matches("wrong horse", old)) is False
    assert asyncio.run(hasher.matches("wrong horse", None)) is False
    hasher.close()
    assert sum(work) == 2 * 2**rounds


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux knows a priority of each thread")
def test_a_thread_that_hashes_steps_back_behind_the_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    priorities = []

    def look(*_: object) -> bool:
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return True

    hasher = Passwords(10, threads=1, timeout=PATIENCE)
    monkeypatch.setattr(bcrypt, "checkpw", look)
    asyncio.run(hasher.matches("correct horse", HASH))
    hasher.close()

    assert priorities == [19]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < 19


@pytest.mark.parametrize(
    "broken",
    ["", "broken", HASH[:-1], HASH + "a", HASH.replace("$10$", "$16$"), "$2x" + HASH[3:], HASH[:28] + "a" + HASH[29:]],
    ids=["empty", "broken", "cut off", "longer", "too costly", "another kind", "no salt"],
)
def test_a_stored_hash_that_is_none_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture, broken: str) -> None:
    hasher = Passwords(10, threads=1, timeout=PATIENCE)

    assert asyncio.run(hasher.matches("correct horse", broken)) is False
    hasher.close()
    assert [record.getMessage() for record in caplog.records] == [
        "a stored password hash is malformed; its owner cannot log in"
    ]


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_other_makers_verify(prefix: str) -> None:
    hasher = Passwords(10, threads=1, timeout=PATIENCE)

    assert asyncio.run(hasher.matches("correct horse", HASH.replace("$2b$", prefix)))
    hasher.close()


def test_a_hash_has_the_cost_of_the_setting() -> None:
    hasher = Passwords(11, threads=1, timeout=PATIENCE)

    assert asyncio.run(hasher.hash("correct horse")).startswith("$2b$11$")
    hasher.close()
