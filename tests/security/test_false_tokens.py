"""Every known way to forge a token of an outside issuer, in both contracts. test_tokens.py covers our own tokens."""

import base64
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.issuers import (
    EC_ISSUER,
    RSA_ISSUER,
    SHARED_ISSUER,
    SHARED_SECRET,
    Signer,
    World,
    claims_of,
    ed_key,
    hs256,
    segment,
)
from tests.security.test_tokens import EXPIRED, INVALID, UNAUTHORIZED
from tests.support import FEBRUARY, JANUARY, SECRET, Contract

# Makes a forged token; everything else about the world is right.
Forge = Callable[[World], str]


def public_pem(signer: Signer) -> bytes:
    pem: bytes = signer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def public_raw(signer: Signer) -> bytes:
    return base64.urlsafe_b64decode(signer.jwk["x"] + "==")


def unsigned(world: World, algorithm: str, signature: str = "") -> str:
    head = segment(json.dumps({"alg": algorithm, "kid": world.ed.kid}).encode())
    return f"{head}.{segment(json.dumps(world.claims()).encode())}.{signature}"


def resigned(token: str, signature: bytes) -> str:
    return f"{token.rpartition('.')[0]}.{segment(signature)}"


def der_signature(world: World) -> str:
    token = world.ec.sign(claims_of(EC_ISSUER))
    message = token.rpartition(".")[0].encode()
    return resigned(token, world.ec.private.sign(message, ec.ECDSA(hashes.SHA256())))


def with_header(world: World, header: str) -> str:
    message = f"{segment(header.encode())}.{segment(json.dumps(world.claims()).encode())}"
    return f"{message}.{segment(world.ed.private.sign(message.encode()))}"


def twice(world: World, name: str) -> bytes:
    claims = json.dumps(world.claims())
    return f'{claims[:-1]}, "{name}": {json.dumps(world.claims()[name])}}}'.encode()


FORGED: dict[str, Forge] = {
    "alg none": lambda w: unsigned(w, "none"),
    "alg None": lambda w: unsigned(w, "None"),
    "alg NONE": lambda w: unsigned(w, "NONE"),
    "alg nOnE": lambda w: unsigned(w, "nOnE"),
    "alg none and a blank": lambda w: unsigned(w, "none "),
    "alg empty": lambda w: unsigned(w, ""),
    "alg none with a signature": lambda w: unsigned(w, "none", "c2lnbmVk"),
    "no alg": lambda w: w.ed.sign(w.claims(), alg=None),
    "alg as a list": lambda w: w.ed.sign(w.claims(), alg=["EdDSA"]),
    "public key as an HMAC secret, PEM": lambda w: hs256(w.claims(), public_pem(w.ed), kid=w.ed.kid),
    "public key as an HMAC secret, raw": lambda w: hs256(w.claims(), public_raw(w.ed), kid=w.ed.kid),
    "public key as an HMAC secret, x": lambda w: hs256(w.claims(), w.ed.jwk["x"].encode(), kid=w.ed.kid),
    "RSA public key as an HMAC secret": lambda w: hs256(
        claims_of(RSA_ISSUER, aud="todo"), public_pem(w.rsa), kid=w.rsa.kid
    ),
    "our secret": lambda w: hs256(w.claims(), SECRET.encode()),
    "another issuer's secret": lambda w: hs256(w.claims(), SHARED_SECRET.encode()),
    "an empty HMAC secret": lambda w: hs256(w.claims(), b""),
    "a wrong secret": lambda _: hs256(claims_of(SHARED_ISSUER), SHARED_SECRET.encode()[:-1]),
    "our secret for the issuer with a secret": lambda _: hs256(claims_of(SHARED_ISSUER), SECRET.encode()),
    "the issuer's secret for ourselves": lambda w: hs256(w.claims(iss=..., aud=...), SHARED_SECRET.encode()),
    "the issuer's key for ourselves": lambda w: w.ed.sign(w.claims(iss=..., aud=..., sub=str(uuid4()))),
    "a key of issuer A for issuer B": lambda w: w.rsa.sign(w.claims()),
    "a key of issuer B for issuer A": lambda w: w.ed.sign(claims_of(RSA_ISSUER, aud="todo")),
    "an algorithm that the setting does not name": lambda w: Signer("RS512", w.rsa.private, w.rsa.kid).sign(
        claims_of(RSA_ISSUER, aud="todo")
    ),
    "ES512 with a P-256 key": lambda w: w.ec.sign(claims_of(EC_ISSUER), alg="ES512"),
    "another key under a known kid": lambda w: ed_key(w.ed.kid).sign(w.claims()),
    "an unknown kid": lambda w: ed_key().sign(w.claims()),
    "kid as a path": lambda w: w.ed.sign(w.claims(), kid="../../../../dev/null"),
    "kid as SQL": lambda w: w.ed.sign(w.claims(), kid="' UNION SELECT 'x' --"),
    "kid as a URL": lambda w: w.ed.sign(w.claims(), kid=f"{w.issuer}/rsa"),
    "kid as a command": lambda w: w.ed.sign(w.claims(), kid="|id"),
    "kid as a number": lambda w: w.ed.sign(w.claims(), kid=7),
    "kid as a list": lambda w: w.ed.sign(w.claims(), kid=[w.ed.kid]),
    "kid of another case": lambda w: w.ed.sign(w.claims(), kid=str(w.ed.kid).upper()),
    "an empty kid": lambda w: w.ed.sign(w.claims(), kid=""),
    "a key of its own in jwk": lambda w: (own := ed_key()).sign(w.claims(), jwk=own.jwk),
    "a key of its own in jwk, under a known kid": lambda w: (own := ed_key(w.ed.kid)).sign(
        w.claims(), jwk=own.jwk
    ),
    "a key of its own at jku": lambda w: ed_key(w.ed.kid).sign(w.claims(), jku=f"{w.issuer}/elsewhere"),
    "a key of its own at x5u": lambda w: ed_key(w.ed.kid).sign(w.claims(), x5u=f"{w.issuer}/elsewhere"),
    "a certificate of its own": lambda w: ed_key(w.ed.kid).sign(w.claims(), x5c=["MIIB"]),
    "an unknown crit": lambda w: w.ed.sign(w.claims(), crit=["http://example.com/UNDEFINED"]),
    "crit and b64": lambda w: w.ed.sign(w.claims(), crit=["b64"], b64=False),
    "b64 without crit": lambda w: w.ed.sign(w.claims(), b64=False),
    "an empty crit": lambda w: w.ed.sign(w.claims(), crit=[]),
    "aud of another service": lambda w: w.token(aud="https://other.example"),
    "no aud": lambda w: w.token(aud=...),
    "aud null": lambda w: w.token(aud=None),
    "aud with a slash": lambda w: w.token(aud=f"{w.issuer}/"),
    "aud as a list of others": lambda w: w.token(aud=["https://other.example", f"{w.issuer}x"]),
    "aud as an empty list": lambda w: w.token(aud=[]),
    "aud as a list in a list": lambda w: w.token(aud=[[w.issuer]]),
    "aud as an object": lambda w: w.token(aud={w.issuer: True}),
    "aud that holds ours": lambda w: w.token(aud=f"x{w.issuer}x"),
    "iss with a slash": lambda w: w.ed.sign(w.claims(iss=f"{w.issuer}/")),
    "iss without its slash": lambda w: w.rsa.sign(claims_of(RSA_ISSUER[:-1], aud="todo")),
    "iss in another case": lambda w: w.ec.sign(claims_of(EC_ISSUER.upper(), aud=EC_ISSUER)),
    "iss with a path": lambda w: w.token(iss=f"{w.issuer}/api"),
    "iss as another host's prefix": lambda w: w.ec.sign(claims_of(f"{EC_ISSUER}.evil.example", aud=EC_ISSUER)),
    "iss that is not configured": lambda w: w.token(iss="https://evil.example"),
    "iss null": lambda w: w.token(iss=None),
    "iss empty": lambda w: w.token(iss=""),
    "iss as a list": lambda w: w.token(iss=[w.issuer]),
    "iss as a number": lambda w: w.token(iss=7),
    "an ES256 signature of zeros": lambda w: resigned(w.ec.sign(claims_of(EC_ISSUER)), bytes(64)),
    "an ES256 signature in DER": der_signature,
    "an ES256 signature with a byte too many": lambda w: resigned(
        (t := w.ec.sign(claims_of(EC_ISSUER))), base64.urlsafe_b64decode(t.rpartition(".")[2] + "==") + b"\0"
    ),
    "an EdDSA signature of zeros": lambda w: resigned(w.token(), bytes(64)),
    "a signature cut short": lambda w: resigned(w.token(), b"short"),
    "no signature": lambda w: f"{w.token().rpartition('.')[0]}.",
    "other claims under a good signature": lambda w: ".".join(
        [w.token().split(".")[0], segment(json.dumps(w.claims()).encode()), w.token().split(".")[2]]
    ),
    "a token in a token": lambda w: w.ed.sign(json.dumps(w.token()).encode(), cty="JWT"),
    "an array of claims": lambda w: w.ed.sign([w.claims()]),
    "claims that are no JSON": lambda w: w.ed.sign(b"{not json"),
    "claims that are too deep": lambda w: w.ed.sign(b'{"a":' * 900 + b"1" + b"}" * 900),
    "bytes that are not UTF-8": lambda w: w.ed.sign(b'{"sub": "\xff"}'),
    "a JWE": lambda _: ".".join([segment(b'{"alg":"dir","enc":"A256GCM"}'), "", "aXY", "Y2lwaGVy", "dGFn"]),
    "four parts": lambda w: f"{w.token()}.more",
    "two parts": lambda w: w.token().rpartition(".")[0],
    "blanks inside": lambda w: w.token().replace(".", ". ", 1),
    "a tab inside": lambda w: w.token().replace(".", ".\t", 1),
    "standard base64 with padding": lambda w: f"{w.token()}==",
    "iss there twice": lambda w: w.ed.sign(twice(w, "iss")),
    "sub there twice": lambda w: w.ed.sign(twice(w, "sub")),
    "aud there twice": lambda w: w.ed.sign(twice(w, "aud")),
    "exp there twice": lambda w: w.ed.sign(twice(w, "exp")),
    "kid there twice": lambda w: with_header(w, f'{{"alg": "EdDSA", "kid": "x", "kid": "{w.ed.kid}"}}'),
    "no exp": lambda w: w.token(exp=...),
    "exp null": lambda w: w.token(exp=None),
    "exp as a text": lambda w: w.token(exp=str(int(time.time()) + 900)),
    "exp as a float": lambda w: w.token(exp=time.time() + 900.5),
    "exp true": lambda w: w.token(exp=True),
    "exp 10**30": lambda w: w.token(exp=10**30),
    "exp infinite": lambda w: w.ed.sign(json.dumps(w.claims(exp=float("inf"))).encode()),
    "nbf ahead": lambda w: w.token(nbf=int(time.time()) + 60),
    "nbf as a text": lambda w: w.token(nbf="0"),
    "nbf not a number": lambda w: w.ed.sign(json.dumps(w.claims(nbf=float("nan"))).encode()),
    "iat ahead": lambda w: w.token(iat=int(time.time()) + 60),
    "iat as a text": lambda w: w.token(iat="0"),
    "iat 10**30": lambda w: w.token(iat=10**30),
    "no sub": lambda w: w.token(sub=...),
    "sub null": lambda w: w.token(sub=None),
    "sub as a number": lambda w: w.token(sub=7),
    "sub as a list": lambda w: w.token(sub=["x"]),
    "sub empty": lambda w: w.token(sub=""),
    "sub of 256 characters": lambda w: w.token(sub="x" * 256),
    "sub with NUL": lambda w: w.token(sub="a\0b"),
    "sub with half a character": lambda w: w.token(sub="\ud800"),
    "user_id instead of sub": lambda w: w.token(sub=..., user_id=str(uuid4())),
}  # fmt: skip


Answers = dict[tuple[str, str], httpx.Response]


@pytest.fixture(scope="module")
def answers(world: World) -> Answers:
    """Sends all requests in parallel, because an unknown key id waits for the issuer's cooldown."""

    def ask(name: str, contract: Contract) -> httpx.Response:
        return world.ask(FORGED[name](world), f"{contract.prefix}/tasks")

    with ThreadPoolExecutor(32) as threads:
        asked = {(n, c.name): threads.submit(ask, n, c) for n in FORGED for c in (FEBRUARY, JANUARY)}
        return {key: future.result() for key, future in asked.items()}


@pytest.mark.parametrize("name", FORGED)
def test_forged_token_returns_401_invalid_token(world: World, answers: Answers, contract: Contract, name: str) -> None:
    answer = answers[name, contract.name]

    assert (answer.status_code, answer.json()) == (401, contract.token_error(*INVALID))
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert world.publisher.asked.count("/elsewhere") == 0


def test_token_with_a_negative_exp_returns_401_token_expired(world: World, contract: Contract) -> None:
    answer = world.ask(world.token(exp=-1), f"{contract.prefix}/tasks")

    assert (answer.status_code, answer.json()) == (401, contract.token_error(*EXPIRED))


def test_two_tokens_in_one_request_return_401(world: World, contract: Contract) -> None:
    path = f"{contract.prefix}/tasks"
    both = f"Bearer {world.token()}"
    twice_said = world.service.http.get(path, headers=[("Authorization", both), ("Authorization", both)])
    in_one = world.ask(f"{world.token()}, Bearer {world.token()}", path)

    assert (twice_said.status_code, twice_said.json()) == (401, contract.token_error(*UNAUTHORIZED))
    assert (in_one.status_code, in_one.json()) == (401, contract.token_error(*INVALID))


def test_token_of_20_kb_returns_431_and_the_next_request_is_served(world: World) -> None:
    answer = world.ask(world.token(padding="x" * 20_000))

    assert answer.status_code == 431
    assert world.ask(world.token()).status_code == 200
