"""Requests with an idempotency key: repeated after a lost answer, they are not done again and have the same answer.

The answer is kept in the transaction of the write itself, under the lock of the owner's counter. So both are
committed or none, whatever is killed; of two requests at once the second one waits, and has the answer of the first.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from service.db.database import Transaction
from service.db.statements import statement
from service.errors import Code, LimitReached, Problem

FIND_ANSWER = statement("tasks/find_answer", "one")
KEEP_ANSWER = statement("tasks/keep_answer", "one")

# The limit of what is kept for a user in a window of IDEMPOTENCY_HOURS: the answer of a batch may have a megabyte. A
# window may begin when the one before has just ended, so twice as much may be kept.
MAX_KEPT_BYTES = 32 * 1024 * 1024
Written = TypeVar("Written")

KEPT_ANSWERS = "answers kept for idempotency keys"  # as a limit in the metrics
TOO_MUCH_IS_KEPT = "the answers kept for the user's idempotency keys have reached their limit"


class IdempotencyKey(NamedTuple):
    key: str
    request_digest: bytes  # of what must be the same in a repetition
    hours: int  # for which the answer is kept


class Answer(NamedTuple):
    body: str
    is_replayed: bool = False


@dataclass(frozen=True, slots=True)
class AnswerOnce(Generic[Written]):
    """Makes the answer to a write. With a key it is kept, and a repetition has it without another write."""

    key: IdempotencyKey | None
    render: Callable[[Written], str]  # from what was written to the body of the answer

    async def answer(
        self, transaction: Transaction, user_id: UUID, write: Callable[[], Awaitable[Written | None]]
    ) -> Answer | None:
        """None if `write` returns None, which has written nothing then. IDEMPOTENCY_KEY_REUSED if the key is of another
        request, RATE_LIMITED if too much is kept for the user."""
        if self.key is None:
            written = await write()
            return None if written is None else Answer(self.render(written))
        kept = await transaction.require_one(FIND_ANSWER, user_id=user_id, key=self.key.key)
        if kept["answer"] is not None:
            if kept["request_digest"] != self.key.request_digest:
                raise Problem(Code.IDEMPOTENCY_KEY_REUSED)
            return Answer(kept["answer"], is_replayed=True)
        seconds_left = kept["seconds_left"]
        if seconds_left >= 0 and kept["kept_bytes"] >= MAX_KEPT_BYTES:
            raise LimitReached(
                KEPT_ANSWERS, Code.RATE_LIMITED, reason=TOO_MUCH_IS_KEPT, retry_after=max(1, seconds_left)
            )
        if (written := await write()) is None:
            return None
        body = self.render(written)
        await transaction.require_one(
            KEEP_ANSWER,
            user_id=user_id, key=self.key.key, request_digest=self.key.request_digest, answer=body,
            kept_hours=self.key.hours, begins_window=seconds_left < 0,
        )  # fmt: skip
        return Answer(body)
