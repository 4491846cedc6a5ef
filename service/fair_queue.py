"""Turns at a bounded number of slots, shared fairly between owners, like the right to use a connection of the pool.

1. An owner has no more than its share of the slots at a time, though others are free: they are for other owners.
2. Owners with something waiting take turns, one slot each, in the order in which they came. Within one owner the
   oldest goes first.
3. A slot that is given back goes to the next in turn at once. Newcomers find none as long as an owner waits for it.

Without a wait this is two dictionary accesses at taking a slot and two at giving it back.
"""

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from service.errors import Code, Problem

NONE_IN_TIME = "no database connection within POOL_TIMEOUT"

Item = TypeVar("Item")


class Waiter(NamedTuple, Generic[Item]):
    given: "asyncio.Future[Item | None]"
    deadline: float  # of the event loop's clock


Line: TypeAlias = deque[Waiter[Item]]


class FairQueue(Generic[Item]):
    """A slot is passed on with an item, or with None. `when_free` gets the item for which nothing waits."""

    def __init__(
        self,
        slots: int,
        share: int,
        timeout_seconds: float = math.inf,
        when_free: Callable[[Item | None], None] = lambda _: None,
    ) -> None:
        self.slots = slots
        self.free = slots
        self._share = share
        self._timeout_seconds = timeout_seconds
        self._when_free = when_free
        self._in_use: dict[Hashable, int] = {}  # by owner; no entry is 0
        self._in_turn: OrderedDict[Hashable, Line[Item]] = OrderedDict()  # by owner, the next one first
        self._at_limit: dict[Hashable, Line[Item]] = {}  # of owners that have their share in use
        self._alarm: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self, owner: Hashable) -> AsyncIterator[None]:
        """For slots that pass nothing on."""
        if not self.try_take(owner):
            await self.wait(owner)
        try:
            yield
        finally:
            self.pass_on(owner, None)

    def try_take(self, owner: Hashable) -> bool:
        in_use = self._in_use.get(owner, 0)
        if not self.free or in_use >= self._share:
            return False
        self.free -= 1
        self._in_use[owner] = in_use + 1
        return True

    async def wait(self, owner: Hashable) -> Item | None:
        """OVERLOADED after the timeout."""
        loop = asyncio.get_running_loop()
        waiter = Waiter[Item](loop.create_future(), loop.time() + self._timeout_seconds)
        lines = self._in_turn if self._in_use.get(owner, 0) < self._share else self._at_limit
        lines.setdefault(owner, deque()).append(waiter)
        if self._alarm is None and waiter.deadline < math.inf:
            self._alarm = loop.call_at(waiter.deadline, self._refuse_late)
        given = waiter.given
        try:
            return await given
        except asyncio.CancelledError:
            if given.done() and not given.cancelled() and not given.exception():  # it was given a slot in this moment
                self.pass_on(owner, given.result())
            raise

    def pass_on(self, owner: Hashable, item: Item | None) -> None:
        """Gives back a slot of this owner."""
        in_use = self._in_use[owner] - 1
        if in_use:
            self._in_use[owner] = in_use
        else:
            del self._in_use[owner]
        if owner in self._at_limit:
            self._in_turn[owner] = self._at_limit.pop(owner)
        while self._in_turn:
            next_owner, line = self._in_turn.popitem(last=False)
            if self._give_first(next_owner, line, item):
                return
        self.free += 1
        self._when_free(item)

    def _give_first(self, owner: Hashable, line: "Line[Item]", item: Item | None) -> bool:
        while line:
            given, _ = line.popleft()
            if not given.done():
                in_use = self._in_use[owner] = self._in_use.get(owner, 0) + 1
                if line:
                    lines = self._in_turn if in_use < self._share else self._at_limit
                    lines[owner] = line
                given.set_result(item)
                return True
        return False

    def _refuse_late(self) -> None:
        """One timer for all, set to the deadline of the oldest that waits."""
        loop = asyncio.get_running_loop()
        now, next_deadline = loop.time(), None
        for lines in (self._in_turn, self._at_limit):
            for owner, line in list(lines.items()):
                while line and (line[0].given.done() or line[0].deadline <= now):
                    given, _ = line.popleft()
                    if not given.done():
                        given.set_exception(Problem(Code.OVERLOADED, reason=NONE_IN_TIME))
                if not line:
                    del lines[owner]
                elif next_deadline is None or line[0].deadline < next_deadline:
                    next_deadline = line[0].deadline
        self._alarm = None if next_deadline is None else loop.call_at(next_deadline, self._refuse_late)
