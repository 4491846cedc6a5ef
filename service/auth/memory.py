"""Tokens that were verified once, so that it is not done again for every request."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

SIZE = 10_000


def always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose token it was, and for how long nothing that the verifier looked at can have changed."""

    user_id: UUID
    start: float
    end: float
    is_key_current: Callable[[], bool] = always

    def is_good(self, now: float) -> bool:
        return self.start <= now < self.end and self.is_key_current()


class Memory:
    """By a digest, so that no token lies in memory to be found. The one that was not used for longest goes first."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._verified: OrderedDict[bytes, Verified] = OrderedDict()

    def recall(self, token: str) -> UUID | None:
        digest = _digest(token)
        found = self._verified.get(digest)
        if found is None:
            return None
        if not found.is_good(time.time()):
            del self._verified[digest]
            return None
        self._verified.move_to_end(digest)
        return found.user_id

    def remember(self, token: str, verified: Verified) -> UUID:
        self._verified[_digest(token)] = verified
        if len(self._verified) > self._size:
            self._verified.popitem(last=False)
        return verified.user_id


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
