"""A minimal WebDriver client for chromedriver: the few commands that these tests need, as JSON over HTTP."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support import free_port

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Only this machine's names resolve, so a request to another host fails visibly.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]


class Browser:
    def __init__(self, driver: httpx.Client, session: str) -> None:
        self._driver = driver
        self._session = f"/session/{session}"

    def open(self, url: str) -> None:
        self._call("POST", "/url", url=url)

    def resize(self, width: int, height: int) -> None:
        self._call("POST", "/window/rect", width=width, height=height)

    def run(self, script: str, *arguments: Any) -> Any:
        return self._call("POST", "/execute/sync", script=script, args=list(arguments))

    def wait_for(self, script: str, *arguments: Any, seconds: float = 30) -> Any:
        """Runs the script until its value is truthy and returns it."""
        deadline = time.monotonic() + seconds
        while not (value := self.run(script, *arguments)):
            if time.monotonic() > deadline:
                raise AssertionError(f"in vain: {script}\n{self.run('return document.body.innerText')[:2000]}")
            time.sleep(0.1)
        return value

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("GET", "/screenshot")))

    def console(self) -> list[str]:
        return [entry["message"] for entry in self._call("POST", "/se/log", type="browser")]

    def requested(self) -> list[str]:
        """The URLs of all requests that the browser sent since the last call."""
        events = [
            json.loads(entry["message"])["message"] for entry in self._call("POST", "/se/log", type="performance")
        ]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def _call(self, method: str, command: str, **body: Any) -> Any:
        answer = self._driver.request(method, self._session + command, json=body if method == "POST" else None)
        value = answer.json()["value"]
        assert answer.status_code == 200, value
        return value


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    assert CHROMEDRIVER is not None
    port = free_port()
    process = subprocess.Popen([CHROMEDRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    options = {"binary": CHROMIUM, "args": [*ARGUMENTS, f"--user-data-dir={profile}"]}
    wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as driver:
            wait_until_up(driver)
            started = driver.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            assert "sessionId" in started, started
            try:
                yield Browser(driver, started["sessionId"])
            finally:
                driver.delete(f"/session/{started['sessionId']}")
    finally:
        process.terminate()
        process.wait(30)


def wait_until_up(driver: httpx.Client) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            driver.get("/status")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("chromedriver did not start")
