"""An issuer's key list (JWKS): keys that are used, keys that are skipped, and lists that are refused whole."""

import json
from typing import Any

import pytest

from service.auth.issuer_keys import read_keys
from service.settings.issuers import UnusableError
from tests.issuers import Signer, ec_key, ed_key, published, rsa_key, segment


def changed(signer: Signer, **members: Any) -> dict[str, Any]:
    return {name: value for name, value in (signer.jwk | members).items() if value is not ...}


# Encodings of the points of order 1, 2, 4 and 8, with both signs, and y = p and p + 1, which are 0 and 1 again.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
]

ED, RSA, EC = ed_key(), rsa_key(), ec_key()
ALL = ["EdDSA", "RS256", "ES256", "ES512"]


@pytest.mark.parametrize(
    "jwk",
    [
        ED.private_jwk,
        RSA.private_jwk,
        EC.private_jwk,
        *(changed(ED, **{name: "AQAB"}) for name in ("d", "p", "q", "dp", "dq", "qi", "oth", "k")),
        {"kty": "oct", "k": "c2VjcmV0LXRoYXQtaXMtbG9uZy1lbm91Z2gtZm9yLUhTMjU2", "alg": "HS256"},
        {"kty": "oct", "k": "c2VjcmV0", "alg": "EdDSA"},
        rsa_key(bits=1024).jwk,
        changed(RSA, e="AQ"),
        changed(RSA, n="AQAB"),
        changed(ED, x="AAAA"),
        *(changed(ED, x=segment(bytes.fromhex(point))) for point in SMALL_ORDER),
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
def test_unsafe_or_malformed_key_is_skipped_and_the_other_keys_are_used(jwk: Any) -> None:
    good = ed_key()

    assert list(read_keys(published([jwk, good.jwk])[2], ALL)) == [good.kid]
    with pytest.raises(UnusableError):
        read_keys(published([jwk])[2], ALL)


def test_two_keys_with_the_same_id_are_both_skipped() -> None:
    good, first, second = ed_key(), ed_key("same"), ed_key("same")

    assert list(read_keys(published([first.jwk, second.jwk, good.jwk])[2], ALL)) == [good.kid]


def test_key_accepts_only_configured_algorithms_that_fit_its_type() -> None:
    body = published([RSA.jwk, changed(EC, alg="ES256"), ED.jwk])[2]

    found = read_keys(body, ["PS256", "RS256", "ES256", "ES512"])

    assert {kid: key.algorithms for kid, key in found.items()} == {RSA.kid: ("PS256", "RS256"), EC.kid: ("ES256",)}


MALFORMED_LISTS = {
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
    "too many": json.dumps({"keys": [ed_key(f"{number}").jwk for number in range(101)]}).encode(),
}


def test_list_of_100_keys_is_read() -> None:
    keys = [ed_key(f"{number}").jwk for number in range(100)]

    assert list(read_keys(published(keys)[2], ALL)) == [f"{number}" for number in range(100)]


@pytest.mark.parametrize("body", MALFORMED_LISTS.values(), ids=MALFORMED_LISTS.keys())
def test_malformed_key_list_is_refused(body: bytes) -> None:
    with pytest.raises((UnusableError, ValueError, RecursionError)):
        read_keys(body, ALL)
