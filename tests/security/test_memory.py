"""The cache of verified tokens: its size limit, and no hit once the verifier would refuse the token."""

import asyncio
import itertools
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from service.auth import issuer_tokens
from service.auth.issuer_keys import MAX_AGE_SECONDS, KeySet
from service.auth.issuer_tokens import IssuerTokens
from service.auth.token_cache import TokenCache, Verified
from service.errors import Problem
from service.settings.issuers import Issuer
from tests.issuers import claims_of, ed_key, published

FOREVER = float("inf")


def remembered(memory: TokenCache, token: str, user_id: UUID | None = None) -> UUID:
    user_id = user_id or uuid4()
    memory.remember(token, Verified(user_id, 0.0, FOREVER), FOREVER)
    return user_id


def user_of(memory: TokenCache, token: str) -> UUID | None:
    found = memory.recall(token)
    return None if found is None else found.verified.user_id


def test_full_cache_evicts_the_token_that_was_checked_longest_ago() -> None:
    memory = TokenCache(2)
    users = {token: remembered(memory, token) for token in ("a", "b")}
    remembered(memory, "a", users["a"])

    users["c"] = remembered(memory, "c")

    assert [user_of(memory, token) for token in ("a", "b", "c")] == [users["a"], None, users["c"]]


def test_token_that_differs_in_one_letter_is_a_cache_miss() -> None:
    memory = TokenCache()
    remembered(memory, "head.claims.signature")

    assert user_of(memory, "head.claims.signaturE") is None
    assert user_of(memory, "head.claims.") is None
    assert user_of(memory, "\ud800") is None


@pytest.mark.parametrize(
    ("start", "end", "is_key_current", "is_remembered"),
    [
        (0, 1, lambda: True, True),
        (0, 0, lambda: True, False),
        (1, 2, lambda: True, False),
        (-1, 0, lambda: True, False),
        (0, 1, lambda: False, False),
    ],
)
def test_cached_token_is_a_hit_only_within_its_validity_and_while_its_key_is_current(
    monkeypatch: pytest.MonkeyPatch, start: float, end: float, is_key_current: Callable[[], bool], is_remembered: bool
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    memory, user = TokenCache(), uuid4()
    memory.remember("token", Verified(user, now + start, now + end, is_key_current), FOREVER)

    assert user_of(memory, "token") == (user if is_remembered else None)
    assert user_of(memory, "token") == (user if is_remembered else None)


def test_forget_removes_all_tokens_of_one_user_and_no_others() -> None:
    memory = TokenCache()
    ann = remembered(memory, "a")
    remembered(memory, "b", ann)
    bob = remembered(memory, "c")

    memory.forget(ann)

    assert [user_of(memory, token) for token in ("a", "b", "c")] == [None, None, bob]


def test_verified_token_is_no_longer_good_once_its_issuers_key_is_too_old_or_withdrawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The issuer has been away for longer than the maximum age of its keys, or has withdrawn the key."""
    signer, keys, now = ed_key(), [ed_key().jwk], [1000.0]
    keys.append(signer.jwk)
    ticks = itertools.count()
    issuer = Issuer.model_validate({"issuer": "https://issuer.example"})

    async def fetch() -> bytes:
        return published(keys)[2]

    async def find_user(*_: object) -> UUID:
        return uuid4()

    monkeypatch.setattr(
        issuer_tokens, "KeySet", lambda issuer, fetch: KeySet(issuer, fetch, lambda: now[0] + next(ticks) / 1e6)
    )

    async def scenario() -> None:
        tokens = IssuerTokens((issuer,), find_user, lambda _: fetch)
        token = signer.sign(claims_of(issuer.issuer, exp=int(time.time()) + 90_000))
        verified = await tokens.verify(token, {"kid": signer.kid}, issuer.issuer)
        assert verified.is_good(time.time())

        now[0] += MAX_AGE_SECONDS + 1
        assert not verified.is_good(time.time())
        verified = await tokens.verify(token, {"kid": signer.kid}, issuer.issuer)
        assert verified.is_good(time.time())

        keys.remove(signer.jwk)
        with pytest.raises(Problem):
            await tokens.verify(token, {"kid": "made up"}, issuer.issuer)
        assert not verified.is_good(time.time())
        tokens.close()

    asyncio.run(scenario())


def test_validity_of_a_verified_token_includes_the_leeway() -> None:
    signer = ed_key()
    issuer = Issuer.model_validate({"issuer": "https://issuer.example"})

    async def fetch() -> bytes:
        return published([signer.jwk])[2]

    async def find_user(*_: object) -> UUID:
        return uuid4()

    async def scenario() -> None:
        claims = claims_of(issuer.issuer, exp=int(time.time()) - 10, nbf=int(time.time()) + 10)
        tokens = IssuerTokens((issuer,), find_user, lambda _: fetch)
        verified = await tokens.verify(signer.sign(claims), {"kid": signer.kid}, issuer.issuer)
        assert (verified.start, verified.end) == (claims["nbf"] - 30, claims["exp"] + 30)

    asyncio.run(scenario())
