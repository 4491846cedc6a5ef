"""Keys of an issuer that rotates, is away, or lacks the requested key: which requests wait, and their answers."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from service.auth.issuer_keys import (
    COOLDOWN_SECONDS,
    MAX_AGE_SECONDS,
    REFRESH_AFTER_SECONDS,
    IssuerKey,
    KeySet,
)
from service.errors import RetryLater
from service.settings.issuers import Issuer, UnusableError
from tests.issuers import Signer, ed_key, published

ISSUER = Issuer.model_validate({"issuer": "https://issuer.example"})


class FakeIssuer:
    """Replaces the network: publishes keys or raises a fault, and counts fetches. Its clock never repeats a time."""

    def __init__(self, *signers: Signer) -> None:
        self.published = list(signers)
        self.fault: Exception | None = None
        self.fetches = 0
        self.now = 1000.0

    async def fetch(self) -> bytes:
        self.fetches += 1
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return published([signer.jwk for signer in self.published])[2]

    def keys(self) -> KeySet:
        return KeySet(ISSUER, self.fetch, self.clock, self.sleep)

    def clock(self) -> float:
        self.now += 1e-6  # no two moments are the same
        return self.now

    async def sleep(self, seconds: float) -> None:
        until = self.now + seconds
        await asyncio.sleep(0)
        self.now = max(self.now, until)


def outcome(found: Coroutine[Any, Any, IssuerKey | None]) -> Awaitable[str]:
    async def of() -> str:
        try:
            key = await found
        except RetryLater as problem:
            return f"come back in {problem.retry_after}"
        return "none" if key is None else str(key.kid)

    return of()


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(scenario())


def test_100_waiting_requests_cause_one_fetch() -> None:
    async def scenario() -> None:
        key = ed_key()
        source = FakeIssuer(key)
        known = source.keys()

        found = await asyncio.gather(*(outcome(known.find(key.kid)) for _ in range(100)))

        assert found == [key.kid] * 100
        assert source.fetches == 1

    run(scenario)


def test_unknown_kids_wait_for_the_cooldown_and_cause_one_fetch_per_cooldown() -> None:
    async def scenario() -> None:
        key = ed_key()
        source = FakeIssuer(key)
        known = source.keys()
        await known.find(key.kid)
        assert await outcome(known.find("made up")) == "none"
        assert source.fetches == 2

        flood = await asyncio.gather(*(outcome(known.find(f"made up {number}")) for number in range(120)))

        assert flood == ["none"] * 100 + ["come back in 3"] * 20
        assert source.fetches == 3
        assert source.now >= 1000 + COOLDOWN_SECONDS
        assert await outcome(known.find(key.kid)) == key.kid

    run(scenario)


def test_key_published_during_a_cooldown_is_waited_for_and_accepted() -> None:
    async def scenario() -> None:
        old, new = ed_key(), ed_key()
        source = FakeIssuer(old)
        known = source.keys()
        assert await outcome(known.find("made up")) == "none"

        source.published = [new, old]

        assert await outcome(known.find(new.kid)) == new.kid
        assert source.now == pytest.approx(1000 + COOLDOWN_SECONDS, abs=0.1)

    run(scenario)


def test_replaced_key_under_the_same_id_is_fetched_at_most_once_per_cooldown() -> None:
    async def scenario() -> None:
        old, new = ed_key("same"), ed_key("same")
        source = FakeIssuer(old)
        known = source.keys()
        key = await known.find("same")
        assert key is not None
        for _ in range(5):
            assert await known.newer(key, "same") is None
        assert source.fetches == 2

        source.published = [new]
        for _ in range(5):  # a request during a cooldown does not prolong it
            source.now += COOLDOWN_SECONDS / 5
            found = await known.newer(key, "same")
        assert found is not None
        assert found.jwk == new.jwk
        assert not known.is_current(key, "same")

    run(scenario)


def test_each_key_rotation_is_noticed_by_the_first_token_of_the_new_key() -> None:
    async def scenario() -> None:
        source = FakeIssuer(ed_key())
        known = source.keys()
        await known.find(source.published[0].kid)

        for _ in range(3):
            old, new = source.published[0], ed_key()
            source.published = [new]
            assert await outcome(known.find(new.kid)) == new.kid
            assert await outcome(known.find(old.kid)) == "none"
            source.now += COOLDOWN_SECONDS

    run(scenario)


def test_withdrawn_key_is_refused_after_the_background_refresh_and_no_request_waits() -> None:
    async def scenario() -> None:
        old, new = ed_key(), ed_key()
        source = FakeIssuer(old)
        known = source.keys()
        key = await known.find(old.kid)
        assert key is not None
        assert known.is_current(key, key.kid)
        source.published = [new]

        source.now += REFRESH_AFTER_SECONDS + 1
        assert await outcome(known.find(old.kid)) == old.kid
        await known.refresh()

        assert not known.is_current(key, key.kid)
        assert await outcome(known.find(old.kid)) == "none"

    run(scenario)


FAULTS = [TimeoutError(), UnusableError("answered 500"), ValueError("no JSON"), OSError()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_known_keys_stay_valid_until_max_age_while_the_issuer_is_away(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        key = ed_key()
        source = FakeIssuer(key)
        known = source.keys()
        found = await known.find(key.kid)
        assert found is not None
        source.fault = fault

        source.now += MAX_AGE_SECONDS - 1
        await known.refresh()
        assert await outcome(known.find(key.kid)) == key.kid
        assert known.is_current(found, found.kid)
        assert "those of 86399 s ago are kept" in caplog.text

        source.now += COOLDOWN_SECONDS
        assert not known.is_current(found, found.kid)
        assert await outcome(known.find(key.kid)) == "come back in 3"

        source.fault = None
        source.now += COOLDOWN_SECONDS
        assert await outcome(known.find(key.kid)) == key.kid

    run(scenario)


def test_unknown_kid_while_the_issuer_is_away_asks_to_retry_and_is_not_refused() -> None:
    async def scenario() -> None:
        source = FakeIssuer(ed_key())
        known = source.keys()
        await known.find(source.published[0].kid)
        source.fault = UnusableError("ConnectError away")

        assert await outcome(known.find("new")) == "come back in 3"
        source.now += 1
        assert await outcome(known.find("new")) == "come back in 2"
        assert source.fetches == 2

    run(scenario)


def test_issuer_without_keys_is_fetched_once_per_cooldown() -> None:
    async def scenario() -> None:
        source = FakeIssuer()
        known = source.keys()

        said = [await outcome(known.find("x")) for _ in range(20)]

        assert said == ["come back in 3"] * 20
        assert source.fetches == 1

    run(scenario)


def test_issuer_without_keys_at_the_start_is_fetched_again_by_the_first_token() -> None:
    async def scenario() -> None:
        source = FakeIssuer()
        known = source.keys()
        known.start()
        for _ in range(5):
            await asyncio.sleep(0)
        assert source.fetches == 1

        source.published = [ed_key()]
        assert await outcome(known.find(source.published[0].kid)) == source.published[0].kid
        known.close()

    run(scenario)


def test_token_without_a_kid_matches_a_sole_key_and_none_of_several() -> None:
    async def scenario() -> None:
        alone, second = ed_key(), ed_key()
        source = FakeIssuer(alone)
        known = source.keys()
        assert await outcome(known.find(None)) == alone.kid

        source.published = [alone, second]
        await known.refresh()
        assert await outcome(known.find(None)) == "none"

    run(scenario)
