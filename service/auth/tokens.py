"""The service's own tokens: HS256, signed with the secret, verified with it or with the one before it."""

import time
from uuid import UUID

import jwt

from service.auth.claims import Claims, invalid, lifetime, signed
from service.auth.token_cache import Verified
from service.formats import parse_uuid

ALGORITHM = "HS256"
LAST_GENERATION = 2**63 - 1  # what the column can hold


class Tokens:
    def __init__(self, secret: str, old_secret: str | None, lifetime_hours: int) -> None:
        self._secret = secret
        self._secrets = [secret] if old_secret is None else [secret, old_secret]
        self._lifetime = lifetime_hours * 3600

    def issue(self, user_id: UUID, email: str, generation: int) -> str:
        now = int(time.time())
        user = str(user_id)
        claims = {"sub": user, "user_id": user, "email": email, "gen": generation}
        claims |= {"iat": now, "exp": now + self._lifetime}
        return jwt.encode(claims, self._secret, ALGORITHM)

    def verify(self, token: str) -> Verified:
        """What a good token says. Whether its user still exists, and has not revoked it, is for the database to say."""
        claims = self._signed_claims(token)
        start, end = lifetime(claims, time.time())
        if "aud" in claims:
            raise invalid("made for an audience, and this service is none")
        return Verified(_user_of(claims), start, end, generation=_generation_of(claims))

    def _signed_claims(self, token: str) -> Claims:
        for secret in self._secrets:
            claims = signed(token, secret, [ALGORITHM])
            if claims is not None:
                return claims
        raise invalid("signed with another secret")


def _generation_of(claims: Claims) -> int:
    """A token from before there were generations is of the first."""
    generation = claims.get("gen", 0)
    if type(generation) is not int or not 0 <= generation <= LAST_GENERATION:
        raise invalid("gen is no generation")
    return generation


def _user_of(claims: Claims) -> UUID:
    named = [claims[name] for name in ("sub", "user_id") if name in claims]
    users = {parse_uuid(value) if isinstance(value, str) else None for value in named}
    if len(users) != 1 or None in users:
        raise invalid("sub and user_id name no user, or two")
    return next(user for user in users if user is not None)
