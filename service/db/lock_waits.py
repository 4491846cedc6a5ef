"""Statements that met a lock wait here for their next try, and not on a connection.

The server ends every wait for a lock after LOCK_TIMEOUT (service/db/connect.py). Nothing has happened then, so the
statement is sent again, until it succeeds or STATEMENT_TIMEOUT is over. Meanwhile:

1. Statements that are about the same row form a line. The first asks the server and pauses between its tries; the
   others wait for their turn, and so do newcomers. When the first succeeds the lock has gone, and the line is drained.
2. Of all lines together no more than a quarter of the pool asks at a time. A lock on a whole table leaves connections
   to statements that have nothing to do with it.
3. The writes of a user that met a lock are sent alone for a while: in a batch they would hold up those of others.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import TypeVar

import asyncpg

from service.errors import Code, Problem

# The server has undone the statement and says so. It can be sent again, also where it writes.
UNDONE = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

PAUSE_SECONDS = 0.1  # between two tries of a line; the mean delay after a lock has gone is half of it
ALONE_SECONDS = 10.0  # after the first try, so that a client that comes again after STATEMENT_TIMEOUT is remembered
MAX_REMEMBERED_OWNERS = 1000

IN_TIME = "a lock was not released within STATEMENT_TIMEOUT"

Result = TypeVar("Result")


class Line:
    """Statements that wait for the same lock, in the order of arrival."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.size = 0


class LockWaits:
    def __init__(self, max_asking: int, timeout_seconds: float) -> None:
        self._asking = asyncio.Semaphore(max_asking)
        self._timeout_seconds = timeout_seconds
        self._lines: dict[Hashable, Line] = {}
        self._alone_until: dict[Hashable, float] = {}  # by owner, the newest last

    def is_waited_for(self, lock: Hashable) -> bool:
        return lock in self._lines

    def has_met_a_lock(self, owner: Hashable) -> bool:
        """Whether a write of this owner has met one in the last ALONE_SECONDS."""
        until = self._alone_until.get(owner) if self._alone_until else None
        if until is None or time.monotonic() < until:
            return until is not None
        del self._alone_until[owner]
        return False

    def remember(self, owner: Hashable) -> None:
        self._alone_until.pop(owner, None)
        self._alone_until[owner] = time.monotonic() + ALONE_SECONDS
        if len(self._alone_until) > MAX_REMEMBERED_OWNERS:
            del self._alone_until[next(iter(self._alone_until))]

    async def retry(self, lock: Hashable, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """DATABASE_ERROR where the lock outlives STATEMENT_TIMEOUT. Nothing has happened then."""
        line = self._lines.setdefault(lock, Line())
        line.size += 1
        end = asyncio.get_running_loop().time() + self._timeout_seconds
        deadline = asyncio.timeout_at(end)
        try:
            async with deadline, line.turn:
                while True:
                    async with self._asking:
                        deadline.reschedule(None)  # called off on its way, it might have happened or not
                        with suppress(*UNDONE):
                            result = await attempt()
                            self._close(lock, line)  # newcomers need not stand in it
                            return result
                    deadline.reschedule(end)
                    await asyncio.sleep(PAUSE_SECONDS)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Problem(Code.DATABASE_ERROR, reason=IN_TIME) from None
        finally:
            line.size -= 1
            if not line.size:
                self._close(lock, line)

    def _close(self, lock: Hashable, line: Line) -> None:
        if self._lines.get(lock) is line:
            del self._lines[lock]
