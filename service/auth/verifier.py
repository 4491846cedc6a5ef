"""Whose token it is: remembered, our own, or of an issuer that the setting names."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from service.auth.claims import untrusted
from service.auth.issuer_tokens import IssuerTokens
from service.auth.token_cache import TokenCache, Verified
from service.auth.tokens import Tokens

# Of a user and a token's generation: refused where the user is gone or has revoked the token.
Check = Callable[[UUID, int], Awaitable[None]]


class Verifier:
    def __init__(self, own: Tokens, outside: IssuerTokens, check: Check, recheck: float) -> None:
        self._own = own
        self._outside = outside
        self._check = check
        self._recheck = recheck
        self._memory = TokenCache()
        self._asking: dict[str, asyncio.Task[UUID]] = {}
        self._revocations = 0  # that we know of

    def user_of(self, token: str) -> UUID | Awaitable[UUID]:
        """At once, where nobody has to be asked. What several requests wait for is verified once."""
        remembered = self._memory.recall(token)
        if remembered is not None:
            if time.monotonic() < remembered.recheck_at:
                return remembered.verified.user_id
            if remembered.verified.generation is not None:
                return self._ask_again(token, remembered.verified)
        # A request whose client goes does not take the answer away from the others.
        return asyncio.shield(self._asking.get(token) or self._start_asking(token))

    def forget(self, user_id: UUID) -> None:
        """At once, where a token is revoked: what was being asked meanwhile is not remembered, nor waited for."""
        self._memory.forget(user_id)
        self._asking.clear()
        self._revocations += 1

    async def _ask_again(self, token: str, verified: Verified) -> UUID:
        """Each for itself, as who has signed it is known: questions of the same moment share a statement anyway, and a
        task that several can wait for is two fifths of what it costs to ask."""
        asked_at, revocations = time.monotonic(), self._revocations
        await self._still_good(verified)
        if revocations == self._revocations:
            self._memory.remember(token, verified, asked_at + self._recheck)
        return verified.user_id

    def _start_asking(self, token: str) -> asyncio.Task[UUID]:
        task = self._asking[token] = asyncio.create_task(self._ask(token, self._verify(token)))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # where nobody waits any more
        return task

    def _verify(self, token: str) -> Coroutine[Any, Any, Verified]:
        header, claims = untrusted(token)
        if "iss" in claims:
            return self._outside.verify(token, header, claims["iss"])
        return self._still_good(self._own.verify(token))

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

    async def _still_good(self, verified: Verified) -> Verified:
        await self._check(verified.user_id, verified.generation or 0)
        return verified
