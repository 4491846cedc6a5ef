"""Tokens that were verified once, so that it is not done again for every request."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

SIZE = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose token it is, and for how long the token itself is good."""

    user_id: UUID
    start: float
    end: float
    is_key_current: Callable[[], bool] | None = None  # where an issuer may withdraw it
    generation: int | None = None  # of our own tokens, which the database can revoke

    def is_good(self, now: float) -> bool:
        return self.start <= now < self.end and (self.is_key_current is None or self.is_key_current())


class Remembered(NamedTuple):
    verified: Verified
    recheck_at: float  # monotonic; then the database is asked again whether the user has revoked it


class TokenCache:
    """By a digest, so that no token lies in memory to be found. The one that was not asked about for longest goes
    first; what is in use is asked about again and again."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._remembered: OrderedDict[bytes, Remembered] = OrderedDict()

    def recall(self, token: str) -> Remembered | None:
        found = self._remembered.get(_digest(token))
        return found if found is not None and found.verified.is_good(time.time()) else None

    def remember(self, token: str, verified: Verified, recheck_at: float) -> None:
        digest = _digest(token)
        self._remembered[digest] = Remembered(verified, recheck_at)
        self._remembered.move_to_end(digest)
        if len(self._remembered) > self._size:
            self._remembered.popitem(last=False)

    def forget(self, user_id: UUID) -> None:
        """A look at every entry, a millisecond at the most, for what a user does once in a while."""
        of_user = [digest for digest, found in self._remembered.items() if found.verified.user_id == user_id]
        for digest in of_user:
            del self._remembered[digest]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
