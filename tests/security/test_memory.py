"""What is remembered of a verified token: never more than so many, and never longer than the verifier would say yes."""

import asyncio
import itertools
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from service.auth import outside
from service.auth.issuers import Issuer
from service.auth.keys import MAX_AGE, KeySet
from service.auth.memory import Memory, Verified
from service.auth.outside import LOOK_UP_AGAIN, OutsideTokens
from service.errors import Problem
from tests.issuers import claims_of, ed_key, published

FOREVER = (0.0, float("inf"))


def test_the_one_that_was_not_used_for_longest_is_forgotten_first() -> None:
    memory = Memory(2)
    users = {token: memory.remember(token, Verified(uuid4(), *FOREVER)) for token in ("a", "b")}
    assert memory.recall("a") == users["a"]

    users["c"] = memory.remember("c", Verified(uuid4(), *FOREVER))

    assert [memory.recall(token) for token in ("a", "b", "c")] == [users["a"], None, users["c"]]


def test_tokens_that_differ_in_a_letter_are_two() -> None:
    memory = Memory()
    memory.remember("head.claims.signature", Verified(uuid4(), *FOREVER))

    assert memory.recall("head.claims.signaturE") is None
    assert memory.recall("head.claims.") is None
    assert memory.recall("\ud800") is None


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
    memory = Memory()
    user = memory.remember("token", Verified(uuid4(), now + start, now + end, is_key_current))

    assert memory.recall("token") == (user if is_remembered else None)
    assert memory.recall("token") == (user if is_remembered else None)


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
        outside, "KeySet", lambda issuer, fetch: KeySet(issuer, fetch, lambda: now[0] + next(ticks) / 1e6)
    )

    async def story() -> None:
        tokens = OutsideTokens((issuer,), find_user, lambda _: fetch)
        token = signer.sign(claims_of(issuer.issuer, exp=int(time.time()) + 90_000))
        verified = await tokens.verify(token, {"kid": signer.kid}, issuer.issuer)
        assert verified.end == pytest.approx(time.time() + LOOK_UP_AGAIN, abs=5)
        assert verified.is_key_current()

        now[0] += MAX_AGE + 1
        assert not verified.is_key_current()
        verified = await tokens.verify(token, {"kid": signer.kid}, issuer.issuer)
        assert verified.is_key_current()

        keys.remove(signer.jwk)
        with pytest.raises(Problem):
            await tokens.verify(token, {"kid": "made up"}, issuer.issuer)
        assert not verified.is_key_current()
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
        tokens = OutsideTokens((issuer,), find_user, lambda _: fetch)
        verified = await tokens.verify(signer.sign(claims), {"kid": signer.kid}, issuer.issuer)
        assert (verified.start, verified.end) == (claims["nbf"] - 30, claims["exp"] + 30)

    asyncio.run(story())
