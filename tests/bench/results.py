"""The results of one run as stored in results.json, and the values derived from them: medians, ratios, bars."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

DIRECTORY = Path(__file__).parent / "results"
FILE = DIRECTORY / "results.json"
SERVICE, PLANS, FASTAPI, FASTIFY, CONSTANT, PGBENCH = "service", "plans", "fastapi", "fastify", "constant", "pgbench"


@dataclass(frozen=True)
class Run:
    peer: str
    route: str
    connections: int
    round: int
    requests: int
    seconds: float
    errors: int
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    service_ms: float | None = None  # processor time for each request
    postgresql_ms: float | None = None
    resident_mib: float | None = None  # sum of all its processes
    largest_share: float | None = None  # the largest part of the connections at one process

    @property
    def a_second(self) -> float:
        """Requests a second without the failed ones."""
        return (self.requests - self.errors) / self.seconds


class Sample(NamedTuple):
    seconds: float
    family_mib: float
    largest_mib: float


@dataclass(frozen=True)
class Results:
    date: str
    commit: str
    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]  # of PostgreSQL
    plan: dict[str, int]
    peers: list[dict[str, Any]]  # name, title, tokens, versions; in the order of the table
    runs: list[Run]
    growth: list[Run] = field(default_factory=list)  # of the peers "few" and "many"
    soak: list[Sample] = field(default_factory=list)
    soak_runs: list[Run] = field(default_factory=list)

    def dumped(self) -> str:
        """JSON with one line for each run, so that two results can be compared with diff."""
        parts = []
        for name, value in asdict(self).items():
            if name in ("runs", "growth", "soak", "soak_runs"):
                lines = ",\n".join(f"  {json.dumps(each)}" for each in value)
                parts.append(f' "{name}": [\n{lines}\n ]' if lines else f' "{name}": []')
            else:
                parts.append(f' "{name}": {json.dumps(value)}')
        return "{\n" + ",\n".join(parts) + "\n}\n"

    @classmethod
    def loaded(cls, text: str) -> "Results":
        found = json.loads(text)
        for name in ("runs", "growth", "soak_runs"):
            found[name] = [Run(**each) for each in found[name]]
        found["soak"] = [Sample(*each) for each in found["soak"]]
        return cls(**found)


class Cell(NamedTuple):
    """Medians over the rounds, the lowest and highest rate, and the number of requests and of errors in total."""

    a_second: float
    lowest: float
    highest: float
    requests: int
    errors: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    service_ms: float | None
    postgresql_ms: float | None
    resident_mib: float | None


Cells = dict[tuple[str, str, int], Cell]


def cells(runs: Iterable[Run]) -> Cells:
    together: dict[tuple[str, str, int], list[Run]] = {}
    for run in runs:
        together.setdefault((run.peer, run.route, run.connections), []).append(run)
    return {key: _cell(found) for key, found in together.items()}


def _cell(runs: Sequence[Run]) -> Cell:
    def middle(name: str) -> float | None:
        values = [getattr(run, name) for run in runs]
        return None if None in values else median(values)

    rates = [run.a_second for run in runs]
    return Cell(
        median(rates), min(rates), max(rates), sum(run.requests for run in runs), sum(run.errors for run in runs),
        middle("p50_ms"), middle("p95_ms"), middle("p99_ms"),
        middle("service_ms"), middle("postgresql_ms"), middle("resident_mib"),
    )  # fmt: skip


class Bar(NamedTuple):
    promise: str
    place: str  # the route and the number of connections
    value: float
    wanted: float
    at_least: bool = True  # False: `wanted` is an upper limit

    @property
    def met(self) -> bool:
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted


JUDGED_AT = (32, 100)
CORE = ("list-20", "read", "create", "update")
AGAINST_FASTIFY = {"list-20": 1.0, "list-200": 1.0, "read": 0.9, "create": 1.0, "update": 1.0}
SLOWEST_MS = 200
GROWN = 0.85
SWELLING = 1.05
WORKER_MIB = 120


def bars(results: Results) -> list[Bar]:
    """The bars that have numbers; a short run lacks some."""
    found = cells(results.runs)
    return [
        *_times("at least 10 times the requests of FastAPI + SQLModel", found, PLANS, dict.fromkeys(CORE, 10.0)),
        *_times("at least twice the requests of FastAPI + asyncpg", found, FASTAPI, dict.fromkeys(CORE, 2.0)),
        *_times(
            "no fewer requests than Fastify + postgres.js, 0.9 of them for one task", found, FASTIFY, AGAINST_FASTIFY
        ),
        *_p99_no_worse(found),
        *_p95(found),
        *_growth(results),
        *_memory(results),
    ]


def _pairs(found: Cells, peer: str, routes: Iterable[str]) -> Iterator[tuple[str, int, Cell, Cell]]:
    for route in routes:
        for connections in JUDGED_AT:
            ours, theirs = found.get((SERVICE, route, connections)), found.get((peer, route, connections))
            if ours is not None and theirs is not None:
                yield route, connections, ours, theirs


def _times(promise: str, found: Cells, peer: str, wanted: dict[str, float]) -> Iterator[Bar]:
    for route, connections, ours, theirs in _pairs(found, peer, wanted):
        times = ours.a_second / theirs.a_second if theirs.a_second else inf
        yield Bar(promise, f"{route} at {connections}", times, wanted[route])


def _p99_no_worse(found: Cells) -> Iterator[Bar]:
    for route, connections, ours, theirs in _pairs(found, FASTIFY, AGAINST_FASTIFY):
        promise = "p99, of that of Fastify + postgres.js"
        times = inf if ours.p99_ms is None else ours.p99_ms / (theirs.p99_ms or inf)
        yield Bar(promise, f"{route} at {connections}", times, 1.0, at_least=False)


def _p95(found: Cells) -> Iterator[Bar]:
    for (peer, route, connections), cell in found.items():
        if peer == SERVICE and connections == 100 and route != "sign-in":
            promise = "p95 in milliseconds at 100 connections, but for sign-in"
            yield Bar(promise, route, inf if cell.p95_ms is None else cell.p95_ms, SLOWEST_MS, at_least=False)


def _growth(results: Results) -> Iterator[Bar]:
    found = cells(results.growth)
    for (size, route, connections), many in found.items():
        if size == "many":
            few = found["few", route, connections]
            promise = f"requests with {results.plan['growth']} times the rows, of those before"
            yield Bar(promise, f"{route} at {connections}", many.a_second / few.a_second, GROWN)


def _memory(results: Results) -> Iterator[Bar]:
    if len(results.soak) < 2:
        return
    half = len(results.soak) // 2
    first, second = (mean(each.family_mib for each in part) for part in (results.soak[:half], results.soak[half:]))
    long = f"{results.plan['soak_seconds']} seconds of the mix"
    yield Bar(
        "memory of the second half of the mix, of that of the first", long, second / first, SWELLING, at_least=False
    )
    largest = max(each.largest_mib for each in results.soak)
    yield Bar("MiB of the largest worker during the mix", long, largest, WORKER_MIB, at_least=False)
