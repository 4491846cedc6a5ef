"""python -m service doctor: issuers whose keys cannot be fetched or used, and old keys of the running service."""

import json
from pathlib import Path
from typing import Any

from tests import issuers, support
from tests.doctor.diagnosis import lines
from tests.metrics import Metered
from tests.outages import wait_for
from tests.support import SECRET, free_port


def test_an_issuer_with_a_usable_key_is_no_finding() -> None:
    with issuers.publishing(issuers.ed_key().jwk) as publisher:
        assert lines(None, auth_issuers=publisher.url) == []


def test_an_issuer_that_is_away() -> None:
    url = f"http://127.0.0.1:{free_port()}"

    assert lines(None, auth_issuers=url) == [
        (
            f"error: issuers/unreachable: {url}/api/auth/jwks does not answer with keys (ConnectError [Errno 111] "
            "Connection "
            f"refused); tokens of {url} are refused once the keys that were fetched before are a day old; "
            f"try: curl -fsS {url}/api/auth/jwks"
        )
    ]


def test_an_issuer_without_a_usable_key() -> None:
    with issuers.publishing(issuers.rsa_key().jwk) as publisher:
        entry = json.dumps([{"issuer": publisher.url}])
        found = lines(None, auth_issuers=entry)

    assert found == [
        (
            f"error: issuers/no-usable-key: no key of {publisher.url}/api/auth/jwks can be used with EdDSA (no "
            "key among "
            f"them that could be used); every token of {publisher.url} is refused; "
            "compare the issuer's algorithm with `algorithms` in AUTH_ISSUERS"
        )
    ]


def test_an_issuer_with_a_secret_is_not_asked() -> None:
    entry = json.dumps([{"issuer": "https://shared.example", "secret": issuers.SHARED_SECRET}])

    assert lines(None, auth_issuers=entry) == []


def test_the_answer_of_an_issuer_stays_on_one_line() -> None:
    with issuers.publishing() as publisher:
        publisher.answers[issuers.PATH] = lambda: (302, {"Location": "/\u00e9"}, b"")
        [found] = lines(None, auth_issuers=publisher.url)

    assert "does not answer with keys (answered 302)" in found


def test_keys_that_the_running_service_lacks_are_a_finding(tmp_path: Path, database_url: str) -> None:
    """It started while the issuer answered with nothing of use, and has not asked again since."""
    port = free_port()
    with issuers.publishing() as publisher:
        settings: dict[str, Any] = {"auth_issuers": publisher.url, "metrics_port": port}
        without_a_service = lines(None, **settings)
        with support.running(
            tmp_path,
            DATABASE_URL=database_url,
            BETTER_AUTH_SECRET=SECRET,
            METRICS_PORT=port,
            AUTH_ISSUERS=publisher.url,
        ) as service:
            wait_for(lambda: Metered(service, port).value("todo_issuer_key_fetch_failures_total", issuer="1") == 1)
            publisher.keys = [issuers.ed_key().jwk]
            beside_the_service = lines(None, **settings)

    assert without_a_service[1:] == [
        (
            f"note: issuers/age: no metrics of a running service at METRICS_PORT={port}; "
            "the age of its keys is not known; run the doctor beside the service"
        )
    ]
    assert beside_the_service == [
        (
            f"warning: issuers/age: the service has no keys of {publisher.url}, and 1 fetches have failed; "
            "tokens with a new key are refused, and all of them after a day; look for `keys of` in the log of "
            "the service"
        )
    ]
