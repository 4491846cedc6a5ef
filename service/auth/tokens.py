"""The service's own tokens: HS256, signed with the secret, verified with it or with the one before it."""

import re
import time
from typing import Any
from uuid import UUID

import jwt

from service.errors import Code, Problem
from service.ids import parse_uuid

ALGORITHM = "HS256"

# PyJWT's decoder passes over characters that are no base64url, so that one token could be written in many ways.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

# datetime's last year. A later `exp` is no time at all.
_LATEST_EXP = 253402300799

# The signature is PyJWT's to judge. The claims are judged here, because the order counts: an expired token is expired
# whatever else is wrong with it, and PyJWT lets through an `exp` that is a text, a float or `true`.
_SIGNATURE_ONLY: Any = {
    "verify_signature": True,
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class Tokens:
    def __init__(self, secret: str, old_secret: str | None, lifetime_hours: int) -> None:
        self._secret = secret
        self._secrets = [secret] if old_secret is None else [secret, old_secret]
        self._lifetime = lifetime_hours * 3600

    def issue(self, user_id: UUID, email: str) -> str:
        now = int(time.time())
        user = str(user_id)
        claims = {"sub": user, "user_id": user, "email": email, "iat": now, "exp": now + self._lifetime}
        return jwt.encode(claims, self._secret, ALGORITHM)

    def verify(self, token: str) -> UUID:
        """The user of a good token. Whether that user still exists is for the statement of the route to find out."""
        claims = self._signed_claims(token)
        now = time.time()
        _check_times(claims, now)
        if "aud" in claims:
            raise _invalid("made for an audience, and this service is none")
        return _user_of(claims)

    def _signed_claims(self, token: str) -> dict[str, Any]:
        if not _COMPACT.fullmatch(token):
            raise _invalid("not three parts of base64url")
        for secret in self._secrets:
            try:
                return jwt.decode(token, secret, [ALGORITHM], _SIGNATURE_ONLY)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ValueError, RecursionError) as error:
                raise _invalid(type(error).__name__) from None
        raise _invalid("signed with another secret")


def _check_times(claims: dict[str, Any], now: float) -> None:
    exp = claims.get("exp")
    if type(exp) is not int or exp > _LATEST_EXP:  # `true` is an int to isinstance
        raise _invalid("exp is missing, or no time")
    if exp <= now:
        raise Problem(Code.TOKEN_EXPIRED)
    if "nbf" in claims:
        nbf = claims["nbf"]
        if type(nbf) not in (int, float) or not -_LATEST_EXP <= nbf <= now:  # NaN is on neither side
            raise _invalid("nbf has not passed, or is no time")


def _user_of(claims: dict[str, Any]) -> UUID:
    named = [claims[name] for name in ("sub", "user_id") if name in claims]
    users = {parse_uuid(value) if isinstance(value, str) else None for value in named}
    if len(users) != 1 or None in users:
        raise _invalid("sub and user_id name no user, or two")
    return next(user for user in users if user is not None)


def _invalid(why: str) -> Problem:
    return Problem(Code.INVALID_TOKEN, reason=why)
