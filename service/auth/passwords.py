"""bcrypt, off the event loop, in a pool that refuses what it would not finish in time."""

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

MAX_BYTES = 72  # bcrypt sees no more, and bcrypt 5 raises above it

REFUSE_AFTER_SECONDS = 1.0  # seconds, as Retry-After asks for; then there may be room in the queue

NEWEST_WEIGHT = 1 / 8  # of the newest hash in the mean of their times

# The least priority is 19: there a hash of 0.2 s takes 9 s while requests use a whole processor, which is more than
# POOL_TIMEOUT, and no login would get through. At 10 it takes 1.9 s, and a reader beside 30 clients that log in has the
# same p99 as at 19 (0.6 ms); at 5 it is 5 ms.
NICENESS = 10

# Of a cost that somebody can wait for: a costlier one would keep a thread from everybody else. The salt is 128 bits, so
# that of its 22nd character only two count, and bcrypt raises where the others are not zero.
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_log = logging.getLogger("service.passwords")
Result = TypeVar("Result")


def _cost(password_hash: str) -> int:
    """12 of `$2b$12$...`; asked of hashes that bcrypt has taken."""
    return int(password_hash.split("$")[2])


def _lower_priority() -> None:
    """Requests go before hashes. Linux knows a priority of each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


class Passwords:
    """A queue for hashing in threads. POOL_TIMEOUT bounds the whole wait, for a thread and for the hash.

    A hash that is given up when it is nearly done is wasted work, and of many clients that wait and come again none
    would ever be let in. So a request is refused as it comes where the hashes ahead of it and its own will take longer
    than that, at the mean of the newest; and a hash is not begun when too little of its time is left. A free thread
    takes any request, which measures anew: one slow hash would otherwise refuse all requests from then on."""

    def __init__(self, rounds: int, threads: int, timeout: float) -> None:
        self._rounds = rounds
        self._threads = threads
        self._timeout_seconds = timeout
        self._pending = 0  # hashes that wait or are under way; one that was given up is under way until it is done
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="bcrypt", initializer=_lower_priority)
        started = monotonic()
        # Checked where there is no hash to check, so that an unknown email takes as long as a wrong password.
        self._dummy_hash = bcrypt.hashpw(b"nobody", bcrypt.gensalt(rounds))
        self._mean_seconds = monotonic() - started
        if self._mean_seconds > timeout:
            _log.warning(
                "a hash took %.1f s, more than POOL_TIMEOUT: logins will be refused; raise it, or lower BCRYPT_ROUNDS",
                self._mean_seconds,
            )

    async def hash(self, password: str) -> str:
        salt = bcrypt.gensalt(self._rounds)
        hashed = await self._run(lambda: bcrypt.hashpw(password.encode(), salt))
        return hashed.decode()

    async def matches(self, password: str, password_hash: str | None) -> bool:
        return await self._run(lambda: self._check(password.encode(), password_hash))

    def is_outdated(self, password_hash: str) -> bool:
        """Made when BCRYPT_ROUNDS was lower."""
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
        """With the work that a hash of today's cost would have been: each step of cost is twice the work of the one
        below, so 2^10 + 2^10 + 2^11 is 2^12. An older account would show by its quicker answer."""
        for cost in range(done, self._rounds):
            bcrypt.hashpw(b"somebody", bcrypt.gensalt(cost))
        return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        turns_until_done = self._pending // self._threads + 1
        if self._pending >= self._threads and turns_until_done * self._mean_seconds > self._timeout_seconds:
            # Not at once: a client that comes again a hundred times a second would leave no time for the hashes.
            await asyncio.sleep(min(REFUSE_AFTER_SECONDS, self._timeout_seconds))
            raise Problem(Code.OVERLOADED, reason="the queue for hashing is longer than POOL_TIMEOUT")
        loop = asyncio.get_running_loop()
        latest_start = monotonic() + self._timeout_seconds - min(self._mean_seconds, self._timeout_seconds / 2)
        self._pending += 1
        future = self._executor.submit(self._run_measured, work, latest_start)
        # Not when the client has gone or was refused: the thread is busy until then.
        future.add_done_callback(lambda _: self._report_done(loop))
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

    def _report_done(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed: the service has ended meanwhile
            loop.call_soon_threadsafe(self._count_done)

    def _count_done(self) -> None:
        self._pending -= 1
