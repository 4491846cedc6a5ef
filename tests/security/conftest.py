"""A service that accepts the tokens of four outside issuers."""

import json
from collections.abc import Iterator

import pytest

from tests import support
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
from tests.support import SECRET


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
