"""A queue for a bounded number of slots, such as connections of a pool, that is fair between owners.

1. An owner uses at most its share of the slots, even if others are free: those are for other owners.
2. Waiting owners get one slot each in rotation, in the order of arrival. Within one owner the oldest waiter goes first.
3. A released slot goes to the next waiter at once. Newcomers cannot overtake.

Without a wait this costs two dictionary accesses for taking a slot and two for releasing it.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from service.errors import Code, Problem

NO_CONNECTION_REASON = "no database connection within POOL_TIMEOUT"

Item = TypeVar("Item")


class Waiter(NamedTuple, Generic[Item]):
    given: "asyncio.Future[Item | None]"
    deadline: float  # on the event loop's clock


WaitingLine: TypeAlias = deque[Waiter[Item]]


class FairQueue(Generic[Item]):
    """Hands each released slot with its item, such as a connection, to the next waiter, or to `on_free` without one."""

    def __init__(
        self,
        slots: int,
        share: int,
        timeout_seconds: float = math.inf,
        on_free: Callable[[Item | None], None] = lambda _: None,
        timeout_reason: str = NO_CONNECTION_REASON,
    ) -> None:
        self.slots = slots
        self.free = slots
        self._share = share
        self._timeout_seconds = timeout_seconds
        self._on_free = on_free
        self._timeout_reason = timeout_reason
        self._in_use: dict[Hashable, int] = {}  # slots by owner; without an entry for 0
        self._below_share: OrderedDict[Hashable, WaitingLine[Item]] = OrderedDict()  # by owner; the next one first
        self._at_share: dict[Hashable, WaitingLine[Item]] = {}  # owners that use their whole share
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        """Looks at each waiter: for metrics, not for each request."""
        lines = (*self._below_share.values(), *self._at_share.values())
        return sum(not waiter.given.done() for line in lines for waiter in line)

    def ahead_of(self, owner: Hashable) -> int:
        """The most waiters that get a slot before a newcomer of this owner would. Looks at each owner that waits."""
        lines = self._below_share | self._at_share
        own = len(lines.get(owner, ()))
        return own + sum(min(len(line), own + 1) for other, line in lines.items() if other != owner)

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        """Holds a slot for a block, for slots without an item."""
        if not self.try_take(owner):
            await self.wait(owner)
        try:
            yield
        finally:
            self.release(owner, None)

    def try_take(self, owner: Hashable) -> bool:
        in_use = self._in_use.get(owner, 0)
        if not self.free or in_use >= self._share:
            return False
        self.free -= 1
        self._in_use[owner] = in_use + 1
        return True

    async def wait(self, owner: Hashable) -> Item | None:
        """Waits for a slot and returns its item. Raises OVERLOADED after the timeout."""
        loop = asyncio.get_running_loop()
        waiter = Waiter[Item](loop.create_future(), loop.time() + self._timeout_seconds)
        lines = self._below_share if self._in_use.get(owner, 0) < self._share else self._at_share
        lines.setdefault(owner, deque()).append(waiter)
        if self._timer is None and waiter.deadline < math.inf:
            self._timer = loop.call_at(waiter.deadline, self._time_out_waiters)
        given = waiter.given
        try:
            return await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled() and not given.exception():  # it got a slot at the same moment
                self.release(owner, given.result())
            raise

    def release(self, owner: Hashable, item: Item | None) -> None:
        """Releases a slot of this owner. The next waiter gets it, if there is one."""
        in_use = self._in_use[owner] - 1
        if in_use:
            self._in_use[owner] = in_use
        else:
            del self._in_use[owner]
        if owner in self._at_share:
            self._below_share[owner] = self._at_share.pop(owner)
        while self._below_share:
            next_owner, line = self._below_share.popitem(last=False)
            if self._give_first(next_owner, line, item):
                return
        self.free += 1
        self._on_free(item)

    def _give_first(self, owner: Hashable, line: "WaitingLine[Item]", item: Item | None) -> bool:
        while line:
            given, _ = line.popleft()
            if not given.done():
                in_use = self._in_use[owner] = self._in_use.get(owner, 0) + 1
                if line:
                    lines = self._below_share if in_use < self._share else self._at_share
                    lines[owner] = line
                given.set_result(item)
                return True
        return False

    def _time_out_waiters(self) -> None:
        """Fails waiters past their deadline with OVERLOADED. One timer serves all, set to the earliest deadline."""
        loop = asyncio.get_running_loop()
        now, next_deadline = loop.time(), None
        for lines in (self._below_share, self._at_share):
            for owner, line in list(lines.items()):
                while line and (line[0].given.done() or line[0].deadline <= now):
                    given, _ = line.popleft()
                    if not given.done():
                        given.set_exception(Problem(Code.OVERLOADED, reason=self._timeout_reason))
                if not line:
                    del lines[owner]
                elif next_deadline is None or line[0].deadline < next_deadline:
                    next_deadline = line[0].deadline
        self._timer = None if next_deadline is None else loop.call_at(next_deadline, self._time_out_waiters)
