"""Tokens of other issuers: who signed is chosen by `iss`, how by the setting, and the user is the issuer's subject."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from service.auth.claims import Claims, invalid, lifetime, signed
from service.auth.issuer_keys import KeySet
from service.auth.key_fetch import Fetch, fetcher
from service.auth.token_cache import Verified
from service.field_rules import normal_email
from service.settings.issuers import Issuer

# Of the issuer, its subject, the email that the token says and when it was issued: the user, made at first sight.
FindUser = Callable[[str, str, str | None, float], Awaitable[UUID]]

LEEWAY = 30  # seconds between their clock and ours
MAX_SUBJECT = 255


class IssuerTokens:
    def __init__(
        self, issuers: tuple[Issuer, ...], find_user: FindUser, fetcher: Callable[[str], Fetch] = fetcher
    ) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._keys = {each.issuer: KeySet(each, fetcher(each.jwks_url)) for each in issuers if each.secret is None}
        self._find_user = find_user

    def start(self) -> None:
        for keys in self._keys.values():
            keys.start()

    def close(self) -> None:
        for keys in self._keys.values():
            keys.close()

    async def verify(self, token: str, header: dict[str, object], iss: object) -> Verified:
        issuer = self._issuers.get(iss) if isinstance(iss, str) else None
        if issuer is None:
            raise invalid("of an issuer that is not in AUTH_ISSUERS")
        if issuer.secret is not None:
            claims, is_key_current = signed(token, issuer.secret.get_secret_value(), issuer.algorithms), None
        else:
            claims, is_key_current = await self._signed(token, header, self._keys[issuer.issuer])
        if claims is None:
            raise invalid("not signed with the issuer's key")
        start, end = lifetime(claims, time.time(), LEEWAY)
        user_id = await self._user(issuer, claims)
        return Verified(user_id, start, end, is_key_current)

    async def _signed(
        self, token: str, header: dict[str, object], keys: KeySet
    ) -> tuple[Claims | None, Callable[[], bool]]:
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise invalid("kid is no text")
        key = await keys.find(kid)
        if key is None:
            raise invalid("signed with a key that the issuer does not publish")
        claims = signed(token, key.public, key.algorithms)
        if claims is None and (newer := await keys.newer(key, kid)) is not None:
            key, claims = newer, signed(token, newer.public, newer.algorithms)
        return claims, partial(keys.is_current, key, kid)

    async def _user(self, issuer: Issuer, claims: Claims) -> UUID:
        audience = claims.get("aud")
        if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
            raise invalid("made for another audience")
        # One that does not say when is as old as can be: after a revocation nobody could tell.
        issued_at = float(claims.get("iat", 0))
        return await self._find_user(issuer.issuer, _subject(claims), _email(claims), issued_at)


def _subject(claims: Claims) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT or not _is_storable(subject):
        raise invalid("sub is no text of 1 to 255 characters")
    return subject


def _email(claims: Claims) -> str | None:
    """What could not be stored is no address, and no reason to refuse its owner."""
    email = claims.get("email")
    return normal_email(email) if isinstance(email, str) else None


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
