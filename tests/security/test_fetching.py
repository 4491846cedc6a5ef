"""Key fetches from a server that is slow, wrong, away or hostile: their cost, and the answers that clients get."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from service.auth import key_download, key_fetch
from service.auth.issuer_keys import (
    COOLDOWN_SECONDS,
)
from service.auth.key_download import MAX_BYTES, download
from service.settings.issuers import UnusableError
from tests.issuers import PATH, Publisher, claims_of, ed_key, published, publishing
from tests.support import FEBRUARY, JANUARY, TRUST, Contract, Service, User

OVERLOADED = {"error": "The service is busy, try again shortly", "code": "OVERLOADED"}


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with publishing(ed_key().jwk) as started:
        yield started


def test_key_download_refuses_redirects_compression_and_bodies_over_max_bytes(publisher: Publisher) -> None:
    publisher.answers["/away"] = lambda: (302, {"Location": PATH}, b"")
    publisher.answers["/big"] = lambda: (200, {}, b" " * (MAX_BYTES + 1))
    publisher.answers["/zipped"] = lambda: (200, {"Content-Encoding": "gzip"}, b"x")

    assert json.loads(download(publisher.url + PATH, key_fetch.TIMEOUT_SECONDS)) == {"keys": publisher.keys}
    for path in ("/away", "/big", "/zipped", "/nowhere"):
        with pytest.raises(UnusableError):
            download(publisher.url + path, key_fetch.TIMEOUT_SECONDS)
    assert publisher.asked.count(PATH) == 1


def test_key_download_keeps_no_cookies_and_bypasses_the_proxy_for_plain_http(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    publisher.answers[PATH] = lambda: (200, {"Set-Cookie": "a=b; Path=/"}, b"{}")

    for _ in range(2):
        assert download(publisher.url + PATH, key_fetch.TIMEOUT_SECONDS) == b"{}"

    assert [headers.get("Cookie") for headers in publisher.headers] == [None, None]
    assert [headers["Accept"] for headers in publisher.headers] == ["application/json"] * 2


def test_hanging_key_fetches_time_out_and_one_more_than_max_stuck_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_fetch, "TIMEOUT_SECONDS", 0.05)
    let_go = threading.Event()
    monkeypatch.setattr(key_download, "download", lambda *_: let_go.wait(30) and b"")

    async def scenario() -> None:
        fetch = key_fetch.fetcher("https://issuer.example")
        for _ in range(key_fetch.MAX_STUCK_THREADS):
            with pytest.raises(TimeoutError):
                await fetch()
        with pytest.raises(UnusableError, match="still hang"):
            await fetch()
        let_go.set()
        monkeypatch.setattr(key_fetch, "TIMEOUT_SECONDS", 30.0)
        while True:
            await asyncio.sleep(0.01)
            with suppress(UnusableError):
                assert await fetch() == b""
                break

    asyncio.run(scenario())


def ask(service: Service, token: str, contract: Contract) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{service.url}{contract.prefix}/tasks", headers=headers, timeout=60, verify=TRUST)


def test_issuer_that_never_answers_returns_503_to_its_users_and_others_are_served(
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
        assert 1 <= int(refused.headers["Retry-After"]) <= COOLDOWN_SECONDS
        assert ask(service, ann.token, contract).status_code == 200
    late = ask(service, key.sign(claims_of(publisher.url)), FEBRUARY)
    assert (late.status_code, late.json()) == (503, OVERLOADED)
    assert len(stuck) == 1
    lines = service.log.read_text()
    assert f"keys of {away}: ConnectError" in lines
    assert f"keys of {publisher.url}: TimeoutError" in lines


def test_known_keys_are_accepted_during_an_outage_and_unknown_keys_return_503(
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
        assert publisher.asked.count(PATH) < fetches + 10
