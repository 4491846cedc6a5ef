"""The public keys (JWKS) of an issuer: fetched in the background, cached while it is away, and validated."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from service import strict_json
from service.auth.key_fetch import Fetch
from service.errors import RetryLater
from service.settings.issuers import Issuer, UnusableError

REFRESH_AFTER_SECONDS = 600.0  # keys older than this are fetched again, to notice one that was withdrawn
MAX_AGE_SECONDS = 24 * 3600.0  # cached keys are used for this long while the issuer is away
COOLDOWN_SECONDS = 3.0  # after a fetch that failed or lacked the key, so that invented key ids cause few fetches
MAX_WAITING_REQUESTS = 100  # with an unknown key id, for the end of the cooldown
MAX_KEYS = 100
RSA_BITS = range(2048, 8192 + 1)

# The key type that each algorithm needs: kty, and crv where a type has several curves.
KEY_TYPES = {
    "EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256"), "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None), "PS256": ("RSA", None),
}  # fmt: skip
# Members of a private or shared key. An issuer that publishes one of them lets anyone sign tokens.
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

# The y coordinates of the points of order 1, 2, 4 and 8 on the curve of Ed25519.
ED25519_PRIME = 2**255 - 19
SMALL_ORDER = {0, 1, ED25519_PRIME - 1} | {
    int.from_bytes(bytes.fromhex(y), "little")
    for y in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
}

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

_log = logging.getLogger("service.auth.issuer_keys")


@dataclass(frozen=True)
class IssuerKey:
    """A published key that passed all checks."""

    jwk: dict[str, Any]
    algorithms: tuple[str, ...]  # that the setting allows and the key fits; a token's header chooses among these only
    public: Any = field(compare=False)

    @property
    def kid(self) -> str | None:
        return self.jwk.get("kid")


class KeySet:
    """The keys of one issuer. All requests that need a fetch share one."""

    def __init__(
        self, issuer: Issuer, fetch: Fetch, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._sleep = sleep
        self.failures = 0  # fetches that failed, since the start
        self._waiting = 0
        self._last_fetch_began_at = -math.inf  # of successful fetches only
        self._keys: dict[str | None, IssuerKey] = {}
        self._fetched_at = -math.inf
        self._last_miss_at = -math.inf
        self._has_last_fetch_failed = False
        self._fetching: asyncio.Task[None] | None = None
        self._first_fetch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts the first fetch in the background; it causes no cooldown.

        The issuer may have no key yet, as Better Auth creates one with its first token. A request with that token must
        not wait for a cooldown."""
        self._first_fetch = asyncio.create_task(self._fetch_first())

    async def _fetch_first(self) -> None:
        await asyncio.shield(self.refresh())
        self._last_miss_at = -math.inf

    async def find(self, kid: str | None) -> IssuerKey | None:
        """The key with this id, or None if a fetch that began after this call shows that the issuer has no such key.

        Raises OVERLOADED if that cannot be found out now."""
        asked_at = self._clock()
        if self._has_good_keys and asked_at - self._fetched_at > REFRESH_AFTER_SECONDS and not self._is_cooling_down:
            self.refresh()
        while (key := self._get(kid)) is None and self._last_fetch_began_at < asked_at:
            if self._is_cooling_down:
                await self._wait_for_cooldown()
            else:
                await asyncio.shield(self.refresh())
                if self._get(kid) is None:
                    self._last_miss_at = self._clock()
        return key

    async def newer(self, key: IssuerKey, kid: str | None) -> IssuerKey | None:
        """The key that now replaces this one under the same id, or None. Used when a signature does not match."""
        if not self._is_cooling_down:
            await asyncio.shield(self.refresh())
            if self._get(kid) == key:
                self._last_miss_at = self._clock()
        found = self._get(kid)
        return None if found == key else found

    async def _wait_for_cooldown(self) -> None:
        """Waits for the cooldown to end. Raises OVERLOADED if the issuer is away, or too many requests wait already."""
        wait = max(0.0, self._last_miss_at + COOLDOWN_SECONDS - self._clock())
        if self._has_last_fetch_failed or not self._has_good_keys or self._waiting >= MAX_WAITING_REQUESTS:
            raise RetryLater(f"no keys of {self._issuer.issuer}", math.ceil(max(1.0, wait)))
        self._waiting += 1
        try:
            await self._sleep(wait)
        finally:
            self._waiting -= 1

    def is_current(self, key: IssuerKey, kid: str | None) -> bool:
        return self._get(kid) == key

    def refresh(self) -> "asyncio.Task[None]":
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._refresh())
        return self._fetching

    def close(self) -> None:
        for task in (self._first_fetch, self._fetching):
            if task is not None:
                task.cancel()

    @property
    def age(self) -> float:
        """Seconds since the last successful fetch; infinite before the first."""
        return self._clock() - self._fetched_at

    @property
    def _has_good_keys(self) -> bool:
        return bool(self._keys) and self._clock() - self._fetched_at <= MAX_AGE_SECONDS

    @property
    def _is_cooling_down(self) -> bool:
        return self._clock() - self._last_miss_at < COOLDOWN_SECONDS

    def _get(self, kid: str | None) -> IssuerKey | None:
        if not self._has_good_keys:
            return None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        began_at = self._clock()
        try:
            self._keys = read_keys(await self._fetch(), self._issuer.algorithms)
        except (OSError, ValueError, RecursionError, UnusableError) as error:
            # A failed fetch does not discard the keys of an earlier one.
            self.failures += 1
            self._has_last_fetch_failed, self._last_miss_at = True, self._clock()
            age = (
                f"those of {self._clock() - self._fetched_at:.0f} s ago are kept"
                if self._has_good_keys
                else "there are none"
            )
            said = str(error) if isinstance(error, UnusableError) else f"{type(error).__name__} {error}"
            why = ascii(said)[1:-1][:200]  # the issuer's answer can influence this text
            _log.warning("keys of %s: %s; %s", self._issuer.issuer, why, age)
        else:
            self._has_last_fetch_failed, self._fetched_at, self._last_fetch_began_at = False, self._clock(), began_at
            _log.info("keys of %s: %d", self._issuer.issuer, len(self._keys))
        finally:
            self._fetching = None


def read_keys(body: bytes, algorithms: Sequence[str]) -> dict[str | None, IssuerKey]:
    """The usable keys by their id. Keys that share an id are left out, because the id does not tell them apart."""
    published = strict_json.read(body)
    jwks = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(jwks, list) or len(jwks) > MAX_KEYS:
        raise UnusableError("no list of keys, or too long a one")
    kids = [jwk.get("kid") for jwk in jwks if isinstance(jwk, dict)]
    keys = [key for jwk in jwks if (key := _read(jwk, algorithms)) and kids.count(key.kid) == 1]
    if not keys:
        raise UnusableError("no key among them that could be used")
    return {key.kid: key for key in keys}


def _read(jwk: Any, algorithms: Sequence[str]) -> IssuerKey | None:
    if not isinstance(jwk, dict) or PRIVATE_MEMBERS & set(jwk) or not isinstance(jwk.get("kid", ""), str):
        return None
    if jwk.get("use", "sig") != "sig" or "verify" not in _as_list(jwk.get("key_ops", ["verify"])):
        return None
    fitting = tuple(
        name
        for name in algorithms
        if KEY_TYPES[name][0] == jwk.get("kty")
        and KEY_TYPES[name][1] in (None, jwk.get("crv"))
        and jwk.get("alg", name) == name
    )
    if not fitting:
        return None
    try:
        public = jwt.PyJWK(jwk, fitting[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, UnsupportedAlgorithm):
        return None
    if not _is_strong(jwk["kty"], public):
        return None
    return IssuerKey(jwk, fitting, public)


def _is_strong(kty: str, public: Any) -> bool:
    if kty == "RSA":
        return public.key_size in RSA_BITS and public.public_numbers().n % 2 == 1
    return kty != "OKP" or not _is_of_small_order(public.public_bytes_raw())


def _is_of_small_order(point: bytes) -> bool:
    """Whether anyone can forge signatures for this Ed25519 key."""
    return (int.from_bytes(point, "little") & (1 << 255) - 1) % ED25519_PRIME in SMALL_ORDER


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
