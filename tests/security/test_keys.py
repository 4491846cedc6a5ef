"""The keys of an issuer that is slow, wrong, away, rotating or hostile: who notices, and what is answered."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from service.auth import fetching
from service.auth.fetching import MAX_BYTES, UnusableError
from service.auth.issuers import Issuer
from service.auth.keys import (
    COOLDOWN,
    MAX_AGE,
    MAX_KEYS,
    MAX_WAITING,
    REFRESH_AFTER,
    SMALL_ORDER,
    Key,
    KeySet,
    read_keys,
)
from service.errors import NotNow
from tests.issuers import PATH, Publisher, Signer, claims_of, ec_key, ed_key, published, publishing, rsa_key, segment
from tests.support import FEBRUARY, JANUARY, Contract, Service, User

OVERLOADED = {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}
ISSUER = Issuer.model_validate({"issuer": "https://issuer.example"})


class Source:
    """Instead of the network: answers, or does not, and counts."""

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


def outcome(found: Coroutine[Any, Any, Key | None]) -> Awaitable[str]:
    async def of() -> str:
        try:
            key = await found
        except NotNow as problem:
            return f"come back in {problem.retry_after}"
        return "none" if key is None else str(key.kid)

    return of()


def run(story: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(story())


def test_many_who_wait_cost_one_fetch() -> None:
    async def story() -> None:
        key = ed_key()
        source = Source(key)
        known = source.keys()

        found = await asyncio.gather(*(outcome(known.find(key.kid)) for _ in range(100)))

        assert found == [key.kid] * 100
        assert source.fetches == 1

    run(story)


def test_made_up_kids_wait_for_their_turn_and_cost_one_fetch_in_each_cooldown() -> None:
    async def story() -> None:
        key = ed_key()
        source = Source(key)
        known = source.keys()
        await known.find(key.kid)
        assert await outcome(known.find("made up")) == "none"
        assert source.fetches == 2

        flood = await asyncio.gather(*(outcome(known.find(f"made up {number}")) for number in range(MAX_WAITING + 20)))

        assert flood == ["none"] * MAX_WAITING + ["come back in 3"] * 20
        assert source.fetches == 3
        assert source.now >= 1000 + COOLDOWN
        assert await outcome(known.find(key.kid)) == key.kid

    run(story)


def test_a_key_that_is_new_during_a_cooldown_is_waited_for_and_not_refused() -> None:
    async def story() -> None:
        old, new = ed_key(), ed_key()
        source = Source(old)
        known = source.keys()
        assert await outcome(known.find("made up")) == "none"

        source.published = [new, old]

        assert await outcome(known.find(new.kid)) == new.kid
        assert source.now == pytest.approx(1000 + COOLDOWN, abs=0.1)

    run(story)


def test_another_key_under_the_same_id_is_looked_for_once_in_each_cooldown() -> None:
    async def story() -> None:
        old, new = ed_key("same"), ed_key("same")
        source = Source(old)
        known = source.keys()
        key = await known.find("same")
        assert key is not None
        for _ in range(5):
            assert await known.newer(key, "same") is None
        assert source.fetches == 2

        source.published = [new]
        for _ in range(5):  # what is asked during a cooldown does not make it longer
            source.now += COOLDOWN / 5
            found = await known.newer(key, "same")
        assert found is not None
        assert found.jwk == new.jwk
        assert not known.is_current(key, "same")

    run(story)


def test_a_rotation_is_picked_up_with_the_first_token_of_the_new_key_and_again() -> None:
    async def story() -> None:
        source = Source(ed_key())
        known = source.keys()
        await known.find(source.published[0].kid)

        for _ in range(3):
            old, new = source.published[0], ed_key()
            source.published = [new]
            assert await outcome(known.find(new.kid)) == new.kid
            assert await outcome(known.find(old.kid)) == "none"
            source.now += COOLDOWN

    run(story)


def test_a_key_that_was_withdrawn_is_noticed_in_time_and_nobody_waits_for_it() -> None:
    async def story() -> None:
        old, new = ed_key(), ed_key()
        source = Source(old)
        known = source.keys()
        key = await known.find(old.kid)
        assert key is not None
        assert known.is_current(key, key.kid)
        source.published = [new]

        source.now += REFRESH_AFTER + 1
        assert await outcome(known.find(old.kid)) == old.kid
        await known.refresh()

        assert not known.is_current(key, key.kid)
        assert await outcome(known.find(old.kid)) == "none"

    run(story)


FAULTS = [httpx.ConnectError("away"), TimeoutError(), UnusableError("answered 500"), ValueError("no JSON"), OSError()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_good_keys_outlive_an_issuer_that_is_away_for_a_bounded_time(
    fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        key = ed_key()
        source = Source(key)
        known = source.keys()
        found = await known.find(key.kid)
        assert found is not None
        source.fault = fault

        source.now += MAX_AGE - 1
        await known.refresh()
        assert await outcome(known.find(key.kid)) == key.kid
        assert known.is_current(found, found.kid)
        assert "those of 86399 s ago are kept" in caplog.text

        source.now += COOLDOWN
        assert not known.is_current(found, found.kid)
        assert await outcome(known.find(key.kid)) == "come back in 3"

        source.fault = None
        source.now += COOLDOWN
        assert await outcome(known.find(key.kid)) == key.kid

    run(story)


def test_an_unknown_kid_of_an_issuer_that_is_away_was_not_checked_and_is_not_refused() -> None:
    async def story() -> None:
        source = Source(ed_key())
        known = source.keys()
        await known.find(source.published[0].kid)
        source.fault = httpx.ConnectError("away")

        assert await outcome(known.find("new")) == "come back in 3"
        source.now += 1
        assert await outcome(known.find("new")) == "come back in 2"
        assert source.fetches == 2

    run(story)


def test_keys_that_could_never_be_fetched_cost_one_fetch_in_each_cooldown() -> None:
    async def story() -> None:
        source = Source()
        known = source.keys()

        said = [await outcome(known.find("x")) for _ in range(20)]

        assert said == ["come back in 3"] * 20
        assert source.fetches == 1

    run(story)


def test_an_issuer_that_has_no_key_at_the_start_is_asked_again_by_the_first_token() -> None:
    async def story() -> None:
        source = Source()
        known = source.keys()
        known.start()
        for _ in range(5):
            await asyncio.sleep(0)
        assert source.fetches == 1

        source.published = [ed_key()]
        assert await outcome(known.find(source.published[0].kid)) == source.published[0].kid
        known.close()

    run(story)


def test_a_token_without_a_kid_is_of_the_only_key_or_of_none() -> None:
    async def story() -> None:
        alone, second = ed_key(), ed_key()
        source = Source(alone)
        known = source.keys()
        assert await outcome(known.find(None)) == alone.kid

        source.published = [alone, second]
        await known.refresh()
        assert await outcome(known.find(None)) == "none"

    run(story)


def changed(signer: Signer, **members: Any) -> dict[str, Any]:
    return {name: value for name, value in (signer.jwk | members).items() if value is not ...}


ED, RSA, EC = ed_key(), rsa_key(), ec_key()
ALL = ["EdDSA", "RS256", "ES256", "ES512"]


@pytest.mark.parametrize(
    "jwk",
    [
        ED.private_jwk,
        RSA.private_jwk,
        EC.private_jwk,
        {"kty": "oct", "k": "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLUhTMjU2", "alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "EdDSA"},
        rsa_key(bits=1024).jwk,
        changed(RSA, e="AQ"),
        changed(RSA, n="AQAB"),
        changed(ED, x="AAAA"),
        *(changed(ED, x=segment(point.to_bytes(32, "little"))) for point in sorted(SMALL_ORDER)),
        changed(ED, x=segment((1 | 1 << 255).to_bytes(32, "little"))),
        changed(RSA, n=segment((RSA.private.public_key().public_numbers().n - 1).to_bytes(256, "big"))),
        changed(ED, x=...),
        changed(ED, x=7),
        changed(ED, crv="X25519"),
        changed(ED, crv="Ed448"),
        changed(ED, crv=["Ed25519"]),
        changed(EC, crv="secp256k1"),
        changed(EC, x=EC.jwk["y"]),
        changed(ED, alg="HS256"),
        changed(RSA, alg="RS512"),
        changed(RSA, alg="PS256"),
        changed(ED, use="enc"),
        changed(ED, key_ops=["sign"]),
        changed(ED, key_ops="verify"),
        changed(ED, kty="RSA"),
        changed(ED, kty=["OKP"]),
        changed(ED, kid=7),
        changed(ED, kid=["x"]),
        {},
        [],
        None,
        "key",
    ],
)
def test_a_key_that_nobody_should_use_is_not_used_and_harms_no_other(jwk: Any) -> None:
    good = ed_key()

    assert list(read_keys(published([jwk, good.jwk])[2], ALL)) == [good.kid]
    with pytest.raises(UnusableError):
        read_keys(published([jwk])[2], ALL)


def test_two_keys_with_one_id_are_none() -> None:
    good, first, second = ed_key(), ed_key("same"), ed_key("same")

    assert list(read_keys(published([first.jwk, second.jwk, good.jwk])[2], ALL)) == [good.kid]


def test_a_key_is_for_the_algorithms_of_the_setting_that_fit_it() -> None:
    body = published([RSA.jwk, changed(EC, alg="ES256"), ED.jwk])[2]

    found = read_keys(body, ["PS256", "RS256", "ES256", "ES512"])

    assert {kid: key.algorithms for kid, key in found.items()} == {RSA.kid: ("PS256", "RS256"), EC.kid: ("ES256",)}


NO_LISTS = {
    "empty": b"",
    "page": b"<html>",
    "list": b"[]",
    "object": b"{}",
    "keys as object": b'{"keys": {}}',
    "no keys": b'{"keys": []}',
    "odd keys": b'{"keys": [1, null]}',
    "bytes": b"\xff",
    "UTF-16": json.dumps({"keys": [ED.jwk]}).encode("utf-16"),
    "keys there twice": b'{"keys": [], "keys": []}',
    "depth": b"[" * 100_000,
    "too many": json.dumps({"keys": [ED.jwk] * (MAX_KEYS + 1)}).encode(),
}


@pytest.mark.parametrize("body", NO_LISTS.values(), ids=NO_LISTS.keys())
def test_what_is_no_list_of_keys_is_refused(body: bytes) -> None:
    with pytest.raises((UnusableError, ValueError, RecursionError)):
        read_keys(body, ALL)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(ed_key().jwk) as started:
        yield started


def fetched(url: str) -> bytes:
    return fetching.get(url)


def test_no_redirect_is_followed_and_no_more_is_read_than_keys_can_need(publisher: Publisher) -> None:
    publisher.answers["/away"] = lambda: (302, {"Location": PATH}, b"")
    publisher.answers["/big"] = lambda: (200, {}, b" " * (MAX_BYTES + 1))
    publisher.answers["/zipped"] = lambda: (200, {"Content-Encoding": "gzip"}, b"x")

    assert json.loads(fetched(publisher.url + PATH)) == {"keys": publisher.keys}
    for path in ("/away", "/big", "/zipped", "/nowhere"):
        with pytest.raises(UnusableError):
            fetched(publisher.url + path)
    assert publisher.asked.count(PATH) == 1


def test_no_cookie_is_kept_and_no_proxy_sees_plain_http(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    publisher.answers[PATH] = lambda: (200, {"Set-Cookie": "a=b; Path=/"}, b"{}")

    for _ in range(2):
        assert fetched(publisher.url + PATH) == b"{}"

    assert [headers.get("Cookie") for headers in publisher.headers] == [None, None]


def test_a_fetch_that_hangs_is_left_behind_and_no_more_than_a_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 0.05)
    let_go = threading.Event()
    monkeypatch.setattr(fetching, "get", lambda _: let_go.wait(30) and b"")

    async def story() -> None:
        fetch = fetching.fetcher("https://issuer.example")
        for _ in range(fetching.MAX_STUCK):
            with pytest.raises(TimeoutError):
                await fetch()
        with pytest.raises(UnusableError, match="still hang"):
            await fetch()
        let_go.set()
        while True:
            with suppress(UnusableError):
                assert await fetch() == b""
                break

    run(story)


def ask(service: Service, token: str, contract: Contract) -> httpx.Response:
    return httpx.get(f"{service.url}{contract.prefix}/tasks", headers={"Authorization": f"Bearer {token}"}, timeout=30)


def test_an_issuer_that_never_answers_is_503_for_its_users_and_nobody_else_waits(
    start_service: Callable[..., Service], publisher: Publisher, ann: User
) -> None:
    stuck: list[str] = []
    away = "http://127.0.0.1:1"
    key = ed_key()

    def never() -> Any:
        stuck.append("")
        time.sleep(8)
        return published([])

    publisher.answers[PATH] = never
    service = start_service(AUTH_ISSUERS=f"{publisher.url},{away}")
    for contract in (FEBRUARY, JANUARY):
        refused = ask(service, key.sign(claims_of(away)), contract)
        assert (refused.status_code, refused.json()) == (503, OVERLOADED)
        assert 1 <= int(refused.headers["Retry-After"]) <= COOLDOWN
        assert ask(service, ann.token, contract).status_code == 200
    late = ask(service, key.sign(claims_of(publisher.url)), FEBRUARY)
    assert (late.status_code, late.json()) == (503, OVERLOADED)
    assert len(stuck) == 1
    lines = service.log.read_text()
    assert f"keys of {away}: ConnectError" in lines
    assert f"keys of {publisher.url}: TimeoutError" in lines


def test_rotation_outage_and_withdrawal_as_a_client_sees_them(
    start_service: Callable[..., Service], contract: Contract
) -> None:
    old, new = ed_key(), ed_key()
    with publishing(old.jwk) as publisher:
        service = start_service(AUTH_ISSUERS=publisher.url)
        token = old.sign(claims_of(publisher.url))
        assert ask(service, token, contract).status_code == 200

        publisher.keys = [new.jwk, old.jwk]
        assert ask(service, new.sign(claims_of(publisher.url)), contract).status_code == 200

        publisher.answers[PATH] = lambda: (500, {}, b"")
        assert ask(service, token, contract).status_code == 200
        assert ask(service, old.sign(claims_of(publisher.url)), contract).status_code == 200
        assert ask(service, ed_key().sign(claims_of(publisher.url)), contract).status_code == 503

        fetches = publisher.asked.count(PATH)
        for _ in range(20):
            assert ask(service, ed_key().sign(claims_of(publisher.url)), contract).status_code == 503
        assert publisher.asked.count(PATH) == fetches
