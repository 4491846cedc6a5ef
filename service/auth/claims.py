"""What a token says: read without trust, and judged once the signature is known to be good."""

import re
from collections.abc import Sequence
from typing import Any

import jwt

from service import strict_json
from service.errors import Code, Problem

Claims = dict[str, Any]

# PyJWT's decoder passes over characters that are no base64url, so that one token could be written in many ways.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

# datetime's last year. A later time is none at all.
_LATEST = 253402300799

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
_NOTHING: Any = _SIGNATURE_ONLY | {"verify_signature": False}

UNREADABLE = (jwt.PyJWTError, ValueError, RecursionError)


def untrusted(token: str) -> tuple[dict[str, Any], Claims]:
    """Header and claims of whoever wrote them: good enough to choose the keys by, and for nothing else."""
    if not _COMPACT.fullmatch(token):
        raise invalid("not three parts of base64url")
    try:
        complete = jwt.decode_complete(token, options=_NOTHING)
        for part in token.split(".")[:2]:
            strict_json.read(jwt.utils.base64url_decode(part))
    except UNREADABLE as error:
        raise invalid(type(error).__name__) from None
    return complete["header"], complete["payload"]


def signed(token: str, key: Any, algorithms: Sequence[str]) -> Claims | None:
    """None where another key would have to be tried."""
    try:
        claims: Claims = jwt.decode(token, key, list(algorithms), _SIGNATURE_ONLY)
    except jwt.InvalidSignatureError:
        return None
    except UNREADABLE as error:
        raise invalid(type(error).__name__) from None
    return claims


def lifetime(claims: Claims, now: float, leeway: int = 0) -> tuple[float, float]:
    """From when until when the token is good, leeway included; refused where that is not now."""
    exp = claims.get("exp")
    if type(exp) is not int or exp > _LATEST:  # `true` is an int to isinstance
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
    if type(value) not in (int, float) or not -_LATEST <= value <= _LATEST:  # NaN is on neither side
        raise invalid(f"{name} is no time")
    return float(value)


def invalid(why: str) -> Problem:
    return Problem(Code.INVALID_TOKEN, reason=why)
