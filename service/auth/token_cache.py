"""A cache of verified tokens, so that a token is not verified again for every request."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

MAX_TOKENS = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """The result of verifying a token: its user, and when it is valid (seconds since 1970)."""

    user_id: UUID
    start: float
    end: float
    is_key_current: Callable[[], bool] | None = None  # for issuers that publish keys: they may withdraw one
    generation: int | None = None  # for our own tokens: the database can revoke a generation

    def is_good(self, now: float) -> bool:
        return self.start <= now < self.end and (self.is_key_current is None or self.is_key_current())


class CachedToken(NamedTuple):
    verified: Verified
    recheck_at: float  # monotonic; from then on the database is asked again whether the token is revoked


class TokenCache:
    """An LRU cache with the SHA-256 digests of tokens as keys, so that no token can be read from memory.

    `remember` counts as a use, `recall` does not: a token in use is rechecked, and so remembered, every few seconds."""

    def __init__(self, size: int = MAX_TOKENS) -> None:
        self._size = size
        self._tokens: OrderedDict[bytes, CachedToken] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def recall(self, token: str) -> CachedToken | None:
        found = self._tokens.get(_digest(token))
        return found if found is not None and found.verified.is_good(time.time()) else None

    def remember(self, token: str, verified: Verified, recheck_at: float) -> None:
        digest = _digest(token)
        self._tokens[digest] = CachedToken(verified, recheck_at)
        self._tokens.move_to_end(digest)
        if len(self._tokens) > self._size:
            self._tokens.popitem(last=False)

    def forget(self, user_id: UUID) -> None:
        """Removes all tokens of a user. This searches every entry: at most a millisecond, and rarely needed."""
        of_user = [digest for digest, found in self._tokens.items() if found.verified.user_id == user_id]
        for digest in of_user:
            del self._tokens[digest]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
