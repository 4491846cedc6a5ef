"""Parses a JWT, verifies its signature and checks its times."""

import re
from collections.abc import Sequence
from typing import Any

import jwt

from service import strict_json
from service.errors import Code, Problem

Claims = dict[str, Any]

# PyJWT's decoder skips characters that are not base64url, so one token could be written in many ways.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

# The end of the year 9999, datetime's last. A later time is invalid.
_LATEST_TIMESTAMP = 253402300799

# PyJWT verifies the signature only. The claims are checked here, for two reasons: an expired token must be reported as
# expired even if other claims are wrong too, and PyJWT accepts an `exp` that is a text, a float or `true`.
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
_NO_CHECKS: Any = _SIGNATURE_ONLY | {"verify_signature": False}

UNREADABLE = (jwt.PyJWTError, ValueError, RecursionError)


def read_unverified(token: str) -> tuple[dict[str, Any], Claims]:
    """Header and claims before the signature is verified. Use them only to choose the issuer and the key."""
    if not _COMPACT.fullmatch(token):
        raise invalid("not three parts of base64url")
    try:
        complete = jwt.decode_complete(token, options=_NO_CHECKS)
        for part in token.split(".")[:2]:
            strict_json.read(jwt.utils.base64url_decode(part))
    except UNREADABLE as error:
        raise invalid(type(error).__name__) from None
    return complete["header"], complete["payload"]


def verify_signature(token: str, key: Any, algorithms: Sequence[str]) -> Claims | None:
    """The claims, or None if the token was not signed with this key."""
    try:
        claims: Claims = jwt.decode(token, key, list(algorithms), _SIGNATURE_ONLY)
    except jwt.InvalidSignatureError:
        return None
    except UNREADABLE as error:
        raise invalid(type(error).__name__) from None
    return claims


def check_lifetime(claims: Claims, now: float, leeway: int = 0) -> tuple[float, float]:
    """When the token begins and ceases to be valid, leeway included. Raises a problem if that is not now."""
    exp = claims.get("exp")
    if type(exp) is not int or exp > _LATEST_TIMESTAMP:  # not isinstance: it takes `true` for an int
        raise invalid("exp is missing, or no time")
    if exp + leeway <= now:
        raise Problem(Code.TOKEN_EXPIRED)
    starts = [_time(claims, name) - leeway for name in ("nbf", "iat") if name in claims and (name == "nbf" or leeway)]
    start = max(starts, default=0.0)
    if start > now:
        raise invalid("nbf or iat has not passed")
    return start, float(exp + leeway)


def _time(claims: Claims, name: str) -> float:
    value = claims[name]
    if type(value) not in (int, float) or not -_LATEST_TIMESTAMP <= value <= _LATEST_TIMESTAMP:  # false for NaN as well
        raise invalid(f"{name} is no time")
    return float(value)


def invalid(why: str) -> Problem:
    return Problem(Code.INVALID_TOKEN, reason=why)
