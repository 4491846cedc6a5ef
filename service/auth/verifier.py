"""Whose token it is: remembered, our own, or of an issuer that the setting names."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from service.auth.claims import untrusted
from service.auth.memory import Memory, Verified
from service.auth.outside import OutsideTokens
from service.auth.tokens import OwnToken, Tokens

# Of a user and a token's generation: refused where the user is gone or has revoked the token.
Check = Callable[[UUID, int], Awaitable[None]]


class Verifier:
    def __init__(self, own: Tokens, outside: OutsideTokens, check: Check, recheck: float) -> None:
        self._own = own
        self._outside = outside
        self._check = check
        self._recheck = recheck
        self._memory = Memory()
        self._asking: dict[str, asyncio.Task[UUID]] = {}

    def user_of(self, token: str) -> UUID | Awaitable[UUID]:
        """At once, where nobody has to be asked. What several requests wait for is asked once."""
        remembered = self._memory.recall(token)
        if remembered is not None:
            return remembered
        # A request whose client goes does not take the answer away from the others.
        return asyncio.shield(self._asking.get(token) or self._start_asking(token))

    def forget(self, user_id: UUID) -> None:
        """At once, where a token is revoked: what was being asked meanwhile is not remembered, nor waited for."""
        self._memory.forget(user_id)
        self._asking.clear()

    def _start_asking(self, token: str) -> asyncio.Task[UUID]:
        header, claims = untrusted(token)
        answer: Coroutine[Any, Any, Verified]
        if "iss" in claims:
            answer = self._outside.verify(token, header, claims["iss"])
        else:
            answer = self._still_good(self._own.verify(token))
        task = self._asking[token] = asyncio.create_task(self._ask(token, answer))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # where nobody waits any more
        return task

    async def _ask(self, token: str, answer: Awaitable[Verified]) -> UUID:
        asked_at = time.monotonic()
        try:
            verified = await answer
            if self._is_awaited(token):
                self._memory.remember(token, verified, asked_at + self._recheck)
        finally:
            if self._is_awaited(token):
                del self._asking[token]
        return verified.user_id

    def _is_awaited(self, token: str) -> bool:
        return self._asking.get(token) is asyncio.current_task()

    async def _still_good(self, token: OwnToken) -> Verified:
        await self._check(token.verified.user_id, token.generation)
        return token.verified
