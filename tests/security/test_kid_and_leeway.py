"""Tokens of outside issuers without a running service: key lookup by id, number of fetches, leeway of claims."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.auth.issuer_tokens import IssuerTokens
from service.auth.token_cache import Verified
from service.errors import Code, Problem
from service.settings.issuers import Issuer
from tests.issuers import claims_of, ed_key, published

NOW = 1_800_000_000.0
SIGNER = ed_key()
ISSUER = Issuer.model_validate({"issuer": "https://issuer.example"})
USER = uuid4()

Verify = Callable[..., Awaitable[Verified]]


@pytest.fixture(autouse=True)
def _it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: NOW)


def run_scenario(scenario: Callable[[Verify, list[str]], Awaitable[None]]) -> None:
    """Runs `scenario` with a function that verifies tokens of one issuer and the list of key fetches so far."""
    fetched: list[str] = []

    async def fetch() -> bytes:
        fetched.append(ISSUER.jwks_url)
        return published([SIGNER.jwk])[2]

    async def find_user(*_: object) -> UUID:
        return USER

    async def run() -> None:
        tokens = IssuerTokens((ISSUER,), find_user, lambda _: fetch)

        async def verify(kid: object = SIGNER.kid, **claims: Any) -> Verified:
            now = int(NOW)
            token = SIGNER.sign(claims_of(ISSUER.issuer, **({"iat": now, "exp": now + 900} | claims)))
            return await tokens.verify(token, {"kid": kid}, ISSUER.issuer)

        await scenario(verify, fetched)
        tokens.close()

    asyncio.run(run())


async def code_of(verified: Awaitable[Verified]) -> Code | None:
    try:
        await verified
    except Problem as problem:
        return problem.code
    return None


def test_several_good_tokens_cause_one_fetch() -> None:
    async def scenario(verify: Verify, fetched: list[str]) -> None:
        found = [await verify(jti=f"{number}") for number in range(3)]

        assert [each.user_id for each in found] == [USER] * 3
        assert fetched == [ISSUER.jwks_url]

    run_scenario(scenario)


@pytest.mark.parametrize("kid", [7, True, ["x"], {"x": 1}, 1.5], ids=str)
def test_kid_that_is_not_a_string_is_invalid_and_causes_no_fetch(kid: object) -> None:
    async def scenario(verify: Verify, fetched: list[str]) -> None:
        assert await code_of(verify(kid)) is Code.INVALID_TOKEN
        assert fetched == []

    run_scenario(scenario)


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        ({"exp": NOW - 29}, None),
        ({"exp": NOW - 30}, Code.TOKEN_EXPIRED),
        ({"nbf": NOW + 30}, None),
        ({"nbf": NOW + 31}, Code.INVALID_TOKEN),
        ({"iat": NOW + 30}, None),
        ({"iat": NOW + 31}, Code.INVALID_TOKEN),
    ],
    ids=str,
)
def test_time_claims_are_accepted_within_30_seconds_of_clock_difference(
    claims: dict[str, float], refused: Code | None
) -> None:
    async def scenario(verify: Verify, _: list[str]) -> None:
        whole = {name: int(value) for name, value in claims.items()}
        assert await code_of(verify(**whole)) is refused

    run_scenario(scenario)
