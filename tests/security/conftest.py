"""A service that accepts the tokens of four outside issuers, and one that limits wrong passwords."""

import json
from collections.abc import Iterator

import pytest

from tests import databases, support
from tests.issuers import (
    EC_ISSUER,
    RSA_ISSUER,
    SHARED_ISSUER,
    SHARED_SECRET,
    World,
    ec_key,
    ed_key,
    published,
    publishing,
    rsa_key,
)
from tests.support import SECRET, Service


@pytest.fixture(scope="module")
def world(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    ed, rsa, ec_signer = ed_key(), rsa_key(), ec_key()
    with publishing(ed.jwk) as publisher:
        publisher.answers["/rsa"] = lambda: published([rsa.jwk])
        publisher.answers["/ec"] = lambda: published([ec_signer.jwk])
        entries = [
            {"issuer": publisher.url},
            {
                "issuer": RSA_ISSUER,
                "jwks_url": f"{publisher.url}/rsa",
                "audience": "todo",
                "algorithms": ["RS256", "PS256"],
            },
            {"issuer": EC_ISSUER, "jwks_url": f"{publisher.url}/ec", "algorithms": ["ES256", "ES512"]},
            {"issuer": SHARED_ISSUER, "secret": SHARED_SECRET},
        ]
        settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "AUTH_ISSUERS": json.dumps(entries)}
        with support.running(tmp_path_factory.mktemp("outside"), **settings) as service:
            yield World(service, publisher, ed, rsa, ec_signer)


@pytest.fixture(scope="module")
def guarded(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two workers behind one proxy. A test can reach each limit without reaching the others."""
    settings = {
        "DATABASE_URL": databases.patient(database_url), "BETTER_AUTH_SECRET": SECRET,
        "WORKERS": 2, "TRUSTED_PROXIES": 1,
        "LOGIN_FAILURES": 4, "LOGIN_FAILURES_PER_ADDRESS": 10, "LOGIN_FAILURES_PER_EMAIL": 6, "SIGNUPS_PER_ADDRESS": 3,
        "STATEMENT_TIMEOUT": 60, "POOL_MAX": 20,  # so that one email may have five logins at a time
    }  # fmt: skip
    with support.running(tmp_path_factory.mktemp("guarded"), **settings) as service:
        yield service
