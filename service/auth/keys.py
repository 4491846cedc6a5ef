"""The keys that an issuer publishes: fetched beside the requests, kept while it is away, and never taken on trust."""

import asyncio
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt
from cryptography.exceptions import UnsupportedAlgorithm

from service.auth.issuers import Issuer
from service.errors import NotNow

REFRESH_AFTER = 600.0  # keys are fetched anew from time to time, so that one that was withdrawn is noticed
MAX_AGE = 24 * 3600.0  # for so long the keys of an issuer that is away are good
COOLDOWN = 10.0  # after a fetch in vain; made-up key ids cost no more than one fetch each time
FETCH_TIMEOUT = 5.0
MAX_BYTES = 256 * 1024
MAX_KEYS = 100
RSA_BITS = range(2048, 8192 + 1)

# What a key must be for an algorithm: kty, and crv where there are several.
KEY_TYPES = {
    "EdDSA": ("OKP", "Ed25519"), "ES256": ("EC", "P-256"), "ES512": ("EC", "P-521"),
    "RS256": ("RSA", None), "PS256": ("RSA", None),
}  # fmt: skip
# Who publishes one of these has published the private key, or a shared one: anybody could sign.
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

Fetch = Callable[[str], Awaitable[bytes]]

_log = logging.getLogger("service.auth.keys")


class UnusableError(Exception):
    """What was fetched is no set of keys that could verify anything."""


@dataclass(frozen=True)
class Key:
    jwk: dict[str, Any]
    algorithms: tuple[str, ...]  # those of the setting that fit it; the header of a token chooses among these alone
    public: Any = field(compare=False)

    @property
    def kid(self) -> str | None:
        return self.jwk.get("kid")


class KeySet:
    """One issuer's keys. At most one fetch is under way, whoever waits for it."""

    def __init__(self, issuer: Issuer, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str | None, Key] = {}
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

    async def find(self, kid: str | None) -> Key | None:
        """None where the issuer has no such key. OVERLOADED where that cannot be known now."""
        if self._are_good and self._clock() - self._fetched_at > REFRESH_AFTER and not self._is_cooling:
            self.refresh()
        key = self._get(kid)
        if key is None and not self._is_cooling:
            await asyncio.shield(self.refresh())
            key = self._get(kid)
            if key is None:
                self._in_vain_at = self._clock()
        if key is None and (self._failed or not self._are_good):
            wait = math.ceil(max(1.0, self._in_vain_at + COOLDOWN - self._clock()))
            raise NotNow(f"no keys of {self._issuer.issuer}", wait)
        return key

    def is_current(self, key: Key) -> bool:
        return self._are_good and self._keys.get(key.kid) == key

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

    def _get(self, kid: str | None) -> Key | None:
        if not self._are_good:
            return None
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    async def _refresh(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                self._keys = read_keys(await self._fetch(self._issuer.jwks_url), self._issuer.algorithms)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError, UnusableError) as error:
            # Good keys outlive a bad answer.
            self._failed, self._in_vain_at = True, self._clock()
            age = (
                f"those of {self._clock() - self._fetched_at:.0f} s ago are kept"
                if self._are_good
                else "there are none"
            )
            _log.warning("keys of %s: %s (%s); %s", self._issuer.issuer, type(error).__name__, error, age)
        else:
            self._failed, self._fetched_at = False, self._clock()
            _log.info("keys of %s: %s", self._issuer.issuer, ", ".join(str(kid) for kid in self._keys))
        finally:
            self._fetching = None


def read_keys(body: bytes, algorithms: Sequence[str]) -> dict[str | None, Key]:
    """The usable keys by their id. Two with one id are none: nobody could say which was meant."""
    published = json.loads(body)
    jwks = published.get("keys") if isinstance(published, dict) else None
    if not isinstance(jwks, list) or len(jwks) > MAX_KEYS:
        raise UnusableError("no list of keys, or too long a one")
    kids = [jwk.get("kid") for jwk in jwks if isinstance(jwk, dict)]
    keys = [key for jwk in jwks if (key := _read(jwk, algorithms)) and kids.count(key.kid) == 1]
    if not keys:
        raise UnusableError("no key among them that could be used")
    return {key.kid: key for key in keys}


def _read(jwk: Any, algorithms: Sequence[str]) -> Key | None:
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
    if jwk["kty"] == "RSA" and public.key_size not in RSA_BITS:
        return None
    return Key(jwk, fitting, public)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def fetcher(client: httpx.AsyncClient) -> Fetch:
    async def fetch(url: str) -> bytes:
        """No redirect is followed, and no more is read than a list of keys can need."""
        async with client.stream("GET", url) as response:
            if response.status_code != 200 or response.headers.get("content-encoding"):
                raise UnusableError(f"answered {response.status_code}")
            body = b""
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise UnusableError(f"more than {MAX_BYTES} bytes")
            return body

    return fetch


def client() -> httpx.AsyncClient:
    return httpx.AsyncClient(
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        follow_redirects=False,
        timeout=FETCH_TIMEOUT,
    )
