"""Response headers: CORS, caching, content type, request id."""

import re
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from service.http import refused_origins
from service.http.refused_origins import RefusedOrigins
from tests.support import FRONTEND, Contract, Service, User

PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, If-Match, If-None-Match, Idempotency-Key, X-Request-ID, traceparent, Prefer"
    ),
    "Access-Control-Max-Age": "600",
}
SHARED = {
    "Access-Control-Allow-Origin": FRONTEND,
    "Access-Control-Allow-Credentials": "true",
    "Access-Control-Expose-Headers": (
        "ETag, Link, Location, Retry-After, X-Request-ID, Idempotency-Replayed, WWW-Authenticate, Preference-Applied"
    ),
}


def cors_headers(answer: httpx.Response) -> dict[str, str]:
    return {name.title(): value for name, value in answer.headers.items() if name.startswith("access-control-")}


def every_kind_of_answer(user: User, contract: Contract) -> list[httpx.Response]:
    task = user.creates(contract)
    origin = {"Origin": FRONTEND}
    paths = {
        200: ("GET", f"{contract.prefix}/tasks"),
        201: ("POST", f"{contract.prefix}/tasks"),
        404: ("GET", f"{contract.prefix}/tasks/1"),
        405: ("PATCH", f"{contract.prefix}/tasks"),
        400: ("PUT", f"{contract.prefix}/tasks/{task['id']}"),
    }
    answers = [
        user.request(method, path, json={"title": "x"} if status == 201 else None, headers=origin)
        for status, (method, path) in paths.items()
    ]
    answers.append(user.http.get(f"{contract.prefix}/tasks", headers=origin))
    answers.append(user.http.get(f"{contract.prefix}/nowhere", headers=origin))
    answers.append(user.http.post(f"{contract.prefix}/auth/login", content=b"a" * 2_000_000, headers=origin))
    answers.append(user.delete(f"{contract.prefix}/tasks/{task['id']}", headers=origin))
    assert {answer.status_code for answer in answers} >= {200, 201, 400, 401, 404, 405, 413}
    return answers


def test_every_answer_has_cors_headers_for_a_listed_origin_and_no_store(ann: User, contract: Contract) -> None:
    for answer in every_kind_of_answer(ann, contract):
        assert (answer.status_code, cors_headers(answer)) == (answer.status_code, SHARED)
        assert answer.headers["Vary"] == "Origin"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])
        assert answer.headers.get("Content-Type", "application/json") == "application/json"


@pytest.mark.parametrize("path", ["/docs", "/docs/page.js", "/docs/openapi.json"])
def test_documentation_is_sent_with_cache_control_no_cache(http: httpx.Client, path: str) -> None:
    assert http.get(path).headers.get_list("Cache-Control") == ["no-cache"]


@pytest.mark.parametrize(
    "origin",
    [None, "http://localhost:3001", "https://localhost:3000", "http://localhost:3000.evil.example", "null", "*"],
)
def test_origin_that_is_not_listed_gets_no_cors_headers(ann: User, contract: Contract, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}

    for answer in (
        ann.get(f"{contract.prefix}/tasks", headers=headers),
        ann.http.options(f"{contract.prefix}/tasks", headers=headers),
        ann.http.get("/health", headers=headers),
    ):
        assert cors_headers(answer) == {}
        assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", ["/api/tasks", "/v1/api/tasks/1", "/health", "/nowhere", "/v1", "/"])
def test_preflight_on_any_path_returns_204_with_all_methods(http: httpx.Client, path: str) -> None:
    asked = {
        "Origin": FRONTEND,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-type",
    }

    answer = http.options(path, headers=asked)

    assert (answer.status_code, answer.content) == (204, b"")
    assert cors_headers(answer) == SHARED | PREFLIGHT


def test_preflight_with_a_body_over_the_limit_returns_204_and_closes_the_connection(service: Service) -> None:
    head = (
        f"OPTIONS /api/tasks HTTP/1.1\r\nHost: x\r\nOrigin: {FRONTEND}\r\nX-Request-ID: large-preflight\r\n"
        "Content-Length: 4194304\r\n\r\n"
    )
    answer = b""
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(head.encode())
        for _ in range(8):
            time.sleep(0.02)
            connection.sendall(b"a" * 524288)
        time.sleep(0.02)
        while received := connection.recv(65536):
            answer += received

    status, *headers = answer.removesuffix(b"\r\n\r\n").decode().split("\r\n")
    assert status == "HTTP/1.1 204 No Content"
    given = httpx.Headers([(name, value) for name, _, value in (header.partition(": ") for header in headers)])
    assert given.items() >= {"connection": "close", "access-control-allow-origin": FRONTEND}.items()
    assert [line["status"] for line in service.lines_of("large-preflight")] == [204]
    assert [line for line in service.lines() if "body not consumed" in line["message"]] == []


def test_each_of_several_listed_origins_is_allowed(start_service: Callable[..., Service]) -> None:
    http = start_service(FRONTEND_URL="https://app.example.com/, http://localhost:5173").http

    for origin in ("https://app.example.com", "http://localhost:5173"):
        answer = http.get("/health", headers={"Origin": origin})
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    assert cors_headers(http.get("/health", headers={"Origin": FRONTEND})) == {}


def logged_origins(service: Service) -> list[tuple[str, str]]:
    lines = [line for line in service.lines() if line["message"].startswith("the origin ")]
    assert {line["level"] for line in lines} <= {"warning"}
    return [(line["request_id"], line["message"]) for line in lines]


def test_unlisted_origin_is_logged_once_with_the_name_of_the_setting(
    start_service: Callable[..., Service],
) -> None:
    service = start_service(FRONTEND_URL=f"{FRONTEND},https://app.example.com")
    host = service.url.partition("//")[2]
    own_pages = [{"Origin": service.url}, {"Origin": f"https://{host}"}]
    own_pages.append({"Origin": "https://todo.example.com", "Sec-Fetch-Site": "same-origin"})
    for sent in ({}, {"Origin": FRONTEND}, {"Origin": "https://app.example.com"}, *own_pages):
        service.http.get("/health", headers=sent)
    for number, origin in enumerate(["http://localhost:5173", "null", "http://localhost:5173", "\x1b[31m" + "x" * 200]):
        service.http.options("/api/tasks", headers={"Origin": origin, "X-Request-ID": f"origin-{number}"})

    rest = "is not allowed (FRONTEND_URL=http://localhost:3000,https://app.example.com): browsers keep the answers from"
    assert logged_origins(service) == [
        ("origin-0", f"the origin 'http://localhost:5173' {rest} its pages"),
        ("origin-1", f"the origin 'null' {rest} its pages"),
        ("origin-3", f"the origin '\\x1b[31m{'x' * 95}' {rest} its pages"),
    ]


def test_at_most_20_made_up_origins_are_logged(start_service: Callable[..., Service]) -> None:
    service = start_service()
    for number in range(50):
        assert service.http.get("/health/live", headers={"Origin": f"http://{number}.example"}).status_code == 200

    assert [message.split("'")[1] for _, message in logged_origins(service)] == [
        f"http://{number}.example" for number in range(20)
    ]


def test_unlisted_origin_is_logged_again_after_the_interval(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    request: Any = SimpleNamespace(id="1", headers={"host": "todo.example"})
    origins = RefusedOrigins(["http://localhost:3000"])
    for seconds, count in ((1000.0, 1), (1299.0, 1), (1300.0, 2), (1301.0, 2)):
        monkeypatch.setattr(refused_origins, "monotonic", lambda now=seconds: now)
        origins.see(request, "http://localhost:5173")
        assert len(caplog.messages) == count


@pytest.mark.parametrize("given", ["1", "a" * 128, "Trace_7.x-9", "0af7651916cd43dd8448eb211c80319c"])
def test_valid_request_id_of_the_client_is_returned(http: httpx.Client, given: str) -> None:
    assert http.get("/health/live", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given


@pytest.mark.parametrize("given", [b"", b"a" * 129, b"a b", b"a;b", b"\xc3\xa9", b"a\xff", b"<script>"])
def test_invalid_request_id_is_replaced(http: httpx.Client, given: bytes) -> None:
    answer = http.get("/health/live", headers=[(b"X-Request-ID", given)])

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_two_request_ids_are_replaced_by_one_new_id(http: httpx.Client) -> None:
    answer = http.get("/health/live", headers=[("X-Request-ID", "one"), ("X-Request-ID", "two")])

    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["X-Request-ID"])


def test_head_returns_the_status_and_headers_of_get_without_a_body(ann: User) -> None:
    task = ann.post("/api/tasks", {"title": "x"}).json()
    paths = ["/", "/health", "/health/live", "/docs", "/docs/openapi.json", "/docs/page.js", "/api/auth/me"]
    paths += [f"{prefix}/tasks{end}" for prefix in ("/api", "/v1/api") for end in ("", f"/{task['id']}", "/1")]

    asked = {"Origin": FRONTEND, "X-Request-ID": "the-same"}
    for path in [*paths, "/nowhere"]:
        got, headed = ann.get(path, headers=asked), ann.request("HEAD", path, headers=asked)
        assert (path, headed.status_code, headed.content) == (path, got.status_code, b"")
        assert headed.headers == got.headers
        assert cors_headers(headed) == SHARED


def test_head_without_a_token_returns_401(http: httpx.Client, contract: Contract) -> None:
    assert http.head(f"{contract.prefix}/tasks").status_code == 401


def test_trailing_slash_is_the_same_path(ann: User, contract: Contract) -> None:
    task = ann.creates(contract)

    assert ann.get(f"{contract.prefix}/tasks/").json() == contract.list_of(task)
    assert contract.task(ann.get(f"{contract.prefix}/tasks/{task['id']}/").json()) == task
    assert ann.http.get("/health/").json() == {"status": "healthy"}
    assert ann.http.post(f"{contract.prefix}/auth/login/", json={}).status_code == 400


def test_unknown_query_parameters_are_ignored(ann: User, contract: Contract) -> None:
    task = ann.creates(contract)

    answer = ann.get(f"{contract.prefix}/tasks?user_id=1&page=x&offset=-1&id=%00&%ff=%ff")

    assert (answer.status_code, answer.json()) == (200, contract.list_of(task))
