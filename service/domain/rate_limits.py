"""Rate limits of logins and sign-ups, counted in PostgreSQL, so that all workers and copies share them."""

import asyncio
import hmac
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

from service.background import Background
from service.db.database import Database
from service.db.statements import statement
from service.domain.cleanup import Cleanup
from service.errors import Code, LimitReached, Problem
from service.settings.all_settings import Settings

COUNT_ATTEMPT = statement("attempts/count_attempt", "one")
GET_WAIT = statement("attempts/get_wait", "one")
TAKE_BACK_ATTEMPT = statement("attempts/take_back_attempt", "exec")

RETRY_PAUSES_SECONDS = (1.0, 5.0, 30.0)
SIGN_UP_WINDOW = timedelta(hours=1)


class Limit(NamedTuple):
    """At most `max_attempts` within `window`, for each value of `counted_by`. 0 means no limit."""

    kind: str
    counted_by: Sequence[str]
    max_attempts: int
    window: timedelta


class CountedAttempt(NamedTuple):
    bucket: bytes
    at: str  # PostgreSQL's text of a time, passed back as it is


@dataclass
class Attempt:
    """A login or sign-up in progress. Its counts are taken back at the end, unless `stays_counted` is set."""

    network: str
    stays_counted: bool = False
    counted: list[CountedAttempt] = field(default_factory=list)


class RateLimits:
    def __init__(self, database: Database, background: Background, cleanup: Cleanup, settings: Settings) -> None:
        self._database = database
        self._background = background
        self._cleanup = cleanup
        self._settings = settings
        self._login_window = timedelta(seconds=settings.login_window)
        # Derived from the secret, which all copies share.
        self._key = hmac.digest(settings.require_secret().encode(), b"attempts", "sha256")

    @asynccontextmanager
    async def log_in(self, email: str, network: str) -> AsyncIterator[Attempt]:
        """Raises RATE_LIMITED before the password is checked.

        The narrowest limit comes first. What it refuses is not counted by the others, so that one address cannot lock
        an account for all addresses. The third limit is `count_email`, after the account was looked up."""
        given, window = self._settings, self._login_window
        limits = [
            Limit("login of an email from an address", (email, network), given.login_failures, window),
            Limit("login from an address", (network,), given.login_failures_per_address, window),
        ]
        async with self._counted(limits, network) as attempt:
            yield attempt

    async def count_email(self, attempt: Attempt, email: str, *, is_known_network: bool) -> None:
        """Counts known addresses of the user and all others separately: failures from many other addresses do not lock
        out the known ones. Both use the same statements, so that the time of an answer does not tell them apart."""
        kind = "login of an email from known addresses" if is_known_network else "login of an email"
        limit = Limit(kind, (email,), self._settings.login_failures_per_email, self._login_window)
        await self._count(attempt, limit)

    @asynccontextmanager
    async def check_password(self, user_id: UUID, network: str) -> AsyncIterator[Attempt]:
        """Limits checks of the password that a change of the account asks for, by user and address.

        Failed logins and other addresses do not count, so that they cannot keep a user from changing the password. With
        a stolen token `LOGIN_FAILURES` guesses are possible from each address; a limit over all addresses would let the
        thief lock the user out. The user can end this by logging out everywhere, which needs no password."""
        kind = "password of a token's user from an address"
        limit = Limit(kind, (str(user_id), network), self._settings.login_failures, self._login_window)
        async with self._counted([limit], network) as attempt:
            yield attempt

    @asynccontextmanager
    async def sign_up(self, network: str) -> AsyncIterator[Attempt]:
        limit = Limit("sign-up from an address", (network,), self._settings.signups_per_address, SIGN_UP_WINDOW)
        async with self._counted([limit], network) as attempt:
            yield attempt

    @asynccontextmanager
    async def _counted(self, limits: Sequence[Limit], network: str) -> AsyncIterator[Attempt]:
        attempt = Attempt(network)
        try:
            for limit in limits:
                await self._count(attempt, limit)
            self._cleanup.run_if_due()
            yield attempt
        finally:
            if not attempt.stays_counted:
                for each in attempt.counted:
                    await self._take_back(each)

    async def _count(self, attempt: Attempt, limit: Limit) -> None:
        if not limit.max_attempts:
            return
        bucket = self._bucket(limit)
        row = await self._database.one(COUNT_ATTEMPT, bucket=bucket, most=limit.max_attempts, window=limit.window)
        if row is not None:
            attempt.counted.append(CountedAttempt(bucket, row["attempted_at"]))
            return
        wait = await self._database.one(GET_WAIT, bucket=bucket, most=limit.max_attempts, window=limit.window)
        remaining = None if wait is None else wait["remaining"]  # None if an attempt was taken back meanwhile
        seconds = 1 if remaining is None else max(1, math.ceil(remaining.total_seconds()))
        reason = f"{limit.kind}, {limit.max_attempts} times; {attempt.network}"
        raise LimitReached(limit.kind, Code.RATE_LIMITED, reason=reason, retry_after=seconds)

    async def _take_back(self, counted: CountedAttempt, pauses: Sequence[float] = RETRY_PAUSES_SECONDS) -> None:
        """Takes one attempt back. If the database fails, this is retried in the background and the request succeeds."""
        try:
            await self._database.execute(TAKE_BACK_ATTEMPT, bucket=counted.bucket, attempted_at=counted.at)
        except Problem:
            if not pauses:
                raise
            self._background.run(self._take_back_later(counted, *pauses))

    async def _take_back_later(self, counted: CountedAttempt, pause: float, *pauses: float) -> None:
        await asyncio.sleep(pause)
        await self._take_back(counted, pauses)

    def _bucket(self, limit: Limit) -> bytes:
        named = "\0".join([limit.kind, *limit.counted_by])
        return hmac.digest(self._key, named.encode(errors="surrogatepass"), "sha256")
