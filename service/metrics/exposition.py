"""The metrics of all workers as the text that Prometheus reads. Imported only when METRICS_PORT is set."""

import platform
import time
from collections.abc import Iterator
from itertools import accumulate
from typing import TypeAlias

from prometheus_client.core import Metric as Family
from prometheus_client.core import Sample
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry
from prometheus_client.utils import floatToGoString

from service import VERSION
from service.metrics.definitions import BUILD_INFO, METRICS, Metric
from service.metrics.meters import BY_NAME, name_and_labels
from service.metrics.shared_memory import SharedMemory

# The values of each series by its labels: of a histogram those of each bucket and the sum, else one.
Labels: TypeAlias = tuple[str, ...]
Totals: TypeAlias = dict[Labels, list[float]]

SAMPLES_AT_ONCE = 50  # about a millisecond
PAUSE_SECONDS = 0.0005  # enough for another thread to wake up


class Exposition:
    """For one thread at a time."""

    def __init__(self, memory: SharedMemory) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Workers(memory))

    def text(self, accept: str) -> tuple[bytes, str]:
        """And its media type, as a scraper asks for it in its `Accept` field."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type


class _Workers(Collector):
    def __init__(self, memory: SharedMemory) -> None:
        self._slabs = memory.slabs()

    def describe(self) -> list[Family]:
        """Asked at the registration, for the names. They are unique here already."""
        return []

    def collect(self) -> Iterator[Family]:
        totals = self._totals()
        totals[BUILD_INFO] = {(VERSION, platform.python_version()): [1]}
        for metric in METRICS:
            yield _family(metric, totals.get(metric, {}))

    def _totals(self) -> dict[Metric, Totals]:
        totals: dict[Metric, Totals] = {}
        for slab in self._slabs:
            for key, cells in slab.series():
                name, labels = name_and_labels(key)
                metric = BY_NAME[name]
                if metric.type == "gauge" and not slab.is_alive:
                    continue
                known, values = totals.setdefault(metric, {}), list(cells)
                if labels in known:
                    join = max if metric.over_workers == "max" else _sum
                    values = [join(pair) for pair in zip(known[labels], values, strict=True)]
                known[labels] = values
        return totals


def _sum(pair: tuple[float, float]) -> float:
    return pair[0] + pair[1]


def _family(metric: Metric, totals: Totals) -> Family:
    family = Family(metric.name.removesuffix("_total"), metric.help, metric.type)
    make = _histogram if metric.type == "histogram" else _single
    samples = (sample for labels, values in sorted(totals.items()) for sample in make(metric, labels, values))
    family.samples = _with_pauses(samples)  # type: ignore[assignment]  # no list: the encoders read it once
    return family


def _single(metric: Metric, labels: Labels, values: list[float]) -> Iterator[Sample]:
    yield Sample(metric.name, dict(zip(metric.labels, labels, strict=True)), values[0])


def _histogram(metric: Metric, labels: Labels, values: list[float]) -> Iterator[Sample]:
    named = dict(zip(metric.labels, labels, strict=True))
    *counts, total = values
    bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
    for bound, count in zip(bounds, accumulate(counts), strict=True):
        yield Sample(f"{metric.name}_bucket", named | {"le": bound}, count)
    yield Sample(f"{metric.name}_count", named, sum(counts))
    yield Sample(f"{metric.name}_sum", named, total)


def _with_pauses(samples: Iterator[Sample]) -> Iterator[Sample]:
    """Lets the event loop go on: without pauses this thread would keep the interpreter for 5 ms at a time."""
    for number, sample in enumerate(samples, start=1):
        yield sample
        if number % SAMPLES_AT_ONCE == 0:
            time.sleep(PAUSE_SECONDS)
