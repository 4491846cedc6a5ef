"""The bounded queue of hashes: whom it refuses and when, and what becomes of a hash that is late."""

import asyncio
import threading
import time
from collections.abc import Iterator
from itertools import count

import bcrypt
import pytest

from service.auth import passwords
from service.auth.passwords import Passwords
from service.errors import Code, Problem
from tests.security.test_passwords import CLIENT, HASH, TIMEOUT_SECONDS

WAIT_SECONDS = 30.0  # a test that waits longer fails


class BlockedCheck:
    """Replaces bcrypt.checkpw with a check that waits for release(): at most until the end of the test, so that a
    failed test leaves no thread behind, and at most WAIT_SECONDS, so that hashing on the event loop fails the test."""

    def __init__(self) -> None:
        self.begun = 0
        self._go_on = threading.Event()
        self.has_begun = threading.Event()

    def check(self, *_: object) -> bool:
        self.begun += 1
        self.has_begun.set()
        return self._go_on.wait(WAIT_SECONDS)

    def release(self) -> None:
        self._go_on.set()

    def hold(self) -> None:
        self._go_on.clear()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[BlockedCheck]:
    made = BlockedCheck()
    monkeypatch.setattr(bcrypt, "checkpw", made.check)
    yield made
    made.release()


class Clock:
    """The clock of the hashing queue. The hash that measures the cost at the start takes 100 s on it."""

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


def queue_of(hasher: Passwords, waiting: int, client: str = CLIENT) -> list[asyncio.Task[bool]]:
    return [asyncio.create_task(hasher.matches("correct horse", HASH, client)) for _ in range(waiting)]


async def refusals(asked: list[asyncio.Task[bool]]) -> list[str | None]:
    """The reason of each refusal; all must be refused."""
    async with asyncio.timeout(WAIT_SECONDS):
        answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [each.code for each in answers if isinstance(each, Problem)] == [Code.OVERLOADED] * len(asked)
    return [each.reason for each in answers if isinstance(each, Problem)]


async def passes(asked: list[asyncio.Task[bool]]) -> bool:
    async with asyncio.timeout(WAIT_SECONDS):
        return all(await asyncio.gather(*asked))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.usefixtures("clock")
def test_login_is_refused_early_if_the_hashing_queue_is_longer_than_the_timeout(
    held: BlockedCheck, threads: int
) -> None:
    async def scenario() -> None:
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
    asyncio.run(scenario())
    hasher.close()
    assert held.begun == 5 * threads + 1


@pytest.mark.usefixtures("clock")
def test_faster_hashes_allow_a_longer_queue(held: BlockedCheck) -> None:
    async def scenario() -> None:
        held.release()
        assert await passes(queue_of(hasher, 5))  # the mean falls from 100 s to 51 s
        held.hold()
        admitted = queue_of(hasher, 9)
        await asyncio.sleep(0)
        assert await refusals(queue_of(hasher, 1)) == ["the queue for hashing is longer than POOL_TIMEOUT"]
        held.release()
        assert await passes(admitted)

    hasher = Passwords(10, threads=1, timeout=500)
    asyncio.run(scenario())
    hasher.close()


@pytest.mark.usefixtures("clock")
def test_clients_take_turns_and_a_full_line_of_one_refuses_no_other(held: BlockedCheck) -> None:
    async def scenario() -> None:
        of_one = queue_of(hasher, 5)
        await asyncio.sleep(0)
        refused = queue_of(hasher, 1)
        other = queue_of(hasher, 1, client="another client")
        await asyncio.sleep(0)
        assert await refusals(refused) == ["the queue for hashing is longer than POOL_TIMEOUT"]
        held.release()
        assert await passes(other)
        assert [each.done() for each in of_one] == [True] + [False] * 4
        assert await passes(of_one)

    hasher = Passwords(10, threads=1, timeout=500)
    asyncio.run(scenario())
    hasher.close()


def test_hash_that_would_end_after_the_timeout_is_not_started(held: BlockedCheck, clock: Clock) -> None:
    async def scenario() -> None:
        first, too_late = queue_of(hasher, 2)
        await asyncio.to_thread(held.has_begun.wait, WAIT_SECONDS)
        clock.now += 401
        held.release()
        assert await passes([first])
        assert await refusals([too_late]) == ["too little of POOL_TIMEOUT is left for the hash"]

    hasher = Passwords(10, threads=1, timeout=500)
    asyncio.run(scenario())
    hasher.close()
    assert held.begun == 1


def test_started_hash_is_abandoned_at_the_timeout_and_later_requests_are_served(held: BlockedCheck) -> None:
    async def scenario() -> None:
        assert await refusals(queue_of(hasher, 1)) == ["not hashed within POOL_TIMEOUT"]
        assert len(await refusals(queue_of(hasher, 3))) == 3  # its thread is still busy
        held.release()
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                [answer] = await asyncio.gather(*queue_of(hasher, 1), return_exceptions=True)
                if not isinstance(answer, Problem):
                    break
        assert answer is True

    hasher = Passwords(10, threads=1, timeout=0.2)
    asyncio.run(scenario())
    hasher.close()


@pytest.mark.usefixtures("held", "clock")
def test_abandoned_hash_counts_as_pending_while_its_thread_is_busy() -> None:
    async def scenario() -> None:
        assert await refusals(queue_of(hasher, 1)) == ["not hashed within POOL_TIMEOUT"]
        assert await refusals(queue_of(hasher, 1)) == ["the queue for hashing is longer than POOL_TIMEOUT"]

    hasher = Passwords(10, threads=1, timeout=0.2)
    asyncio.run(scenario())
    hasher.close()


def test_hash_slower_than_the_timeout_is_still_tried_and_the_start_logs_a_warning(
    held: BlockedCheck, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """A later hash may be faster; a service that refused by its first measurement alone would never find out."""

    async def scenario() -> None:
        [tried] = queue_of(hasher, 1)
        await asyncio.sleep(0)
        assert len(await refusals(queue_of(hasher, 1))) == 1
        held.release()
        assert await passes([tried])

    hasher = Passwords(10, threads=1, timeout=99)
    asyncio.run(scenario())
    hasher.close()
    assert clock.now == 100
    assert [record.getMessage() for record in caplog.records] == [
        "a hash took 100.0 s, more than POOL_TIMEOUT: logins will be refused; raise it, or lower BCRYPT_ROUNDS"
    ]


def test_clients_that_retry_at_once_are_served_with_few_wasted_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash that is abandoned when nearly done is wasted work: with an unbounded queue, sixty for each useful one."""
    hashes, let_in = count(), count(1)

    def check(*_: object) -> bool:
        time.sleep(0.04)
        return next(hashes) >= 0

    monkeypatch.setattr(bcrypt, "checkpw", check)
    monkeypatch.setattr(passwords, "REFUSE_AFTER_SECONDS", 0.01)

    async def come_again() -> None:
        while True:
            try:
                await hasher.matches("correct horse", HASH, CLIENT)
            except Problem:
                await asyncio.sleep(0)  # else an immediate refusal would hang the test instead of failing it
                continue
            if next(let_in) >= 20:
                return

    async def scenario() -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            clients = [asyncio.create_task(come_again()) for _ in range(40)]
            await asyncio.wait(clients, return_when=asyncio.FIRST_COMPLETED)

    hasher = Passwords(10, threads=1, timeout=0.21)
    asyncio.run(scenario())
    hasher.close()
    assert next(hashes) < 10 * 20


def test_hash_that_ends_after_the_service_has_stopped_logs_nothing(
    held: BlockedCheck, caplog: pytest.LogCaptureFixture
) -> None:
    threads = threading.active_count()

    async def scenario() -> None:
        [asked] = queue_of(hasher, 1)
        assert await asyncio.to_thread(held.has_begun.wait, WAIT_SECONDS)
        asked.cancel()

    hasher = Passwords(10, threads=1, timeout=TIMEOUT_SECONDS)
    asyncio.run(scenario())
    hasher.close()
    held.release()

    deadline = time.monotonic() + WAIT_SECONDS
    while threading.active_count() > threads:  # the hashing thread is still there
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert caplog.records == []
