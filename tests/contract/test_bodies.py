"""Request bodies: valid JSON objects are accepted, anything else gets one error per kind, in both contracts."""

import json
import socket
import time

import httpx
import pytest

from tests.support import Contract, Service, User

JSON = {"Content-Type": "application/json"}
NOT_JSON = {"error": "Request body is not valid JSON", "code": "INVALID_REQUEST"}
NOT_AN_OBJECT = {"error": "Request body must be a JSON object", "code": "INVALID_REQUEST"}
NOT_TYPED_JSON = {"error": "Content-Type must be application/json", "code": "INVALID_REQUEST"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"title": "x",}',
        b"{'title': 'x'}",
        b'{"title": NaN}',
        b'{"title": Infinity}',
        b'{"title": 1e400}',
        b'{"title": "\\ud800"}',
        b'{"title": "\xff"}',
        '{"title": "é"}'.encode("latin-1"),
        '{"title": "x"}'.encode("utf-16"),
        b'\xef\xbb\xbf{"title": "x"}',
        b'{"title": "x"} trailing',
        b'{"title": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"title": "a\nb"}',
    ],
)
def test_malformed_json_returns_400_invalid_request(ann: User, contract: Contract, body: bytes) -> None:
    task = ann.creates(contract)

    for answer in (
        ann.request("POST", f"{contract.prefix}/tasks", content=body, headers=JSON),
        ann.request("PUT", f"{contract.prefix}/tasks/{task['id']}", content=body, headers=JSON),
    ):
        assert (answer.status_code, answer.json()) == (400, NOT_JSON)


@pytest.mark.parametrize("path", ["/auth/signup", "/auth/login"])
def test_malformed_json_on_account_endpoints_returns_400_invalid_request(
    http: httpx.Client, contract: Contract, path: str
) -> None:
    answer = http.post(contract.prefix + path, content=b"{", headers=JSON)

    assert (answer.status_code, answer.json()) == (400, NOT_JSON)


@pytest.mark.parametrize("body", [b"[]", b'[{"title": "x"}]', b'"title"', b"1", b"true", b"null"])
def test_json_that_is_not_an_object_returns_400_invalid_request(ann: User, contract: Contract, body: bytes) -> None:
    answer = ann.request("POST", f"{contract.prefix}/tasks", content=body, headers=JSON)

    assert (answer.status_code, answer.json()) == (400, NOT_AN_OBJECT)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/vnd.api+json",
    ],
)
def test_content_type_other_than_json_returns_400_invalid_request(
    ann: User, contract: Contract, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    answer = ann.request("POST", f"{contract.prefix}/tasks", content=b'{"title": "x"}', headers=headers)

    assert (answer.status_code, answer.json()) == (400, NOT_TYPED_JSON)


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", 'application/json;charset="UTF-8"']
)
def test_content_type_json_with_a_charset_or_in_another_case_is_accepted(
    ann: User, contract: Contract, content_type: str
) -> None:
    answer = ann.request(
        "POST", f"{contract.prefix}/tasks", content='{"title": "é"}'.encode(), headers={"Content-Type": content_type}
    )

    assert (answer.status_code, contract.task(answer.json())["title"]) == (201, "é")


def test_duplicate_json_key_takes_the_last_value(ann: User, contract: Contract) -> None:
    body = b'{"title": "first", "title": "last"}'

    answer = ann.request("POST", f"{contract.prefix}/tasks", content=body, headers=JSON)

    assert (answer.status_code, contract.task(answer.json())["title"]) == (201, "last")


def test_body_of_one_mebibyte_is_accepted_and_one_byte_more_returns_413(ann: User, contract: Contract) -> None:
    fits = json.dumps({"title": "x", "padding": ""}).encode()
    fits = fits.replace(b'""', b'"%s"' % (b"a" * (1024 * 1024 - len(fits))))

    just = ann.request("POST", f"{contract.prefix}/tasks", content=fits, headers=JSON)
    over = ann.request("POST", f"{contract.prefix}/tasks", content=fits + b" ", headers=JSON)

    assert (len(fits), just.status_code) == (1024 * 1024, 201)
    assert (over.status_code, over.json()) == (
        413,
        {"error": "Request body is too large", "code": "PAYLOAD_TOO_LARGE"},
    )


def test_413_for_a_large_body_reaches_a_client_that_is_still_sending(
    service: Service, contract: Contract, ann: User
) -> None:
    head = (
        f"POST {contract.prefix}/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ann.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 4194304\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        connection.sendall(head.encode())
        for _ in range(8):
            time.sleep(0.02)
            connection.sendall(b"a" * 524288)
        time.sleep(0.02)
        answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert answer.endswith(b'{"error":"Request body is too large","code":"PAYLOAD_TOO_LARGE"}')


def test_large_chunked_body_returns_413(ann: User, contract: Contract) -> None:
    chunks = (b"a" * 65536 for _ in range(64))

    answer = ann.request("POST", f"{contract.prefix}/tasks", content=chunks, headers=JSON)

    assert (answer.status_code, answer.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_body_of_a_get_is_ignored(ann: User, contract: Contract) -> None:
    task = ann.creates(contract)

    answer = ann.request("GET", f"{contract.prefix}/tasks/{task['id']}", content=b"{", headers=JSON)

    assert (answer.status_code, contract.task(answer.json())) == (200, task)
