"""The service's own tokens: HS256, signed with the current secret, verified with it or the previous one."""

import time
from uuid import UUID

import jwt

from service.auth.claims import Claims, check_lifetime, invalid, verify_signature
from service.auth.token_cache import Verified
from service.formats import parse_uuid

ALGORITHM = "HS256"
MAX_GENERATION = 2**63 - 1  # the largest bigint


class Tokens:
    def __init__(self, secret: str, old_secret: str | None, lifetime_hours: int) -> None:
        self._secret = secret
        self._secrets = [secret] if old_secret is None else [secret, old_secret]
        self._lifetime_seconds = lifetime_hours * 3600

    def issue(self, user_id: UUID, email: str, generation: int) -> str:
        now = int(time.time())
        user = str(user_id)
        claims = {"sub": user, "user_id": user, "email": email, "gen": generation}
        claims |= {"iat": now, "exp": now + self._lifetime_seconds}
        return jwt.encode(claims, self._secret, ALGORITHM)

    def verify(self, token: str) -> Verified:
        """Checks signature and claims. token_users.py checks that the user exists and has not revoked the token."""
        claims = self._signed_claims(token)
        start, end = check_lifetime(claims, time.time())
        if "aud" in claims:
            raise invalid("made for an audience, and this service is none")
        return Verified(_user_of(claims), start, end, generation=_generation_of(claims))

    def _signed_claims(self, token: str) -> Claims:
        for secret in self._secrets:
            claims = verify_signature(token, secret, [ALGORITHM])
            if claims is not None:
                return claims
        raise invalid("signed with another secret")


def _generation_of(claims: Claims) -> int:
    """The claim `gen`, or 0 for a token from before generations existed."""
    generation = claims.get("gen", 0)
    if type(generation) is not int or not 0 <= generation <= MAX_GENERATION:
        raise invalid("gen is no generation")
    return generation


def _user_of(claims: Claims) -> UUID:
    named = [claims[name] for name in ("sub", "user_id") if name in claims]
    users = {parse_uuid(value) if isinstance(value, str) else None for value in named}
    if len(users) != 1 or None in users:
        raise invalid("sub and user_id name no user, or two")
    return next(user for user in users if user is not None)
