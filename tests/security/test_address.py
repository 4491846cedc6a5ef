"""The client address for the limits: from the trusted proxies' part of X-Forwarded-For, else the peer's."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sanic.compat import Header

from service.http.client_address import client_network
from service.server.request import ServerRequest
from tests.support import Service

PEER = "192.0.2.7"


def network_of(trusted_proxies: int, *forwarded: str, peer: str = PEER, **others: str) -> str:
    app: Any = SimpleNamespace(ctx=SimpleNamespace(trusted_proxies=trusted_proxies))
    headers = Header([("x-forwarded-for", each) for each in forwarded] + list(others.items()))
    request = ServerRequest(b"/", headers, head=b"", version="1.1", method="GET", transport=None, app=app)
    conn_info: Any = SimpleNamespace(client_ip=peer)
    request.conn_info = conn_info
    return client_network(request)


def test_client_address_without_a_trusted_proxy_is_the_peers_and_headers_are_ignored() -> None:
    assert network_of(0) == PEER
    assert network_of(0, "203.0.113.9") == PEER
    assert network_of(0, **{"forwarded": "for=203.0.113.9", "x-real-ip": "203.0.113.9"}) == PEER


@pytest.mark.parametrize(
    ("proxies", "forwarded", "network"),
    [
        (1, ["203.0.113.1"], "203.0.113.1"),
        (1, ["203.0.113.9, 203.0.113.1"], "203.0.113.1"),
        (1, ["203.0.113.9", " 203.0.113.1 "], "203.0.113.1"),
        (2, ["203.0.113.9, 203.0.113.1, 10.0.0.1"], "203.0.113.1"),
        (2, ["203.0.113.9", "203.0.113.1", "10.0.0.1"], "203.0.113.1"),
        (3, ["203.0.113.1, 10.0.0.1"], PEER),
        (1, [], PEER),
        (1, [""], PEER),
        (1, ["203.0.113.9,"], PEER),
        (1, ["203.0.113.9, unknown"], PEER),
        (1, ["203.0.113.9, 1.2.3.4.5"], PEER),
        (2, ["203.0.113.9, _hidden, 10.0.0.1"], PEER),
        (1, ["203.0.113.1:4711"], "203.0.113.1"),
        (1, ["::ffff:203.0.113.1"], "203.0.113.1"),
        (1, ["[::ffff:203.0.113.1]:443"], "203.0.113.1"),
    ],
)
def test_client_address_behind_proxies_is_the_one_reported_by_the_farthest_trusted_proxy(
    proxies: int, forwarded: list[str], network: str
) -> None:
    assert network_of(proxies, *forwarded) == network


@pytest.mark.parametrize(
    "address",
    ["2001:db8:1:2::1", "2001:DB8:1:2:ffff::9", "[2001:db8:1:2::3]:443", "[2001:db8:1:2::3]", "2001:db8:1:2::%1"],
)
def test_ipv6_address_counts_as_its_64_bit_network(address: str) -> None:
    assert network_of(1, address) == "2001:db8:1:2::/64"
    assert network_of(0, peer=address.strip("[]").removesuffix("]:443")) == "2001:db8:1:2::/64"


def test_peer_without_an_address_counts_as_the_empty_address() -> None:
    assert network_of(0, peer="") == ""


WARNING = (
    "a request brings X-Forwarded-For while TRUSTED_PROXIES=0: behind a proxy all clients count as one address in the "
    "limits of logins and sign-ups; set it to the number of proxies if there are any"
)
FORWARDED = {"X-Forwarded-For": "203.0.113.9"}


def warnings(service: Service) -> list[str]:
    return [line["message"] for line in service.lines() if line["level"] == "warning"]


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/health/live", 200), ("GET", "/api/tasks", 401), ("GET", "/nowhere", 404)]
)
def test_first_request_through_an_uncounted_proxy_logs_one_warning(
    start_service: Callable[..., Service], method: str, path: str, status: int
) -> None:
    service = start_service()
    assert warnings(service) == []

    answers = [service.http.request(method, path, headers=FORWARDED) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [status] * 3
    assert warnings(service) == [WARNING]


@pytest.mark.parametrize(
    ("trusted_proxies", "headers"), [(1, FORWARDED), (0, {"Via": "1.1 proxy", "X-Real-IP": "203.0.113.9"})]
)
def test_requests_through_counted_proxies_or_without_the_header_log_no_warning(
    start_service: Callable[..., Service], trusted_proxies: int, headers: dict[str, str]
) -> None:
    service = start_service(TRUSTED_PROXIES=trusted_proxies)

    assert service.http.get("/api/tasks", headers=headers).status_code == 401
    assert warnings(service) == []


def test_several_workers_log_the_warning_once_together(start_service: Callable[..., Service]) -> None:
    service = start_service(WORKERS=2)
    deadline = time.monotonic() + 60
    while sum(line["message"].startswith("ready") for line in service.lines()) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)

    for _ in range(30):  # each on a new connection, so that the kernel spreads them over the workers
        assert httpx.get(f"{service.url}/health/live", headers=FORWARDED).status_code == 200

    assert warnings(service) == [WARNING]
