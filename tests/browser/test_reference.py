"""/docs in a real browser: loads from this host alone, obeys its policy, fits a phone, and "try it" works."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.webdriver import CHROMEDRIVER, CHROMIUM, Browser, browser
from tests.support import Service, User

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or CHROMEDRIVER is None, reason="Chromium and chromedriver are not installed"
)

# Types into a field controlled by React.
TYPE = """
const [field, text] = arguments;
const setter = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), "value").set;
setter.call(field, text);
field.dispatchEvent(new Event("input", { bubbles: true }));
"""
CREATE = "#operations-February-createTask"
# Clicks the element of a selector and returns whether it exists.
CLICK = "const found = document.querySelector(arguments[0]); if (found) found.click(); return Boolean(found)"


@pytest.fixture
def page(tmp_path: Path, service: Service) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as started:
        started.resize(1200, 1000)
        started.open(f"{service.url}/docs")
        started.wait_for("return document.querySelectorAll('.opblock').length")
        yield started


def save_screenshot(page: Browser, name: str) -> None:
    """Saves a screenshot if SCREENSHOTS names a directory."""
    if os.environ.get("SCREENSHOTS"):
        page.screenshot(Path(os.environ["SCREENSHOTS"]) / f"{name}.png")


def test_reference_page_shows_every_operation_and_requests_no_other_host(page: Browser, service: Service) -> None:
    save_screenshot(page, "reference")

    document = service.http.get("/docs/openapi.json").json()
    assert page.run("return document.querySelectorAll('.opblock').length") == sum(map(len, document["paths"].values()))
    own = ("data:", "blob:", "chrome:", "chrome-untrusted:")  # the browser's own requests, for example of its empty tab
    addresses = [url for url in page.requested() if not url.startswith(own)]
    assert len(addresses) >= 5
    assert [url for url in addresses if not url.startswith(f"{service.url}/docs")] == []
    assert page.console() == []


def test_reference_page_fits_the_width_of_a_phone(page: Browser) -> None:
    page.resize(390, 844)
    page.wait_for("return window.innerWidth < 600")
    page.wait_for(CLICK, f"{CREATE} .opblock-summary-control")
    page.wait_for("return document.querySelector(arguments[0])", f"{CREATE} .opblock-body")
    save_screenshot(page, "phone")

    assert page.run("return document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_try_it_with_a_pasted_token_creates_a_task(page: Browser, ann: User) -> None:
    page.wait_for(CLICK, ".btn.authorize")
    field = page.wait_for("return document.querySelector('.auth-container input')")
    page.run(TYPE, field, ann.token)
    page.wait_for(CLICK, ".auth-btn-wrapper .authorize")
    page.wait_for(CLICK, ".auth-btn-wrapper .btn-done")
    page.wait_for(CLICK, f"{CREATE} .opblock-summary-control")
    page.wait_for("return document.querySelector(arguments[0])?.value.includes('Buy milk')", f"{CREATE} textarea")
    page.wait_for(CLICK, f"{CREATE} .execute")

    status = f"{CREATE} .live-responses-table .response .response-col_status"
    shown = page.wait_for("return document.querySelector(arguments[0])?.innerText", status)
    save_screenshot(page, "tried")

    assert shown.startswith("201")
    assert [task["title"] for task in ann.get("/api/tasks").json()["tasks"]] == ["Buy milk"]
    assert page.console() == []
