"""Outside issuers for the tests: keys, tokens, and a server that publishes keys or gives prepared answers."""

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.support import Service, User

PATH = "/api/auth/jwks"
SHARED_SECRET = "a-secret-that-both-sides-know-and-nobody-else"


def segment(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass(frozen=True)
class Signer:
    """A private key and its public part as an issuer publishes it."""

    algorithm: str
    private: Any
    kid: str | None = field(default_factory=lambda: uuid4().hex)

    @property
    def jwk(self) -> dict[str, Any]:
        published = jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private.public_key(), as_dict=True)
        published.pop("key_ops", None)
        return published | ({} if self.kid is None else {"kid": self.kid})

    @property
    def private_jwk(self) -> dict[str, Any]:
        return self.jwk | jwt.get_algorithm_by_name(self.algorithm).to_jwk(self.private, as_dict=True)

    def sign(self, claims: Any, **header: Any) -> str:
        """Signs by hand, because a library refuses to make some tokens that an attacker would send."""
        head = {"alg": self.algorithm} | ({} if self.kid is None else {"kid": self.kid}) | header
        payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        message = f"{segment(json.dumps(head).encode())}.{segment(payload)}"
        signature = jwt.get_algorithm_by_name(self.algorithm).sign(message.encode(), self.private)
        return f"{message}.{segment(signature)}"


def ed_key(kid: str | None = None) -> Signer:
    return Signer("EdDSA", ed25519.Ed25519PrivateKey.generate(), kid or uuid4().hex)


def rsa_key(algorithm: str = "RS256", bits: int = 2048) -> Signer:
    return Signer(algorithm, rsa.generate_private_key(public_exponent=65537, key_size=bits))


def ec_key(algorithm: str = "ES256") -> Signer:
    return Signer(algorithm, ec.generate_private_key(ec.SECP256R1() if algorithm == "ES256" else ec.SECP521R1()))


Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Publisher:
    """A server of a key list at /api/auth/jwks, and of the answers that a test sets for other paths."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, Callable[[], Answer]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)

    def answer(self, path: str) -> Answer:
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]()
        return published(self.keys) if path == PATH else (404, {}, b"")


def published(keys: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps({"keys": keys}).encode()


@contextmanager
def publishing(*keys: dict[str, Any]) -> Iterator[Publisher]:
    publisher = Publisher(keys=list(keys))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.headers.append(self.headers)
            status, headers, body = publisher.answer(self.path)
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    publisher.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield publisher
    finally:
        server.shutdown()
        server.server_close()


def claims_of(issuer: str, **changed: Any) -> dict[str, Any]:
    """The claims of Better Auth's jwt plugin for a new user; `...` leaves a claim out."""
    now = int(time.time())
    claims = {"iat": now, "exp": now + 900, "iss": issuer, "aud": issuer, "sub": uuid4().hex}
    return {name: value for name, value in (claims | changed).items() if value is not ...}


RSA_ISSUER, EC_ISSUER, SHARED_ISSUER = "https://rsa.example/", "https://ec.example", "https://shared.example"


class World(NamedTuple):
    """A service that accepts tokens of four issuers, and the issuers' keys."""

    service: Service
    publisher: Publisher
    ed: Signer
    rsa: Signer
    ec: Signer

    @property
    def issuer(self) -> str:
        return self.publisher.url

    def claims(self, **changed: Any) -> dict[str, Any]:
        return claims_of(self.issuer, **changed)

    def token(self, **changed: Any) -> str:
        return self.ed.sign(self.claims(**changed))

    def user(self, **changed: Any) -> User:
        token = self.token(**changed)
        answer = self.ask(token, "/api/auth/me")
        assert answer.status_code == 200, answer.text
        return User(self.service.http, answer.json()["user"]["id"], answer.json()["user"]["email"], token)

    def ask(self, token: str, path: str = "/api/tasks") -> httpx.Response:
        return self.service.http.get(path, headers={"Authorization": f"Bearer {token}"})


def hs256(claims: dict[str, Any], secret: bytes, **header: Any) -> str:
    message = f"{segment(json.dumps({'alg': 'HS256'} | header).encode())}.{segment(json.dumps(claims).encode())}"
    return f"{message}.{segment(hmac.new(secret, message.encode(), hashlib.sha256).digest())}"
