"""Hashing: off the event loop, in a queue with an end, and the same work whether there is a hash to check or not."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import bcrypt
import pytest

from service.auth import passwords
from service.auth.passwords import Passwords
from service.errors import Code, Problem

HASH = bcrypt.hashpw(b"correct horse", bcrypt.gensalt(10)).decode()
PATIENCE = 600.0  # seconds: its threads step back behind everything else that runs, and that may be much
HALF_A_MINUTE = 30.0  # after which a test that waits in vain fails


class Held:
    """bcrypt.checkpw waits until it is released: at the latest at the end of the test, so that one that fails leaves no
    thread behind, and for no longer than a test may take, so that one that hashes on the event loop fails."""

    def __init__(self) -> None:
        self.begun = 0
        self._go_on = threading.Event()
        self.has_begun = threading.Event()

    def check(self, *_: object) -> bool:
        self.begun += 1
        self.has_begun.set()
        return self._go_on.wait(HALF_A_MINUTE)

    def release(self) -> None:
        self._go_on.set()

    def hold(self) -> None:
        self._go_on.clear()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    made = Held()
    monkeypatch.setattr(bcrypt, "checkpw", made.check)
    yield made
    made.release()


class Clock:
    """The hashing queue's time, in which the hash of its start takes a hundred seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def hash(self, *_: object) -> bytes:
        self.now += 100
        return HASH.encode()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(passwords, "monotonic", lambda: made.now)
    monkeypatch.setattr(bcrypt, "hashpw", made.hash)
    return made


def queue_of(hasher: Passwords, waiting: int) -> list[asyncio.Task[bool]]:
    return [asyncio.create_task(hasher.matches("correct horse", HASH)) for _ in range(waiting)]


async def refusals(asked: list[asyncio.Task[bool]]) -> list[str | None]:
    """Why each of them was refused."""
    async with asyncio.timeout(HALF_A_MINUTE):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [each.code for each in answers if isinstance(each, Problem)] == [Code.OVERLOADED] * len(asked)
    return [each.reason for each in answers if isinstance(each, Problem)]


async def passes(asked: list[asyncio.Task[bool]]) -> bool:
    async with asyncio.timeout(HALF_A_MINUTE):
        return all(await asyncio.gather(*asked))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("clock")
def test_a_login_whose_hash_would_end_after_the_timeout_is_refused_after_a_moment(held: Held, threads: int) -> None:
    async def story() -> None:
        admitted = queue_of(hasher, 5 * threads)
        await asyncio.sleep(0)
        refused = queue_of(hasher, 5)
        for _ in range(5):
            await asyncio.sleep(0)
            assert not any(each.done() for each in refused)
        assert await refusals(refused) == ["the queue for hashing is longer than POOL_TIMEOUT"] * 5
        held.release()
        assert await passes(admitted)
        assert await passes(queue_of(hasher, 1))

    hasher = Passwords(10, threads=threads, timeout=500)
    asyncio.run(story())
    hasher.close()
    assert held.begun == 5 * threads + 1


@pytest.mark.usefixtures("clock")
def test_quick_hashes_make_room_for_more_in_the_queue(held: Held) -> None:
    async def story() -> None:
        held.release()
        assert await passes(queue_of(hasher, 5))  # the mean falls from 100 s to 51 s
        held.hold()
        admitted = queue_of(hasher, 9)
        await asyncio.sleep(0)
        assert await refusals(queue_of(hasher, 1)) == ["the queue for hashing is longer than POOL_TIMEOUT"]
        held.release()
        assert await passes(admitted)

    hasher = Passwords(10, threads=1, timeout=500)
    asyncio.run(story())
    hasher.close()


def test_a_hash_that_would_end_after_the_timeout_is_not_begun(held: Held, clock: Clock) -> None:
    async def story() -> None:
        first, too_late = queue_of(hasher, 2)
        await asyncio.to_thread(held.has_begun.wait, HALF_A_MINUTE)
        clock.now += 401
        held.release()
        assert await passes([first])
        assert await refusals([too_late]) == ["too little of POOL_TIMEOUT is left for the hash"]

    hasher = Passwords(10, threads=1, timeout=500)
    asyncio.run(story())
    hasher.close()
    assert held.begun == 1


def test_a_hash_that_has_begun_is_given_up_at_the_timeout_and_later_requests_are_served(held: Held) -> None:
    async def story() -> None:
        assert await refusals(queue_of(hasher, 1)) == ["not hashed within POOL_TIMEOUT"]
        assert len(await refusals(queue_of(hasher, 3))) == 3  # its thread is still busy
        held.release()
        async with asyncio.timeout(HALF_A_MINUTE):
            while True:
                [answer] = await asyncio.gather(*queue_of(hasher, 1), return_exceptions=True)
                if not isinstance(answer, Problem):
                    break
        assert answer is True

    hasher = Passwords(10, threads=1, timeout=0.2)
    asyncio.run(story())
    hasher.close()


@pytest.mark.usefixtures("held", "clock")
def test_a_hash_that_was_given_up_counts_as_pending_while_its_thread_is_busy() -> None:
    async def story() -> None:
        assert await refusals(queue_of(hasher, 1)) == ["not hashed within POOL_TIMEOUT"]
        assert await refusals(queue_of(hasher, 1)) == ["the queue for hashing is longer than POOL_TIMEOUT"]

    hasher = Passwords(10, threads=1, timeout=0.2)
    asyncio.run(story())
    hasher.close()


def test_a_hash_that_alone_takes_longer_than_the_timeout_is_tried_and_the_start_warns(
    held: Held, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It may take less now: a service that measured once and refused from then on would not notice."""

    async def story() -> None:
        [tried] = queue_of(hasher, 1)
        await asyncio.sleep(0)
        assert len(await refusals(queue_of(hasher, 1))) == 1
        held.release()
        assert await passes([tried])

    hasher = Passwords(10, threads=1, timeout=99)
    asyncio.run(story())
    hasher.close()
    assert clock.now == 100
    assert [record.getMessage() for record in caplog.records] == [
        "a hash took 100.0 s, more than POOL_TIMEOUT: logins will be refused; raise it, or lower BCRYPT_ROUNDS"
    ]


def test_many_clients_that_come_again_at_once_are_let_in_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that is given up when it is nearly done is wasted work: sixty of them for each that is waited for, where
    the queue has no end."""
    hashes, let_in = count(), count(1)

    def check(*_: object) -> bool:
        time.sleep(0.04)
        return next(hashes) >= 0

    monkeypatch.setattr(bcrypt, "checkpw", check)
    monkeypatch.setattr(passwords, "REFUSED_AFTER", 0.01)

    async def come_again() -> None:
        while True:
            try:
                await hasher.matches("correct horse", HASH)
            except Problem:
                await asyncio.sleep(0)  # without it a refusal at once would hang the test instead of failing it
                continue
            if next(let_in) >= 20:
                return

    async def story() -> None:
        async with asyncio.timeout(HALF_A_MINUTE):
            clients = [asyncio.create_task(come_again()) for _ in range(40)]
            await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)

    hasher = Passwords(10, threads=1, timeout=0.21)
    asyncio.run(story())
    hasher.close()
    assert next(hashes) < 10 * 20


def test_a_hash_that_ends_after_the_service_is_no_line_in_the_log(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    threads = threading.active_count()

    async def story() -> None:
        [asked] = queue_of(hasher, 1)
        assert await asyncio.to_thread(held.has_begun.wait, HALF_A_MINUTE)
        asked.cancel()

    hasher = Passwords(10, threads=1, timeout=PATIENCE)
    asyncio.run(story())
    hasher.close()
    held.release()

    deadline = time.monotonic() + HALF_A_MINUTE
    while threading.active_count() > threads:  # the one that hashed
        assert time.monotonic() < deadline
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

    assert priorities == [passwords.NICENESS]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) < passwords.NICENESS


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
