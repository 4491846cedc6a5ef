"""Retries of statements that met a lock. Between two tries they hold no connection.

The server ends every lock wait after LOCK_TIMEOUT_SETTING (service/db/connect.py). The statement has not happened then,
so it is sent again, until it succeeds or STATEMENT_TIMEOUT is over. Meanwhile:

1. Statements on the same row form a queue. The first retries, with a pause between its tries; the others wait for
   their turn, and so do newcomers. When the first succeeds the lock is gone, and the queue is drained.
2. At most a quarter of the pool serves the retries of all queues together. A lock on a whole table leaves connections
   for statements that do not need that table.
3. The writes of a user that met a lock are sent without a batch for ALONE_SECONDS: in a batch they would delay the
   writes of other users. So are those of a user whose write undid a batch, because the server refused it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import TypeVar

import asyncpg

from service.errors import Code, Problem

# The server has rolled the statement back and says so. It is safe to retry, even a write.
RETRYABLE_ERRORS = (
    asyncpg.LockNotAvailableError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    # A migration has changed the types of the row. asyncpg prepares the statement again, except in a transaction.
    asyncpg.InvalidCachedStatementError,
)

RETRY_PAUSE_SECONDS = 0.1  # between two tries of a queue; on average a retry comes half of it after the lock is gone
ALONE_SECONDS = 10.0  # from the first try; longer than STATEMENT_TIMEOUT, to include a client that retries after it
MAX_REMEMBERED_OWNERS = 1000

LOCK_TIMEOUT_REASON = "a lock was not released within STATEMENT_TIMEOUT"

Result = TypeVar("Result")


class LockQueue:
    """Statements that wait for the same lock, in the order of arrival."""

    def __init__(self) -> None:
        self.retrying = asyncio.Lock()
        self.size = 0


class LockWaits:
    """The queues of one process, by lock."""

    def __init__(self, max_retries: int, timeout_seconds: float) -> None:
        self._retries = asyncio.Semaphore(max_retries)
        self._timeout_seconds = timeout_seconds
        self._queues: dict[Hashable, LockQueue] = {}
        self._alone_until: dict[Hashable, float] = {}  # by owner; the newest last

    def is_waited_for(self, lock: Hashable) -> bool:
        return lock in self._queues

    def is_sent_alone(self, owner: Hashable) -> bool:
        """Whether a write of this owner met a lock or undid a batch in the last ALONE_SECONDS."""
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
        """Raises DATABASE_ERROR if the lock outlives STATEMENT_TIMEOUT. The statement has not happened then."""
        queue = self._queues.setdefault(lock, LockQueue())
        queue.size += 1
        deadline_at = asyncio.get_running_loop().time() + self._timeout_seconds
        deadline = asyncio.timeout_at(deadline_at)
        try:
            async with deadline, queue.retrying:
                while True:
                    async with self._retries:
                        deadline.reschedule(None)  # a write that is cancelled on its way may have happened
                        with suppress(*RETRYABLE_ERRORS):
                            result = await attempt()
                            self._close(lock, queue)  # newcomers need not wait any more
                            return result
                    deadline.reschedule(deadline_at)
                    await asyncio.sleep(RETRY_PAUSE_SECONDS)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise Problem(Code.DATABASE_ERROR, reason=LOCK_TIMEOUT_REASON) from None
        finally:
            queue.size -= 1
            if not queue.size:
                self._close(lock, queue)

    def _close(self, lock: Hashable, queue: LockQueue) -> None:
        if self._queues.get(lock) is queue:
            del self._queues[lock]
