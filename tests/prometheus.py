"""A real Prometheus for the tests, and what it answers."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import support
from tests.support import ROOT, TRUST

FILES = ROOT / "deploy" / "prometheus"
RULES = FILES / "todo.rules.yml"
SCRAPE_SECONDS = 0.5

PROGRAM = shutil.which("prometheus")
needs_prometheus = pytest.mark.skipif(PROGRAM is None, reason="Prometheus is not installed")
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool of Prometheus is not installed")


@dataclass(frozen=True)
class Series:
    labels: dict[str, str]
    points: list[tuple[float, float]]  # time and value, without NaN and infinity


@dataclass(frozen=True)
class Prometheus:
    url: str

    def query(self, query: str) -> list[Series]:
        """The present value of each series."""
        return [series_of(each, [each["value"]]) for each in self._get("query", query=query)["result"]]

    def query_range(self, query: str, start: float, end: float, step: float) -> list[Series]:
        found = self._get("query_range", query=query, start=start, end=end, step=step)
        return [series_of(each, each["values"]) for each in found["result"]]

    def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = self._get("alerts")["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    def _get(self, path: str, **parameters: Any) -> Any:
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=60, verify=TRUST)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]


def series_of(found: Any, values: list[tuple[float, str]]) -> Series:
    numbers = [(at, float(value)) for at, value in values]
    return Series(found["metric"], [(at, number) for at, number in numbers if math.isfinite(number)])


@contextmanager
def running(directory: Path, metrics_port: int, rules: str | None = None) -> Iterator[Prometheus]:
    """Scrapes the metrics on this port as the job `todo`, and evaluates these rules, every SCRAPE_SECONDS."""
    (directory / "todo.rules.yml").write_text(RULES.read_text() if rules is None else rules)
    interval = f"{SCRAPE_SECONDS * 1000:.0f}ms"
    config = {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
        "rule_files": ["todo.rules.yml"],
        "scrape_configs": [{"job_name": "todo", "static_configs": [{"targets": [f"127.0.0.1:{metrics_port}"]}]}],
    }
    (directory / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port, log = support.free_port(), directory / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PROGRAM or "prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}",
             "--storage.tsdb.path=prometheus-data"],
            cwd=directory, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        wait_until_scraping(process, found, log)
        yield found
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_until_scraping(process: subprocess.Popen[bytes], found: Prometheus, log: Path) -> None:
    """The first scrape is seconds after the start. Before it there is no target, and an alert would fire."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(httpx.TransportError, AssertionError):  # it starts, and answers 503
            if found.query("up == 1"):
                return
        time.sleep(0.05)
    raise AssertionError(f"Prometheus does not scrape: {log.read_text()}")
