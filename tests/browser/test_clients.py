"""A page of another origin uses every operation of a contract in a real browser and reads every answer."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.browser.webdriver import CHROMEDRIVER, CHROMIUM, Browser, browser
from tests.support import FEBRUARY, JANUARY, TASK_NOT_FOUND, Contract, Service, free_port

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None, reason="Chromium and chromedriver are not installed"
)

HERE = Path(__file__).parent


class SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Logs nothing."""


@pytest.fixture(scope="module")
def frontend() -> Iterator[str]:
    """A server of the page, which is another origin."""
    port = free_port()
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", port), functools.partial(SilentHandler, directory=str(HERE))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{port}"
        server.shutdown()


@pytest.fixture(scope="module")
def backend(frontend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with support.running(tmp_path_factory.mktemp("backend"), FRONTEND_URL=frontend) as service:
        yield service


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def walk(page: Browser, frontend: str, base: str) -> dict[str, tuple[int, Any, set[str]]]:
    page.open(f"{frontend}/client.html?base={base}")
    page.wait_for("return document.title === 'done'")
    steps = json.loads(page.run("return document.getElementById('report').textContent"))
    return {name: (status, body, set(headers)) for name, status, body, headers in steps}


@pytest.mark.parametrize("contract", [FEBRUARY, JANUARY], ids=str)
def test_page_of_another_origin_signs_up_logs_in_and_works_with_tasks(
    page: Browser, frontend: str, backend: Service, contract: Contract
) -> None:
    january = contract is JANUARY

    steps = walk(page, frontend, backend.url + ("/v1" if january else ""))

    assert {name: status for name, (status, _, _) in steps.items()} == {
        "sign up": 201,
        "sign up again": 409,
        "log in wrongly": 401,
        "log in": 200,
        "list without a token": 401,
        "create without a title": 400,
        "create": 201,
        "list": 200,
        "read": 200,
        "toggle": 200,
        "edit": 200,
        "clear": 200,
        "delete": 204 if january else 200,
        "read what is gone": 404,
        "list nothing": 200,
    }
    bodies = {name: body for name, (_, body, _) in steps.items()}
    task = contract.task(bodies["create"])
    assert bodies["list"] == contract.list_of(task)
    assert contract.task(bodies["toggle"])[contract.flag] is True
    assert contract.task(bodies["edit"])["title"] == "Buy bread"
    assert contract.task(bodies["clear"])["description"] is None
    assert bodies["list nothing"] == contract.list_of()


@pytest.mark.parametrize("contract", [FEBRUARY, JANUARY], ids=str)
def test_page_can_read_error_bodies_and_exposed_headers(
    page: Browser, frontend: str, backend: Service, contract: Contract
) -> None:
    january = contract is JANUARY

    steps = walk(page, frontend, backend.url + ("/v1" if january else ""))

    bodies = {name: body for name, (_, body, _) in steps.items()}
    assert bodies["sign up again"] == {"error": "Email already registered", "code": "EMAIL_EXISTS"}
    assert bodies["log in wrongly"] == {"error": "Invalid email or password", "code": "INVALID_CREDENTIALS"}
    assert bodies["list without a token"] == contract.token_error(
        "UNAUTHORIZED", "Invalid or missing authentication token"
    )
    assert bodies["create without a title"] == contract.invalid(("title", "Title is required"))
    assert bodies["read what is gone"] == TASK_NOT_FOUND
    headers = {name: readable for name, (_, _, readable) in steps.items()}
    assert all("x-request-id" in readable for readable in headers.values())
    assert "www-authenticate" in headers["list without a token"]
    assert ("location" in headers["create"]) is not january


def test_page_of_an_origin_that_is_not_listed_fails_to_fetch(page: Browser, frontend: str, backend: Service) -> None:
    steps = walk(page, frontend.replace("localhost", "127.0.0.1"), backend.url)

    assert list(steps) == ["failed"]
    assert str(steps["failed"][0]) == "TypeError: Failed to fetch"


def test_browser_sends_a_preflight_before_the_request(page: Browser, frontend: str, backend: Service) -> None:
    walk(page, frontend, backend.url)

    # Reads the whole log, because the browser caches the preflight for ten minutes and does not repeat it.
    methods = [line["method"] for line in backend.lines() if "method" in line]
    assert methods.index("OPTIONS") < methods.index("POST")
