"""Counters, gauges and histograms of one process. A write is one or two additions in shared memory."""

from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping
from typing import TypeAlias

import orjson

from service.metrics.definitions import METRICS, WORKER_STARTS, Metric
from service.metrics.shared_memory import Slab

BY_NAME = {metric.name: metric for metric in METRICS}

Read: TypeAlias = Callable[[], float]


class Counter:
    __slots__ = ("_at", "_cells")

    def __init__(self, slab: Slab, at: int) -> None:
        self._cells, self._at = slab.cells, at

    def add(self, amount: float = 1) -> None:
        self._cells[self._at] += amount


class Gauge:
    __slots__ = ("_at", "_cells")

    def __init__(self, slab: Slab, at: int) -> None:
        self._cells, self._at = slab.cells, at

    def set(self, value: float) -> None:
        self._cells[self._at] = value

    @property
    def value(self) -> float:
        return self._cells[self._at]


class Histogram:
    """Its cells: one for each bucket and for what is beyond the last, then the sum."""

    __slots__ = ("_at", "_buckets", "_cells", "_sum_at")

    def __init__(self, slab: Slab, at: int, buckets: tuple[float, ...]) -> None:
        self._cells, self._at, self._buckets = slab.cells, at, buckets
        self._sum_at = at + len(buckets) + 1

    def observe(self, value: float) -> None:
        cells = self._cells
        cells[self._at + bisect_left(self._buckets, value)] += 1
        cells[self._sum_at] += value


class Meters:
    """The metrics of one worker, which goes on where the worker before it in this slab ended. Not for threads."""

    def __init__(self, slab: Slab) -> None:
        self._slab = slab
        for key, cells in slab.series():
            if BY_NAME[name_and_labels(key)[0]].type == "gauge":
                cells[0] = 0.0
        slab.is_alive = True
        self.counter(WORKER_STARTS).add()

    def counter(self, metric: Metric, *labels: str) -> Counter:
        return Counter(self._slab, self._place(metric, labels))

    def gauge(self, metric: Metric, *labels: str) -> Gauge:
        return Gauge(self._slab, self._place(metric, labels))

    def histogram(self, metric: Metric, *labels: str) -> Histogram:
        return Histogram(self._slab, self._place(metric, labels), metric.buckets)

    def _place(self, metric: Metric, labels: tuple[str, ...]) -> int:
        if len(labels) != len(metric.labels):
            raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
        return self._slab.place(orjson.dumps([metric.name, *labels]), cells_of(metric))


class Readings:
    """Metrics that are read where they are counted anyway, from time to time and before an answer: they cost a request
    nothing."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters
        self._copies: list[tuple[Gauge, float, Read]] = []
        self._counts: list[tuple[Metric, Mapping[str, int]]] = []
        self._bases: dict[Hashable, tuple[Gauge, float]] = {}

    def gauge(self, metric: Metric, read: Read, *labels: str) -> None:
        self._copies.append((self._meters.gauge(metric, *labels), 0.0, read))

    def counter(self, metric: Metric, read: Read, *labels: str) -> None:
        """`read` counts from the start of this process, and is added to the count of the workers before."""
        cell = self._meters.gauge(metric, *labels)
        self._copies.append((cell, cell.value, read))

    def counts(self, metric: Metric, counts: Mapping[str, int]) -> None:
        """As `counter`, for each value of the metric's label that the mapping has or will have."""
        self._counts.append((metric, counts))

    def take(self) -> None:
        for cell, base, read in self._copies:
            cell.set(base + read())
        for metric, counts in self._counts:
            for label, count in counts.items():
                if (metric.name, label) not in self._bases:
                    cell = self._meters.gauge(metric, label)
                    self._bases[metric.name, label] = (cell, cell.value)
                cell, base = self._bases[metric.name, label]
                cell.set(base + count)


def name_and_labels(key: bytes) -> tuple[str, tuple[str, ...]]:
    name, *labels = orjson.loads(key)
    return name, tuple(labels)


def cells_of(metric: Metric) -> int:
    return len(metric.buckets) + 2 if metric.type == "histogram" else 1
