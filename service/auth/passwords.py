"""bcrypt, off the event loop, in a pool that refuses what it could not finish in time."""

import asyncio
import logging
import os
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import bcrypt

from service.errors import Code, Problem

MAX_BYTES = 72  # bcrypt sees no more, and bcrypt 5 raises above it

# How many may wait for each thread. More could not be served within any patience, and every one holds a request.
QUEUE_PER_THREAD = 32

REFUSED_AFTER = 1.0  # seconds, as Retry-After asks for; then whoever comes again may find a place

LEAST_PRIORITY = 19

# Of a cost that somebody can wait for: a costlier one would keep a thread from everybody else. The salt is 128 bits, so
# that of its 22nd character only two count, and bcrypt raises where the others are not zero.
_HASH = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")

_log = logging.getLogger("service.passwords")
Result = TypeVar("Result")


def _cost(password_hash: str) -> int:
    """12 of `$2b$12$...`; asked of hashes that bcrypt has taken."""
    return int(password_hash.split("$")[2])


def _step_back() -> None:
    """A thread that hashes takes what the requests leave over. Linux knows a priority of each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LEAST_PRIORITY)


class Passwords:
    def __init__(self, rounds: int, threads: int, timeout: float) -> None:
        self._rounds = rounds
        self._timeout = timeout
        self._places = threads * (1 + QUEUE_PER_THREAD)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="bcrypt", initializer=_step_back)
        # Checked where there is no hash to check, so that an unknown email takes as long as a wrong password.
        self._nobody = bcrypt.hashpw(b"nobody", bcrypt.gensalt(rounds))

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
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _check(self, password: bytes, password_hash: str | None) -> bool:
        if password_hash is not None and not _HASH.fullmatch(password_hash):
            _log.error("a stored password hash is malformed; its owner cannot log in")
        elif password_hash is not None and len(password) <= MAX_BYTES:
            return bcrypt.checkpw(password, password_hash.encode()) or self._fail(_cost(password_hash))
        bcrypt.checkpw(b"somebody", self._nobody)
        return False

    def _fail(self, done: int) -> bool:
        """With the work that a hash of today's cost would have been: each step of cost is twice the work of the one
        below, so 2^10 + 2^10 + 2^11 is 2^12. An older account would show by its quicker answer."""
        for cost in range(done, self._rounds):
            bcrypt.hashpw(b"somebody", bcrypt.gensalt(cost))
        return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        if self._places <= 0:
            # Who is refused and comes again at once, a hundred times a second, would leave nothing to those who hash.
            await asyncio.sleep(min(REFUSED_AFTER, self._timeout))
            raise Problem(Code.OVERLOADED, reason="the queue for hashing is full")
        loop = asyncio.get_running_loop()
        self._places -= 1
        future = self._threads.submit(work)
        # The place is free when the thread is, not when the client has gone.
        future.add_done_callback(lambda _: self._say_free(loop))
        answer = asyncio.wrap_future(future)
        try:
            await asyncio.wait([answer], timeout=self._timeout)
            if future.cancel():
                raise Problem(Code.OVERLOADED, reason="no hashing slot within POOL_TIMEOUT")
            # What a thread has begun is waited for. Given up when it is nearly done, of many who wait, and come again,
            # nobody would ever be let in.
            return await answer
        finally:
            answer.cancel()  # where the client has gone

    def _say_free(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError):  # the loop is closed: the service has ended meanwhile
            loop.call_soon_threadsafe(self._free_place)

    def _free_place(self) -> None:
        self._places += 1
