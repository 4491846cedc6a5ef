"""Sentry's own integration with Sanic, in the three lines that README shows, sees every request of this service."""

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import support
from tests.support import ROOT, SECRET, Service, free_port, sign_up

README = (ROOT / "README.md").read_text()

BREAK_ONE_ROUTE = """
import service.http.root
async def broken(_): raise RuntimeError("provoked")
service.http.root.show = broken
"""


class Sentry:
    """A server that records the events and transactions of a Sentry client."""

    def __init__(self) -> None:
        self.items: list[dict[str, Any]] = []
        items = self.items

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                items.extend(item for line in body.splitlines() if "event_id" in (item := json.loads(line)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def dsn(self) -> str:
        return f"http://key@127.0.0.1:{self.server.server_port}/1"

    def transactions(self) -> list[tuple[str, int]]:
        found = [item for item in self.items if item.get("type") == "transaction"]
        return sorted(
            (item["transaction"], item["contexts"]["trace"]["data"]["http.response.status_code"]) for item in found
        )

    def errors(self) -> list[dict[str, Any]]:
        return [item for item in self.items if "exception" in item]


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    started = Sentry()
    yield started
    started.server.shutdown()
    started.server.server_close()


@pytest.fixture
def service_with_sentry(sentry: Sentry, database_url: str, tmp_path: Path) -> Iterator[Service]:
    lines = README.partition("<!-- tests/server/test_sentry.py runs this -->\n```python\n")[2].partition("```")[0]
    assert "https://key@sentry.example.com/1" in lines
    port, log = free_port(), tmp_path / "service.log"
    settings = {"DATABASE_URL": database_url, "BETTER_AUTH_SECRET": SECRET, "PORT": port}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", BREAK_ONE_ROUTE + lines.replace("https://key@sentry.example.com/1", sentry.dsn)],
            cwd=tmp_path,
            env=support.environment(**settings),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    started = Service(port, process, log)
    try:
        started.wait_until_ready()
        yield started
    finally:
        if process.poll() is None:
            started.stop()


def test_each_good_request_is_a_transaction_and_only_a_500_is_an_event(
    service_with_sentry: Service, sentry: Sentry
) -> None:
    service = service_with_sentry
    user = sign_up(service.http)
    task = user.post("/api/tasks", {"title": "x"}).json()
    statuses = [
        user.get(f"/api/tasks/{task['id']}").status_code,
        user.get("/v1/api/tasks").status_code,
        user.get("/api/tasks/1").status_code,  # no such task
        service.http.get("/api/tasks").status_code,  # no token
        service.http.get("/nowhere").status_code,
        user.post("/api/tasks", {"title": ""}).status_code,
        service.http.get("/").status_code,
    ]
    assert service.stop() == 0  # everything is sent before it ends

    assert statuses == [200, 200, 404, 401, 404, 400, 500]
    named = [each for each in sentry.transactions() if each[0] not in {"health", "live"}]
    assert named == [
        ("api.sign_up", 201),
        ("api_private.create_task", 201),
        ("api_private.create_task", 400),
        ("api_private.get_task", 200),
        ("api_private.list_tasks", 401),
        ("broken", 500),
        ("v1_private.list_tasks", 200),
    ]
    [error] = sentry.errors()
    [exception] = error["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("RuntimeError", "provoked")
    assert exception["stacktrace"]["frames"][-1]["function"] == "broken"
    assert error["transaction"] == "broken"
