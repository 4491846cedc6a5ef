"""What is remembered of a verified token: never more than so many, and never longer than the verifier would say yes."""

import asyncio
import itertools
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from service.auth import issuer_tokens
from service.auth.issuer_keys import MAX_AGE, KeySet
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


def test_the_one_that_was_not_asked_about_for_longest_is_forgotten_first() -> None:
    memory = TokenCache(2)
    users = {token: remembered(memory, token) for token in ("a", "b")}
    remembered(memory, "a", users["a"])

    users["c"] = remembered(memory, "c")

    assert [user_of(memory, token) for token in ("a", "b", "c")] == [users["a"], None, users["c"]]


def test_tokens_that_differ_in_a_letter_are_two() -> None:
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
def test_a_token_is_remembered_from_its_start_to_its_end_and_while_its_key_is_current(
    monkeypatch: pytest.MonkeyPatch, start: float, end: float, is_key_current: Callable[[], bool], is_remembered: bool
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    memory, user = TokenCache(), uuid4()
    memory.remember("token", Verified(user, now + start, now + end, is_key_current), FOREVER)

    assert user_of(memory, "token") == (user if is_remembered else None)
    assert user_of(memory, "token") == (user if is_remembered else None)


def test_a_user_is_forgotten_with_all_tokens_and_no_other_is() -> None:
    memory = TokenCache()
    ann = remembered(memory, "a")
    remembered(memory, "b", ann)
    bob = remembered(memory, "c")

    memory.forget(ann)

    assert [user_of(memory, token) for token in ("a", "b", "c")] == [None, None, bob]


def test_a_token_is_good_no_longer_than_its_issuers_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key is withdrawn, or nobody has seen the issuer for too long."""
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

    async def story() -> None:
        tokens = IssuerTokens((issuer,), find_user, lambda _: fetch)
        token = signer.sign(claims_of(issuer.issuer, exp=int(time.time()) + 90_000))
        verified = await tokens.verify(token, {"kid": signer.kid}, issuer.issuer)
        assert verified.is_good(time.time())

        now[0] += MAX_AGE + 1
        assert not verified.is_good(time.time())
        verified = await tokens.verify(token, {"kid": signer.kid}, issuer.issuer)
        assert verified.is_good(time.time())

        keys.remove(signer.jwk)
        with pytest.raises(Problem):
            await tokens.verify(token, {"kid": "made up"}, issuer.issuer)
        assert not verified.is_good(time.time())
        tokens.close()

    asyncio.run(story())


def test_a_token_that_is_soon_over_is_remembered_until_then() -> None:
    signer = ed_key()
    issuer = Issuer.model_validate({"issuer": "https://issuer.example"})

    async def fetch() -> bytes:
        return published([signer.jwk])[2]

    async def find_user(*_: object) -> UUID:
        return uuid4()

    async def story() -> None:
        claims = claims_of(issuer.issuer, exp=int(time.time()) - 10, nbf=int(time.time()) + 10)
        tokens = IssuerTokens((issuer,), find_user, lambda _: fetch)
        verified = await tokens.verify(signer.sign(claims), {"kid": signer.kid}, issuer.issuer)
        assert (verified.start, verified.end) == (claims["nbf"] - 30, claims["exp"] + 30)

    asyncio.run(story())
