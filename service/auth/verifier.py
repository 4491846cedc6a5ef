"""Whose token it is: remembered, our own, or of an issuer that the setting names."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from service.auth.claims import read_unverified
from service.auth.issuer_tokens import IssuerTokens
from service.auth.token_cache import TokenCache, Verified
from service.auth.tokens import Tokens

# Of a user and a token's generation: refused where the user is gone or has revoked the token.
CheckUser = Callable[[UUID, int], Awaitable[None]]


class Verifier:
    def __init__(self, own: Tokens, outside: IssuerTokens, check: CheckUser, recheck: float) -> None:
        self._own = own
        self._outside = outside
        self._check = check
        self._recheck_seconds = recheck
        self._cache = TokenCache()
        self._verifying: dict[str, asyncio.Task[UUID]] = {}
        self._revocations = 0  # that we know of

    def user_of(self, token: str) -> UUID | Awaitable[UUID]:
        """At once, where nobody has to be asked. What several requests wait for is verified once."""
        cached = self._cache.recall(token)
        if cached is not None:
            if time.monotonic() < cached.recheck_at:
                return cached.verified.user_id
            if cached.verified.generation is not None:
                return self._recheck_user(token, cached.verified)
        # A request whose client goes does not take the answer away from the others.
        return asyncio.shield(self._verifying.get(token) or self._start_verifying(token))

    def forget(self, user_id: UUID) -> None:
        """At once, where a token is revoked: what was being asked meanwhile is not remembered, nor waited for."""
        self._cache.forget(user_id)
        self._verifying.clear()
        self._revocations += 1

    async def _recheck_user(self, token: str, verified: Verified) -> UUID:
        """Each for itself, as who has signed it is known: questions of the same moment share a statement anyway, and a
        task that several can wait for is two fifths of what it costs to ask."""
        asked_at, revocations = time.monotonic(), self._revocations
        await self._require_valid_user(verified)
        if revocations == self._revocations:
            self._cache.remember(token, verified, asked_at + self._recheck_seconds)
        return verified.user_id

    def _start_verifying(self, token: str) -> asyncio.Task[UUID]:
        task = self._verifying[token] = asyncio.create_task(self._verify_and_remember(token, self._verify(token)))
        task.add_done_callback(lambda task: task.cancelled() or task.exception())  # where nobody waits any more
        return task

    def _verify(self, token: str) -> Coroutine[Any, Any, Verified]:
        header, claims = read_unverified(token)
        if "iss" in claims:
            return self._outside.verify(token, header, claims["iss"])
        return self._require_valid_user(self._own.verify(token))

    async def _verify_and_remember(self, token: str, answer: Awaitable[Verified]) -> UUID:
        asked_at = time.monotonic()
        try:
            verified = await answer
            if self._is_latest_verification(token):
                self._cache.remember(token, verified, asked_at + self._recheck_seconds)
        finally:
            if self._is_latest_verification(token):
                del self._verifying[token]
        return verified.user_id

    def _is_latest_verification(self, token: str) -> bool:
        return self._verifying.get(token) is asyncio.current_task()

    async def _require_valid_user(self, verified: Verified) -> Verified:
        await self._check(verified.user_id, verified.generation or 0)
        return verified
