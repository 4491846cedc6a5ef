"""The headers Idempotency-Key and Idempotency-Replayed."""

import hashlib
import re

from service.domain.idempotency import Answer, IdempotencyKey
from service.errors import Code, Problem
from service.http.request import Request

MAX_KEY_CHARACTERS = 255
_KEY = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_CHARACTERS}}}")


def idempotency_key(request: Request) -> IdempotencyKey | None:
    """None if the request has no key. Its digest is of path and body, byte for byte."""
    given = request.headers.getall("idempotency-key", [])
    if not given:
        return None
    if len(given) > 1 or not _KEY.fullmatch(given[0]):
        raise Problem(Code.INVALID_REQUEST, f"Idempotency-Key must be 1 to {MAX_KEY_CHARACTERS} visible characters")
    path = request.path.rstrip("/")  # which is the same path
    digest = hashlib.sha256(b"%b\n%b" % (path.encode(), request.body)).digest()
    return IdempotencyKey(given[0], digest, request.app.ctx.idempotency_hours)


def replayed(answer: Answer) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if answer.is_replayed else {}
