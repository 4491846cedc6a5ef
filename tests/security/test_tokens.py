"""Own tokens: which are accepted, which are refused and with which error, on every endpoint, in both contracts."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import jwt
import psycopg
import pytest

from tests.support import OLD_SECRET, PASSWORD, SECRET, Contract, Service, User, new_email, sign_up

UNAUTHORIZED = ("UNAUTHORIZED", "Invalid or missing authentication token")
INVALID = ("INVALID_TOKEN", "Authentication token is invalid")
EXPIRED = ("TOKEN_EXPIRED", "Authentication token has expired")

HOUR = 3600
NOW = int(time.time())
BAD_ID = "not-a-uuid"


def signed(claims: Any, secret: str = SECRET, *, header: dict[str, Any] | None = None) -> str:
    """A token built by hand, because PyJWT refuses to make some that an attacker would send."""
    head = header or {"alg": "HS256", "typ": "JWT"}
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    message = f"{segment(json.dumps(head).encode())}.{segment(payload)}"
    return f"{message}.{segment(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest())}"


def segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(user: User, **changed: Any) -> dict[str, Any]:
    claims = {"sub": user.id, "user_id": user.id, "email": user.email, "iat": NOW, "exp": NOW + HOUR} | changed
    return {name: value for name, value in claims.items() if value is not ...}


def asks(http: httpx.Client, contract: Contract, *authorization: str) -> httpx.Response:
    return http.get(f"{contract.prefix}/tasks", headers=[("Authorization", each) for each in authorization])


def verdict(answer: httpx.Response) -> tuple[int, Any]:
    return answer.status_code, answer.json()


def endpoints(contract: Contract) -> list[tuple[str, str]]:
    tasks = f"{contract.prefix}/tasks"
    found = [("GET", tasks), ("POST", tasks), ("GET", f"{tasks}/{BAD_ID}"), ("PUT", f"{tasks}/{BAD_ID}")]
    found += [("DELETE", f"{tasks}/{BAD_ID}"), ("HEAD", tasks)]
    return found if contract.name == "january" else [*found, ("GET", "/api/auth/me")]


@pytest.mark.parametrize(
    ("token", "error"),
    [
        (None, UNAUTHORIZED),
        ("nonsense", INVALID),
        (signed({"sub": "00000000-0000-4000-8000-000000000000", "exp": NOW - 1}), EXPIRED),
    ],
    ids=["none", "bad", "expired"],
)
def test_missing_bad_or_expired_token_returns_401_before_the_body_and_the_id_are_checked(
    http: httpx.Client, contract: Contract, token: str | None, error: tuple[str, str]
) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    for method, path in endpoints(contract):
        answer = http.request(method, path, headers=headers, content=b"{not json")
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            assert answer.json() == contract.token_error(*error)


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        ["Bearer"],
        ["Basic {}"],
        ["Token {}"],
        ["{}"],
        ["Bearer{}"],
        ["Bearer {}", "Bearer {}"],
        ["Basic x", "Bearer {}"],
        ["Bearer {}", ""],
    ],
)
def test_authorization_other_than_exactly_one_bearer_token_returns_401_unauthorized(
    ann: User, contract: Contract, authorization: list[str]
) -> None:
    answer = asks(ann.http, contract, *(each.format(ann.token) for each in authorization))

    assert verdict(answer) == (401, contract.token_error(*UNAUTHORIZED))


@pytest.mark.parametrize("authorization", ["Bearer {}", "bearer {}", "BEARER {}", "Bearer   {}"])
def test_bearer_scheme_is_case_insensitive(ann: User, contract: Contract, authorization: str) -> None:
    assert verdict(asks(ann.http, contract, authorization.format(ann.token))) == (200, contract.list_of())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token + "x",
        lambda token: token[:-2],
        lambda token: token.rpartition(".")[0] + ".",
        lambda token: token.rpartition(".")[0],
        lambda token: token + ".x",
        lambda token: token.replace(".", " .", 1),
        lambda token: token[:-5] + " " + token[-5:],
        lambda token: token[:-5] + "!" + token[-5:],
        lambda token: token + "=",
        lambda token: f'"{token}"',
        lambda token: f"{token} {token}",
        lambda token: f"{token}, {token}",
        lambda token: token.partition(".")[2],
    ],
)
def test_altered_token_returns_401_invalid_token(ann: User, contract: Contract, spoil: Callable[[str], str]) -> None:
    assert verdict(asks(ann.http, contract, f"Bearer {spoil(ann.token)}")) == (401, contract.token_error(*INVALID))


def test_token_of_non_ascii_bytes_returns_401_invalid_token(service: Service, contract: Contract) -> None:
    sent = f"GET {contract.prefix}/tasks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer ".encode()

    answer = service.raw(sent + b"\xff\xfe.\xc3\xa9.x\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"INVALID_TOKEN" in answer


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "NONE"},
        {"alg": ""},
        {"alg": None},
        {},
        {"alg": "hs256"},
        {"alg": "HS384"},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": "EdDSA"},
        {"alg": ["HS256"]},
        {"alg": "HS256", "crit": ["exp"]},
        {"alg": "HS256", "b64": False, "crit": ["b64"]},
        {"alg": "HS256", "kid": 1},
    ],
)
def test_token_with_a_header_other_than_plain_hs256_returns_401(
    ann: User, contract: Contract, header: dict[str, Any]
) -> None:
    tokens = [signed(claims_of(ann), header=header or {"typ": "JWT"})]
    tokens.append(tokens[0].rpartition(".")[0] + ".")

    for token in tokens:
        assert verdict(asks(ann.http, contract, f"Bearer {token}")) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize("token", ["x", "..", "a.b.c", "a" * 4000, "null", "undefined"])
def test_text_that_is_not_a_token_returns_401_invalid_token(http: httpx.Client, contract: Contract, token: str) -> None:
    assert verdict(asks(http, contract, f"Bearer {token}")) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize("iss", ["https://evil.example", "", None, 7, []])
def test_token_signed_with_our_secret_that_names_an_issuer_returns_401(ann: User, contract: Contract, iss: Any) -> None:
    answer = asks(ann.http, contract, f"Bearer {signed(claims_of(ann, iss=iss))}")

    assert verdict(answer) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_token_signed_with_another_hmac_algorithm_returns_401(ann: User, contract: Contract, algorithm: str) -> None:
    token = jwt.encode(claims_of(ann), SECRET * 2, algorithm)

    assert verdict(asks(ann.http, contract, f"Bearer {token}")) == (401, contract.token_error(*INVALID))


def test_token_signed_with_another_secret_returns_invalid_token_even_if_expired(ann: User, contract: Contract) -> None:
    for exp in (NOW + HOUR, NOW - HOUR):
        token = signed(claims_of(ann, exp=exp), "another-secret-of-more-than-32-bytes")
        assert verdict(asks(ann.http, contract, f"Bearer {token}")) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": ...},
        {"exp": None},
        {"exp": str(NOW + HOUR)},
        {"exp": float(NOW + HOUR)},
        {"exp": True},
        {"exp": 10**30},
        {"exp": 253402300800},
        {"exp": [NOW + HOUR]},
        {"nbf": NOW + HOUR},
        {"nbf": str(NOW)},
        {"nbf": float("nan")},
        {"nbf": float("-inf")},
        {"nbf": None},
        {"nbf": True},
        {"aud": "somebody"},
        {"sub": ..., "user_id": ...},
        {"sub": None},
        {"sub": None, "user_id": ...},
        {"sub": 1, "user_id": ...},
        {"sub": "", "user_id": ...},
        {"sub": "ann", "user_id": ...},
        {"sub": "a\0", "user_id": ...},
        {"sub": "\ud800", "user_id": ...},
        {"sub": ["00000000-0000-4000-8000-000000000000"], "user_id": ...},
        {"user_id": "00000000-0000-4000-8000-000000000000"},
        {"user_id": None},
        {"user_id": {"id": 1}},
        {"sub": ..., "user_id": "ann"},
        {"sub": ..., "user_id": 7},
    ],
)
def test_token_with_a_missing_or_malformed_claim_returns_401_invalid_token(
    ann: User, contract: Contract, changed: dict[str, Any]
) -> None:
    token = signed(claims_of(ann, **changed))

    assert verdict(asks(ann.http, contract, f"Bearer {token}")) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize("payload", [b"", b"[]", b"null", b"1", b"{", b"\xff", b'{"exp": NaN}', b"[" * 50_000])
def test_token_with_a_payload_that_is_not_an_object_returns_401_invalid_token(
    http: httpx.Client, contract: Contract, payload: bytes
) -> None:
    token = signed(payload[:5000])

    assert verdict(asks(http, contract, f"Bearer {token}")) == (401, contract.token_error(*INVALID))


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": NOW - 1},
        {"exp": 0},
        {"exp": -(10**30)},
        {"exp": NOW - 1, "nbf": NOW + HOUR},
        {"exp": NOW - 1, "sub": None},
        {"exp": NOW - 1, "sub": ..., "user_id": ...},
        {"exp": NOW - 1, "aud": "somebody"},
        {"exp": NOW - 1, "sub": "00000000-0000-4000-8000-000000000000"},
    ],
)
def test_expired_token_with_other_faults_returns_401_token_expired(
    ann: User, contract: Contract, changed: dict[str, Any]
) -> None:
    for secret in (SECRET, OLD_SECRET):
        answer = asks(ann.http, contract, f"Bearer {signed(claims_of(ann, **changed), secret)}")
        assert verdict(answer) == (401, contract.token_error(*EXPIRED))


@pytest.mark.parametrize(
    "changed",
    [
        {"iat": ...},
        {"iat": NOW + HOUR},
        {"iat": "yesterday"},
        {"nbf": NOW - 1},
        {"nbf": NOW - 0.5},
        {"email": ...},
        {"email": "somebody@else.example"},
        {"user_id": ...},
        {"sub": ...},
        {"exp": 253402300799},
        {"jti": 7, "role": "admin"},
    ],
)
def test_token_signed_elsewhere_with_the_secret_is_accepted(
    ann: User, contract: Contract, changed: dict[str, Any]
) -> None:
    answer = asks(ann.http, contract, f"Bearer {signed(claims_of(ann, **changed))}")

    assert verdict(answer) == (200, contract.list_of())


def test_user_id_in_upper_case_is_the_same_user(ann: User, contract: Contract) -> None:
    token = signed(claims_of(ann, sub=ann.id.upper()))

    assert contract.task(
        ann.http.post(
            f"{contract.prefix}/tasks", json={"title": "x"}, headers={"Authorization": f"Bearer {token}"}
        ).json()
    )["user_id"] == ann.id  # fmt: skip


def test_token_of_the_old_secret_is_accepted_and_new_tokens_use_the_new_secret(ann: User, contract: Contract) -> None:
    old = signed(claims_of(ann), OLD_SECRET)

    assert verdict(asks(ann.http, contract, f"Bearer {old}")) == (200, contract.list_of())
    given = {"email": ann.email, "password": PASSWORD}
    fresh = ann.http.post(f"{contract.prefix}/auth/login", json=given).json()["token"]
    assert jwt.decode(fresh, SECRET, ["HS256"])["sub"] == ann.id


def test_token_of_the_old_secret_returns_401_once_the_secret_is_removed(
    start_service: Callable[..., Service], ann: User, contract: Contract
) -> None:
    http = start_service().http

    assert verdict(asks(http, contract, f"Bearer {signed(claims_of(ann))}")) == (200, contract.list_of())
    refused = asks(http, contract, f"Bearer {signed(claims_of(ann), OLD_SECRET)}")
    assert verdict(refused) == (401, contract.token_error(*INVALID))


def test_token_expires_after_jwt_expiration_hours(start_service: Callable[..., Service]) -> None:
    http = start_service(JWT_EXPIRATION_HOURS=2).http

    token = http.post("/api/auth/signup", json={"email": new_email(), "password": PASSWORD}).json()["token"]

    claims = jwt.decode(token, SECRET, ["HS256"])
    assert claims["exp"] - claims["iat"] == 2 * HOUR


def test_token_of_a_deleted_user_returns_401_on_every_endpoint(
    ann: User, contract: Contract, database: psycopg.Connection
) -> None:
    task = ann.creates(contract)
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])

    bodies = {"POST": {"title": "x"}, "PUT": {"title": "x"}}
    there = [(method, f"{contract.prefix}/tasks/{task['id']}") for method in ("GET", "PUT", "DELETE")]
    for method, path in endpoints(contract) + there:
        answer = ann.request(method, path, json=bodies.get(method))
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        if method != "HEAD":
            assert answer.json() == contract.token_error(*INVALID)


def test_recreated_account_does_not_accept_tokens_of_the_deleted_one(
    ann: User, contract: Contract, database: psycopg.Connection
) -> None:
    database.execute("DELETE FROM users WHERE id = %s", [ann.id])
    again = sign_up(ann.http, email=ann.email)

    assert again.get(f"{contract.prefix}/tasks").status_code == 200
    assert verdict(ann.get(f"{contract.prefix}/tasks")) == (401, contract.token_error(*INVALID))
