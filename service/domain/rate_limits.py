"""How often somebody may try to log in or to sign up, counted in PostgreSQL, for every worker and every copy."""

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
from service.errors import Code, NotNow, Problem
from service.settings.all_settings import Settings

COUNT_ATTEMPT = statement("attempts/count_attempt", "one")
GET_WAIT = statement("attempts/get_wait", "one")
TAKE_BACK_ATTEMPT = statement("attempts/take_back_attempt", "exec")

TRY_AGAIN_AFTER = (1.0, 5.0, 30.0)  # seconds
SIGN_UP_WINDOW = timedelta(hours=1)


class Limit(NamedTuple):
    """So many within a time, for each of what is named by `who`."""

    kind: str
    who: Sequence[str]
    most: int
    window: timedelta


class Counted(NamedTuple):
    bucket: bytes
    at: str  # for PostgreSQL alone


@dataclass
class Attempt:
    """Taken back at the end, unless whoever makes it says that it stays."""

    network: str
    stays: bool = False
    counted: list[Counted] = field(default_factory=list)


class RateLimits:
    def __init__(self, database: Database, background: Background, upkeep: Cleanup, settings: Settings) -> None:
        self._database = database
        self._background = background
        self._upkeep = upkeep
        self._settings = settings
        self._login_window = timedelta(seconds=settings.login_window)
        # A key of its own, made of the secret that every copy shares.
        self._key = hmac.digest(settings.require_secret().encode(), b"attempts", "sha256")

    @asynccontextmanager
    async def log_in(self, email: str, network: str) -> AsyncIterator[Attempt]:
        """RATE_LIMITED before the password is looked at. The first limit is the narrowest: what it refuses is not
        counted by the others, so that one address cannot lock an account for everybody. `count_email` is the third,
        once the account has been looked up."""
        given, window = self._settings, self._login_window
        limits = [
            Limit("login of an email from an address", (email, network), given.login_failures, window),
            Limit("login from an address", (network,), given.login_failures_per_address, window),
        ]
        async with self._counted(limits, network) as attempt:
            yield attempt

    async def count_email(self, attempt: Attempt, email: str, *, is_known_network: bool) -> None:
        """Addresses known to the user and all others are counted apart: failures from many strange addresses lock out
        strange addresses alone. Both take the same statements, so the time of an answer does not tell them apart."""
        kind = "login of an email from known addresses" if is_known_network else "login of an email"
        limit = Limit(kind, (email,), self._settings.login_failures_per_email, self._login_window)
        await self._count(attempt, limit)

    @asynccontextmanager
    async def check_password(self, user_id: UUID, network: str) -> AsyncIterator[Attempt]:
        """The password of a valid token's user, counted for the user and the address alone: no failed login, and no
        other address, keeps the user from changing it. A stolen token is worth `LOGIN_FAILURES` guesses from each
        address; a limit over all addresses would let the thief lock the user out. The user ends it by logging out
        everywhere, which needs no password."""
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
            self._upkeep.consider()
            yield attempt
        finally:
            if not attempt.stays:
                for each in attempt.counted:
                    await self._take_back(each)

    async def _count(self, attempt: Attempt, limit: Limit) -> None:
        if not limit.most:
            return
        bucket = self._bucket(limit)
        row = await self._database.one(COUNT_ATTEMPT, bucket=bucket, most=limit.most, window=limit.window)
        if row is not None:
            attempt.counted.append(Counted(bucket, row["attempted_at"]))
            return
        wait = await self._database.one(GET_WAIT, bucket=bucket, most=limit.most, window=limit.window)
        remaining = None if wait is None else wait["remaining"]  # nothing, where somebody took one back meanwhile
        seconds = 1 if remaining is None else max(1, math.ceil(remaining.total_seconds()))
        raise NotNow(f"{limit.kind}, {limit.most} times; {attempt.network}", seconds, Code.RATE_LIMITED)

    async def _take_back(self, counted: Counted, pauses: Sequence[float] = TRY_AGAIN_AFTER) -> None:
        """Whether it works is not for the answer to say; while it does not, it is tried again behind it."""
        try:
            await self._database.execute(TAKE_BACK_ATTEMPT, bucket=counted.bucket, attempted_at=counted.at)
        except Problem:
            if not pauses:
                raise
            self._background.run(self._take_back_later(counted, *pauses))

    async def _take_back_later(self, counted: Counted, pause: float, *pauses: float) -> None:
        await asyncio.sleep(pause)
        await self._take_back(counted, pauses)

    def _bucket(self, limit: Limit) -> bytes:
        named = "\0".join([limit.kind, *limit.who])
        return hmac.digest(self._key, named.encode(errors="surrogatepass"), "sha256")
