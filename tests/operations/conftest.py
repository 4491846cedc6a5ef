"""Services whose traces a collector of the test gets."""

from collections.abc import Callable, Iterator

import pytest

from tests.otlp import Collector, Start, collecting
from tests.support import Service


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def start_traced(start_service: Callable[..., Service], collector: Collector) -> Start:
    def start(**settings: object) -> Service:
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": 50, "TOKEN_RECHECK": 300}
        return start_service(**(given | settings))

    return start
