"""Reads the metrics of a service as Prometheus does."""

from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from service.metrics.definitions import REQUEST_DURATION
from tests.support import TRUST, Service

Request = tuple[str, str, str]  # method, route, status

LIVE = "/health/live"  # which the tests ask until a service is up


@dataclass(frozen=True)
class Scrape:
    text: str

    @property
    def types(self) -> dict[str, str]:
        """The type of each metric, by its name as in the text."""
        lines = [line.split() for line in self.text.splitlines() if line.startswith("# TYPE")]
        return {name: kind for _, _, name, kind in lines}

    @property
    def samples(self) -> list[Any]:
        return [sample for family in text_string_to_metric_families(self.text) for sample in family.samples]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels; 0 if there are none."""
        return float(sum(self.by(name, **labels).values()))

    def by(self, name: str, **labels: str) -> dict[tuple[str, ...], float]:
        """The samples with these labels, by the values of their other labels, which are in alphabetical order."""
        return {
            tuple(value for label, value in sample.labels.items() if label not in labels): sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        }

    def requests(self) -> dict[Request, int]:
        """How many were answered, without those for LIVE."""
        return {
            (sample.labels["http_request_method"], sample.labels["http_route"], status): int(sample.value)
            for sample in self.samples
            if sample.name == f"{REQUEST_DURATION.name}_count" and sample.labels["http_route"] != LIVE
            for status in [sample.labels["http_response_status_code"]]
        }


@dataclass(frozen=True)
class Metered:
    """A service with its metrics."""

    service: Service
    port: int

    def scrape(self) -> Scrape:
        answer = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=60, verify=TRUST)
        assert answer.status_code == 200, answer.text
        return Scrape(answer.text)

    def value(self, name: str, **labels: str) -> float:
        return self.scrape().value(name, **labels)

    def shows(self, **values: float) -> bool:
        """Whether one scrape has these values of metrics. False too while a killed worker resets the connection."""
        try:
            scrape = self.scrape()
        except httpx.TransportError:
            return False
        return all(scrape.value(name) == value for name, value in values.items())
