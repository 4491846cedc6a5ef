"""The queues of statements that wait for the same lock, without a database."""

import asyncio

import asyncpg
import pytest

from service.db import lock_waits
from service.db.lock_waits import LockWaits
from service.errors import Code
from tests.db.event_loop import LONG_TIMEOUT_SECONDS, run_async
from tests.db.owners import code_of, gather_all


class Attempts:
    """Records attempts of simulated statements, each of which needs a lock; `locked` has the locks that are taken."""

    def __init__(self, waits: LockWaits) -> None:
        self._waits = waits
        self.asked: list[str] = []
        self.now = 0
        self.most = 0
        self.locked = {"row", "other row", "third row"}

    def retrying(self, name: str, lock: str) -> "asyncio.Task[str]":
        async def attempt() -> str:
            self.asked.append(name)
            self.now += 1
            self.most = max(self.most, self.now)
            await asyncio.sleep(0)
            self.now -= 1
            if lock in self.locked:
                raise asyncpg.LockNotAvailableError
            return name

        return asyncio.create_task(self._waits.retry(lock, attempt))


async def iterate_loop(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_of_statements_waiting_for_one_lock_only_the_first_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "RETRY_PAUSE_SECONDS", 0)

    async def scenario() -> None:
        waits = LockWaits(4, LONG_TIMEOUT_SECONDS)
        attempts = Attempts(waits)
        line = [attempts.retrying(name, "row") for name in "abc"]
        await iterate_loop()
        assert set(attempts.asked) == {"a"}
        assert waits.is_waited_for("row")

        attempts.locked.clear()
        attempts.asked.clear()
        assert await asyncio.gather(*line) == ["a", "b", "c"]
        assert attempts.asked[-3:] == ["a", "b", "c"]
        assert not waits.is_waited_for("row")

    run_async(scenario())


def test_a_lock_queue_takes_no_newcomers_once_it_has_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "RETRY_PAUSE_SECONDS", 0)

    async def scenario() -> None:
        waits = LockWaits(4, LONG_TIMEOUT_SECONDS)
        attempts = Attempts(waits)
        first, second = attempts.retrying("a", "row"), attempts.retrying("b", "row")
        await iterate_loop()
        attempts.locked.clear()
        await first

        assert not second.done()
        assert not waits.is_waited_for("row")
        await second

    run_async(scenario())


def test_simultaneous_retries_over_all_locks_do_not_exceed_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_waits, "RETRY_PAUSE_SECONDS", 0)

    async def scenario() -> None:
        attempts = Attempts(LockWaits(2, LONG_TIMEOUT_SECONDS))
        all_rows = [attempts.retrying(row, row) for row in sorted(attempts.locked)]
        await iterate_loop()
        assert attempts.most == 2
        assert set(attempts.asked) == attempts.locked
        attempts.locked = set()
        await asyncio.gather(*all_rows)

    run_async(scenario())


@pytest.mark.parametrize("names", ["a", "ab"])
def test_a_statement_that_times_out_in_a_lock_queue_leaves_no_state(names: str) -> None:
    async def scenario() -> None:
        waits = LockWaits(1, 0.05)
        attempts = Attempts(waits)
        answers = await gather_all(*(attempts.retrying(name, "row") for name in names))

        assert [code_of(answer) for answer in answers] == [Code.DATABASE_ERROR] * len(names)
        assert not waits.is_waited_for("row")

    run_async(scenario())


def test_another_error_of_a_waiting_statement_is_raised_unchanged() -> None:
    async def fails() -> None:
        raise TimeoutError

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await LockWaits(1, LONG_TIMEOUT_SECONDS).retry("row", fails)

    run_async(scenario())


def test_owners_with_lock_waits_are_forgotten_after_a_time_and_beyond_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = LockWaits(1, LONG_TIMEOUT_SECONDS)
    monkeypatch.setattr(lock_waits, "MAX_REMEMBERED_OWNERS", 2)
    for owner in "abca":
        waits.remember(owner)
    assert [waits.is_sent_alone(owner) for owner in "abc"] == [True, False, True]

    monkeypatch.setattr(lock_waits, "ALONE_SECONDS", 0.0)
    waits.remember("a")
    assert [waits.is_sent_alone(owner) for owner in "abc"] == [False, False, True]


def test_an_owner_with_a_newer_lock_wait_is_remembered_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = LockWaits(1, LONG_TIMEOUT_SECONDS)
    monkeypatch.setattr(lock_waits, "MAX_REMEMBERED_OWNERS", 2)
    for owner in "abac":
        waits.remember(owner)
    assert [waits.is_sent_alone(owner) for owner in "abc"] == [True, False, True]
