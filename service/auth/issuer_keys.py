"""The keys that an issuer publishes: fetched beside the requests, kept while it is away, and never taken on trust."""

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
from service.errors import NotNow
from service.settings.issuers import Issuer, UnusableError

REFRESH_AFTER = 600.0  # keys are fetched anew from time to time, so that one that was withdrawn is noticed
MAX_AGE = 24 * 3600.0  # for so long the keys of an issuer that is away are good
COOLDOWN = 3.0  # after a fetch in vain; made-up key ids cost no more than one fetch each time
MAX_WAITING = 100  # requests with a key id that is not known, until the cooldown is over
MAX_KEYS = 100
RSA_BITS = range(2048, 8192 + 1)

# What a key must be for an algorithm: kty, and crv where there are several.
KEY_TYPES = {
    "EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256"), "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None), "PS256": ("RSA", None),
}  # fmt: skip
# Who publishes one of these has published the private key, or a shared one: anybody could sign.
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

# The y of the points of order 1, 2, 4 and 8 on the curve of Ed25519.
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
    jwk: dict[str, Any]
    algorithms: tuple[str, ...]  # those of the setting that fit it; the header of a token chooses among these alone
    public: Any = field(compare=False)

    @property
    def kid(self) -> str | None:
        return self.jwk.get("kid")


class KeySet:
    """One issuer's keys. At most one fetch is under way, whoever waits for it."""

    def __init__(
        self, issuer: Issuer, fetch: Fetch, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._sleep = sleep
        self._waiting = 0
        self._looked_at = -math.inf  # when the last fetch began that brought keys
        self._keys: dict[str | None, IssuerKey] = {}
        self._fetched_at = -math.inf
        self._in_vain_at = -math.inf
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None
        self._warming: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The first fetch goes beside the start. An issuer may have no key yet: Better Auth makes one with its first
        token, and whoever comes with it does not wait for a cooldown that nobody has caused."""
        self._warming = asyncio.create_task(self._warm())

    async def _warm(self) -> None:
        await asyncio.shield(self.refresh())
        self._in_vain_at = -math.inf

    async def find(self, kid: str | None) -> IssuerKey | None:
        """None where the issuer publishes no such key, as of a look that is later than the question. OVERLOADED where
        that cannot be known now."""
        asked_at = self._clock()
        if self._are_good and asked_at - self._fetched_at > REFRESH_AFTER and not self._is_cooling:
            self.refresh()
        while (key := self._get(kid)) is None and self._looked_at < asked_at:
            if self._is_cooling:
                await self._cool()
            else:
                await asyncio.shield(self.refresh())
                if self._get(kid) is None:
                    self._in_vain_at = self._clock()
        return key

    async def newer(self, key: IssuerKey, kid: str | None) -> IssuerKey | None:
        """Another key under the same id, which explains a signature that this one does not fit."""
        if not self._is_cooling:
            await asyncio.shield(self.refresh())
            if self._get(kid) == key:
                self._in_vain_at = self._clock()
        found = self._get(kid)
        return None if found == key else found

    async def _cool(self) -> None:
        """Waits until the issuer may be asked again, when there is a point in it, and not with too many others."""
        wait = max(0.0, self._in_vain_at + COOLDOWN - self._clock())
        if self._failed or not self._are_good or self._waiting >= MAX_WAITING:
            raise NotNow(f"no keys of {self._issuer.issuer}", math.ceil(max(1.0, wait)))
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
        for task in (self._warming, self._fetching):
            if task is not None:
                task.cancel()

    @property
    def _are_good(self) -> bool:
        return bool(self._keys) and self._clock() - self._fetched_at <= MAX_AGE

    @property
    def _is_cooling(self) -> bool:
        return self._clock() - self._in_vain_at < COOLDOWN

    def _get(self, kid: str | None) -> IssuerKey | None:
        if not self._are_good:
            return None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        began_at = self._clock()
        try:
            self._keys = read_keys(await self._fetch(), self._issuer.algorithms)
        except (OSError, ValueError, RecursionError, UnusableError) as error:
            # Good keys outlive a bad answer.
            self._failed, self._in_vain_at = True, self._clock()
            age = (
                f"those of {self._clock() - self._fetched_at:.0f} s ago are kept"
                if self._are_good
                else "there are none"
            )
            said = str(error) if isinstance(error, UnusableError) else f"{type(error).__name__} {error}"
            why = ascii(said)[1:-1][:200]  # of a stranger's making
            _log.warning("keys of %s: %s; %s", self._issuer.issuer, why, age)
        else:
            self._failed, self._fetched_at, self._looked_at = False, self._clock(), began_at
            _log.info("keys of %s: %d", self._issuer.issuer, len(self._keys))
        finally:
            self._fetching = None


def read_keys(body: bytes, algorithms: Sequence[str]) -> dict[str | None, IssuerKey]:
    """The usable keys by their id. Two with one id are none: nobody could say which was meant."""
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
    if jwk.get("use", "sig") != "sig" or "verify" not in _list(jwk.get("key_ops", ["verify"])):
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
    """Under such a key anybody can write a signature that fits."""
    return (int.from_bytes(point, "little") & (1 << 255) - 1) % ED25519_PRIME in SMALL_ORDER


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
