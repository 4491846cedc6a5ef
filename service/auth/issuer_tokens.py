"""Tokens of other issuers, such as Better Auth.

The claim `iss` selects the issuer, the setting AUTH_ISSUERS its algorithms, and the claim `sub` names the user.
"""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from uuid import UUID

from service.auth.claims import Claims, check_lifetime, invalid, verify_signature
from service.auth.issuer_keys import KeySet
from service.auth.key_fetch import Fetch, fetcher
from service.auth.token_cache import Verified
from service.field_rules import normal_email
from service.settings.issuers import Issuer

# Maps issuer, subject, email and time of issue to a user, who is created with the first token.
FindUser = Callable[[str, str, str | None, float], Awaitable[UUID]]

LEEWAY_SECONDS = 30  # by which the issuer's clock and ours may differ
MAX_SUBJECT_CHARACTERS = 255


class IssuerTokens:
    def __init__(
        self, issuers: tuple[Issuer, ...], find_user: FindUser, fetcher: Callable[[str], Fetch] = fetcher
    ) -> None:
        self._issuers = {each.issuer: each for each in issuers}
        self._keys = {each.issuer: KeySet(each, fetcher(each.jwks_url)) for each in issuers if each.secret is None}
        self._find_user = find_user

    @property
    def key_sets(self) -> dict[int, KeySet]:
        """The keys of each issuer that publishes them, by its position in AUTH_ISSUERS, from 1."""
        places = enumerate(self._issuers, start=1)
        return {place: self._keys[issuer] for place, issuer in places if issuer in self._keys}

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
            claims, is_key_current = verify_signature(token, issuer.secret.get_secret_value(), issuer.algorithms), None
        else:
            claims, is_key_current = await self._verify_with_published_key(token, header, self._keys[issuer.issuer])
        if claims is None:
            raise invalid("not signed with the issuer's key")
        start, end = check_lifetime(claims, time.time(), LEEWAY_SECONDS)
        user_id = await self._user(issuer, claims)
        return Verified(user_id, start, end, is_key_current)

    async def _verify_with_published_key(
        self, token: str, header: dict[str, object], keys: KeySet
    ) -> tuple[Claims | None, Callable[[], bool]]:
        kid = header.get("kid")
        if kid is not None and not isinstance(kid, str):
            raise invalid("kid is no text")
        key = await keys.find(kid)
        if key is None:
            raise invalid("signed with a key that the issuer does not publish")
        claims = verify_signature(token, key.public, key.algorithms)
        if claims is None and (newer := await keys.newer(key, kid)) is not None:
            key, claims = newer, verify_signature(token, newer.public, newer.algorithms)
        return claims, partial(keys.is_current, key, kid)

    async def _user(self, issuer: Issuer, claims: Claims) -> UUID:
        audience = claims.get("aud")
        if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
            raise invalid("made for another audience")
        # A token without `iat` counts as the oldest possible, so that any revocation covers it.
        issued_at = float(claims.get("iat", 0))
        return await self._find_user(issuer.issuer, _subject(claims), _email(claims), issued_at)


def _subject(claims: Claims) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SUBJECT_CHARACTERS or not _is_storable(subject):
        raise invalid("sub is no text of 1 to 255 characters")
    return subject


def _email(claims: Claims) -> str | None:
    """The email if it can be stored, else None: a bad email is no reason to refuse the token."""
    email = claims.get("email")
    return normal_email(email) if isinstance(email, str) else None


def _is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
