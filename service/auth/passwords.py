"""bcrypt in threads beside the event loop, with back-pressure: a hash that cannot finish in time is refused."""

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TypeVar

import bcrypt

from service.errors import Code, Problem
from service.fair_queue import FairQueue

MAX_BYTES = 72  # bcrypt ignores further bytes, and bcrypt 5 raises an error

NOT_IN_TIME = "not hashed within POOL_TIMEOUT"
REFUSE_AFTER_SECONDS = 1.0  # a refusal is delayed by this, as Retry-After says; then there may be room in the queue

NEWEST_WEIGHT = 1 / 8  # of the newest hash in the moving average of their seconds

# The nice value of the hashing threads; 19 is the lowest priority. Measured with a hash of 0.2 s while requests use a
# whole processor: at 19 it takes 9 s, more than POOL_TIMEOUT, so no login would succeed; at 10 it takes 1.9 s. The p99
# of a reader beside 30 clients that log in is 0.6 ms at 19 and at 10, and 5 ms at 5.
MORE_NICENESS = 10

# A bcrypt hash with a cost of 4 to 15: a higher cost would block a thread for too long. The salt has 128 bits, so that
# only two bits of its 22nd character are used; bcrypt raises an error if the others are not zero.
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_log = logging.getLogger("service.passwords")
Result = TypeVar("Result")


def _cost(password_hash: str) -> int:
    """12 for `$2b$12$...`. Only for hashes that match _HASH."""
    return int(password_hash.split("$")[2])


def _lower_priority() -> None:
    """Lets requests go before hashes, whatever the service's own priority is. Only Linux has one for each thread."""
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + MORE_NICENESS)


class Passwords:
    """A bounded queue for hashing in threads. POOL_TIMEOUT limits the whole wait: for a thread and for the hash.

    Clients, as told apart by `client`, take turns: one that logs in without a pause fills its own line alone.

    A hash that times out shortly before its end is wasted work, and if many clients wait and retry, none would succeed.
    So a request is refused on arrival if its hash would not finish in time, estimated from the hashes that go before
    it and the average time of recent ones. A hash does not start if too little of its time is left.

    A free thread accepts any request, even if the estimate is too long. That hash updates the average; otherwise one
    slow hash would refuse all requests from then on."""

    def __init__(
        self, rounds: int, threads: int, timeout: float, report_wait: Callable[[float], None] | None = None
    ) -> None:
        """`report_wait` gets the seconds that each hash waited for a thread."""
        self.refused = 0  # hashes, since the start
        self._rounds = rounds
        # A slot is held until its hash ends, not until its request does: the thread is busy until then.
        self._queue: FairQueue[None] = FairQueue(threads, threads, timeout, timeout_reason=NOT_IN_TIME)
        self._timeout_seconds = timeout
        self._report_wait = report_wait
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="bcrypt", initializer=_lower_priority)
        started = monotonic()
        # A hash to compare with for an unknown email, so that its answer takes as long as that of a wrong password.
        self._dummy_hash = bcrypt.hashpw(b"nobody", bcrypt.gensalt(rounds))
        self._mean_seconds = monotonic() - started
        if self._mean_seconds > timeout:
            _log.warning(
                "a hash took %.1f s, more than POOL_TIMEOUT: logins will be refused; raise it, or lower BCRYPT_ROUNDS",
                self._mean_seconds,
            )

    @property
    def waiting(self) -> int:
        """Hashes that wait for a thread."""
        return self._queue.waiting

    async def hash(self, password: str, client: Hashable) -> str:
        salt = bcrypt.gensalt(self._rounds)
        hashed = await self._run(client, lambda: bcrypt.hashpw(password.encode(), salt))
        return hashed.decode()

    async def matches(self, password: str, password_hash: str | None, client: Hashable) -> bool:
        return await self._run(client, lambda: self._check(password.encode(), password_hash))

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made when BCRYPT_ROUNDS was lower."""
        return _cost(password_hash) < self._rounds

    def close(self) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _check(self, password: bytes, password_hash: str | None) -> bool:
        if password_hash is not None and not _HASH.fullmatch(password_hash):
            _log.error("a stored password hash is malformed; its owner cannot log in")
        elif password_hash is not None and len(password) <= MAX_BYTES:
            return bcrypt.checkpw(password, password_hash.encode()) or self._reject_after_full_cost(
                _cost(password_hash)
            )
        bcrypt.checkpw(b"somebody", self._dummy_hash)
        return False

    def _reject_after_full_cost(self, done: int) -> bool:
        """Returns False after the work of a hash of today's cost, so that no quick answer shows an old account.

        Each step of cost doubles the work: after a hash of cost 10, hashes of cost 10 and 11 add up to cost 12."""
        for cost in range(done, self._rounds):
            bcrypt.hashpw(b"somebody", bcrypt.gensalt(cost))
        return False

    async def _run(self, client: Hashable, work: Callable[[], Result]) -> Result:
        try:
            return await self._run_in_time(client, work)
        except Problem:
            self.refused += 1
            raise

    async def _run_in_time(self, client: Hashable, work: Callable[[], Result]) -> Result:
        asked_at = monotonic()
        if not self._queue.try_take(client):
            await self._wait_for_turn(client)
        waited = monotonic() - asked_at
        if self._report_wait is not None:
            self._report_wait(waited)
        try:
            future = self._start(work, self._timeout_seconds - waited)
        except BaseException:
            self._queue.release(client, None)
            raise
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_in(loop, self._queue.release, client, None))
        answer = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([answer], timeout=self._timeout_seconds - waited)
            if not done:
                raise Problem(Code.OVERLOADED, reason=NOT_IN_TIME)
            return answer.result()
        finally:
            answer.cancel()

    async def _wait_for_turn(self, client: Hashable) -> None:
        turns_until_done = (self._queue.slots + self._queue.ahead_of(client)) // self._queue.slots + 1
        if turns_until_done * self._mean_seconds > self._timeout_seconds:
            # The refusal is delayed: a client that retries a hundred times a second would leave no time for the hashes.
            await asyncio.sleep(min(REFUSE_AFTER_SECONDS, self._timeout_seconds))
            raise Problem(Code.OVERLOADED, reason="the queue for hashing is longer than POOL_TIMEOUT")
        await self._queue.wait(client)

    def _start(self, work: Callable[[], Result], seconds_left: float) -> "Future[Result]":
        if seconds_left < min(self._mean_seconds, self._timeout_seconds / 2):
            raise Problem(Code.OVERLOADED, reason="too little of POOL_TIMEOUT is left for the hash")
        return self._executor.submit(self._measured, work)

    def _measured(self, work: Callable[[], Result]) -> Result:
        started = monotonic()
        try:
            return work()
        finally:
            self._mean_seconds += (monotonic() - started - self._mean_seconds) * NEWEST_WEIGHT


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: object) -> None:
    with suppress(RuntimeError):  # the loop is closed: the service has stopped meanwhile
        loop.call_soon_threadsafe(callback, *arguments)
