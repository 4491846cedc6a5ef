"""Finds the user of a token: in the cache, or by verifying it as our own or as another issuer's."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from uuid import UUID

from service.auth.claims import read_unverified
from service.auth.issuer_tokens import IssuerTokens
from service.auth.token_cache import TokenCache, Verified
from service.auth.tokens import Tokens

# Takes a user and a generation. Raises INVALID_TOKEN if the user is deleted or has revoked that generation.
CheckUser = Callable[[UUID, int], Awaitable[None]]


class Verifier:
    """Verifies tokens, each at most once at a time, and remembers the results."""

    def __init__(self, own: Tokens, outside: IssuerTokens, check: CheckUser, recheck: float) -> None:
        self._own = own
        self._outside = outside
        self._check = check
        self._recheck_seconds = recheck
        self._cache = TokenCache()
        self._verifying: dict[str, asyncio.Task[UUID]] = {}
        self._revocations = 0  # counted in this process only
        self.hits = self.rechecks = self.misses = 0  # tokens of requests: known, known and checked again, verified

    def user_of(self, token: str) -> UUID | Awaitable[UUID]:
        """The user's id if it is cached, else an awaitable. Requests that wait for the same token share one result."""
        cached = self._cache.recall(token)
        if cached is not None:
            if time.monotonic() < cached.recheck_at:
                self.hits += 1
                return cached.verified.user_id
            if cached.verified.generation is not None:
                self.rechecks += 1
                return self._recheck_user(token, cached.verified)
        self.misses += 1
        # Shielded: a request that is cancelled does not cancel the verification for the others.
        return asyncio.shield(self._verifying.get(token) or self._start_verifying(token))

    @property
    def cached_tokens(self) -> int:
        return len(self._cache)

    def forget(self, user_id: UUID) -> None:
        """Forgets the tokens of a user who revoked them. Running verifications are neither cached nor shared."""
        self._cache.forget(user_id)
        self._verifying.clear()
        self._revocations += 1

    async def _recheck_user(self, token: str, verified: Verified) -> UUID:
        """Asks the database whether the token is revoked; its signature is known to be good.

        Requests do not share this one: their queries share a batch anyway, and a task to share would be two fifths of
        the cost."""
        asked_at, revocations = time.monotonic(), self._revocations
        await self._require_valid_user(verified)
        if revocations == self._revocations:
            self._cache.remember(token, verified, asked_at + self._recheck_seconds)
        return verified.user_id

    def _start_verifying(self, token: str) -> asyncio.Task[UUID]:
        task = self._verifying[token] = asyncio.create_task(self._verify_and_remember(token, self._verify(token)))
        # Reads the exception: if every request was cancelled, asyncio would log that it was never retrieved.
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
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
