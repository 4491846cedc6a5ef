"""A semaphore that is fair by user: however many of one user wait, the next turn is another user's."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID


class Turns:
    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: dict[UUID, deque[asyncio.Future[None]]] = {}  # by user; the first has waited longest for a turn

    @asynccontextmanager
    async def of(self, user_id: UUID) -> AsyncIterator[None]:
        await self._take(user_id)
        try:
            yield
        finally:
            self._pass_on()

    async def _take(self, user_id: UUID) -> None:
        if self._free:
            self._free -= 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user_id, deque()).append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the turn was given in the moment in which the client went away
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            user_id = next(iter(self._waiting))
            line = self._waiting.pop(user_id)
            waiter = line.popleft()
            if line:
                self._waiting[user_id] = line  # behind the other users
            if not waiter.done():
                waiter.set_result(None)
                return
        self._free += 1
