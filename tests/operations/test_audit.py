"""make audit names what has an advisory, and never takes advisories that it cannot read for none."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests import sbom
from tests.support import ROOT, free_port

MAKE = shutil.which("make") or "make"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")

NOT_AUDITED = "Nothing was audited: the advisories cannot be read\n"
AN_OLD_JINJA2 = "jinja2 2.4.1"


@contextmanager
def advisories(*vulnerable: str, status: int = 200) -> Iterator[tuple[str, set[str]]]:
    """The URL of a service like OSV, with an advisory for each of these packages, and the packages it is asked for."""
    asked = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            package = f"{query['package']['name']} {query['version']}"
            asked.add(package)
            found = {"vulns": [{"id": "PYSEC-2026-1", "affected": []}]} if package in vulnerable else {}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *_: object) -> None:
            """Nothing: the base class writes a line for each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()


def audit(url: str, cache: Path) -> subprocess.CompletedProcess[str]:
    arguments = f"--vulnerability-service osv --osv-url {url} --cache-dir {cache}"
    return subprocess.run(
        [MAKE, "--no-print-directory", "--old-file=.venv/ready", "audit", f"BIN={Path(sys.executable).parent}",
         f"ARGS={arguments}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def test_an_audit_asks_for_every_package_and_passes_without_advisories_for_them(tmp_path: Path) -> None:
    with advisories(AN_OLD_JINJA2) as (url, asked):
        done = audit(url, tmp_path)

    assert (done.returncode, done.stdout) == (0, "")
    locked = {f"{each.name} {each.version}" for each in sbom.packages(ROOT / "requirements-otel.txt")}
    assert locked <= asked


def test_an_advisory_for_a_package_fails_the_audit_and_names_it(tmp_path: Path) -> None:
    [bcrypt] = [each for each in sbom.packages(ROOT / "requirements.txt") if each.name == "bcrypt"]

    with advisories(AN_OLD_JINJA2, f"bcrypt {bcrypt.version}") as (url, _):
        done = audit(url, tmp_path)

    assert done.returncode != 0
    assert done.stdout.splitlines()[-1].split() == ["bcrypt", bcrypt.version, "PYSEC-2026-1"]


def test_a_service_without_advisories_or_in_trouble_or_away_fails_the_audit(tmp_path: Path) -> None:
    with advisories() as (empty, _), advisories(AN_OLD_JINJA2, status=503) as (in_trouble, _):
        failed = [audit(url, tmp_path) for url in (empty, in_trouble, f"http://127.0.0.1:{free_port()}")]

    assert [each.stdout.endswith(NOT_AUDITED) for each in failed] == [True] * 3
    assert [each.returncode != 0 for each in failed] == [True] * 3
