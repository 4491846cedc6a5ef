"""bcrypt in threads beside the event loop, with back-pressure: a hash that cannot finish in time is refused."""

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import monotonic
from typing import TypeVar

import bcrypt

from service.errors import Code, Problem

MAX_BYTES = 72  # bcrypt ignores further bytes, and bcrypt 5 raises an error

REFUSE_AFTER_SECONDS = 1.0  # a refusal is delayed by this, as Retry-After says; then there may be room in the queue

NEWEST_WEIGHT = 1 / 8  # of the newest hash in the moving average of their seconds

# The nice value of the hashing threads; 19 is the lowest priority. Measured with a hash of 0.2 s while requests use a
# whole processor: at 19 it takes 9 s, more than POOL_TIMEOUT, so no login would succeed; at 10 it takes 1.9 s. The p99
# of a reader beside 30 clients that log in is 0.6 ms at 19 and at 10, and 5 ms at 5.
NICENESS = 10

# A bcrypt hash with a cost of 4 to 15: a higher cost would block a thread for too long. The salt has 128 bits, so that
# only two bits of its 22nd character are used; bcrypt raises an error if the others are not zero.
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_log = logging.getLogger("service.passwords")
Result = TypeVar("Result")


def _cost(password_hash: str) -> int:
    """12 for `$2b$12$...`. Only for hashes that match _HASH."""
    return int(password_hash.split("$")[2])


def _lower_priority() -> None:
    """Lets requests go before hashes. Only Linux has a priority for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Passwords:
    """A bounded queue for hashing in threads. POOL_TIMEOUT limits the whole wait: for a thread and for the hash.

    A hash that times out shortly before its end is wasted work, and if many clients wait and retry, none would succeed.
    So a request is refused on arrival if its hash would not finish in time, estimated from the queue ahead and the
    average time of recent hashes. A hash does not start if too little of its time is left.

    A free thread accepts any request, even if the estimate is too long. That hash updates the average; otherwise one
    slow hash would refuse all requests from then on."""

    def __init__(
        self, rounds: int, threads: int, timeout: float, report_wait: Callable[[float], None] | None = None
    ) -> None:
        """`report_wait` gets the seconds that each hash waited for a thread."""
        self.refused = 0  # hashes, since the start
        self._rounds = rounds
        self._threads = threads
        self._timeout_seconds = timeout
        self._report_wait = report_wait
        self._pending = 0  # hashes that wait or run; one whose request timed out runs to its end
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
        return max(0, self._pending - self._threads)

    async def hash(self, password: str) -> str:
        salt = bcrypt.gensalt(self._rounds)
        hashed = await self._run(lambda: bcrypt.hashpw(password.encode(), salt))
        return hashed.decode()

    async def matches(self, password: str, password_hash: str | None) -> bool:
        return await self._run(lambda: self._check(password.encode(), password_hash))

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

    async def _run(self, work: Callable[[], Result]) -> Result:
        try:
            return await self._run_in_time(work)
        except Problem:
            self.refused += 1
            raise

    async def _run_in_time(self, work: Callable[[], Result]) -> Result:
        turns_until_done = self._pending // self._threads + 1
        if self._pending >= self._threads and turns_until_done * self._mean_seconds > self._timeout_seconds:
            # The refusal is delayed: a client that retries a hundred times a second would leave no time for the hashes.
            await asyncio.sleep(min(REFUSE_AFTER_SECONDS, self._timeout_seconds))
            raise Problem(Code.OVERLOADED, reason="the queue for hashing is longer than POOL_TIMEOUT")
        loop = asyncio.get_running_loop()
        latest_start = monotonic() + self._timeout_seconds - min(self._mean_seconds, self._timeout_seconds / 2)
        self._pending += 1
        asked_at = monotonic()

        def run() -> Result:
            if self._report_wait is not None:
                _call_in(loop, self._report_wait, monotonic() - asked_at)
            return self._run_measured(work, latest_start)

        future = self._executor.submit(run)
        # Counted until the hash ends, not until the request does: the thread is busy until then.
        future.add_done_callback(lambda _: _call_in(loop, self._count_done))
        answer = asyncio.wrap_future(future)
        try:
            done, _ = await asyncio.wait([answer], timeout=self._timeout_seconds)
            if not done:
                raise Problem(Code.OVERLOADED, reason="not hashed within POOL_TIMEOUT")
            return answer.result()
        finally:
            answer.cancel()

    def _run_measured(self, work: Callable[[], Result], latest_start: float) -> Result:
        started = monotonic()
        if started > latest_start:
            raise Problem(Code.OVERLOADED, reason="too little of POOL_TIMEOUT is left for the hash")
        try:
            return work()
        finally:
            self._mean_seconds += (monotonic() - started - self._mean_seconds) * NEWEST_WEIGHT

    def _count_done(self) -> None:
        self._pending -= 1


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: float) -> None:
    with suppress(RuntimeError):  # the loop is closed: the service has stopped meanwhile
        loop.call_soon_threadsafe(callback, *arguments)
