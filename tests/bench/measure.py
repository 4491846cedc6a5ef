"""One measurement, and the sequences of them: peers side by side, few rows and many rows, a soak of ten minutes."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from tests import processes
from tests.bench import floor, load
from tests.bench.database import Database
from tests.bench.results import CONSTANT, PGBENCH, SERVICE, Run, Sample
from tests.bench.routes import DELETE, LIST_20, MIX, SIGN_IN, Route, deletions

MIB = 1024 * 1024
PILE_A_SECOND = 5_000  # tasks to delete before a peer's speed is known
SEGMENT = 30  # seconds of the soak between sweeps, so that the lists do not grow
SAMPLE_EVERY = 5
ENOUGH_TO_SHARE = 8  # connections
LOPSIDED = 0.75
TRIES = 5


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - progress of a run of an hour


class Target(NamedTuple):
    """A running peer and its database."""

    pid: int
    port: int
    database: Database


@dataclass(frozen=True)
class Plan:
    """The routes, connections, rounds and seconds of a run."""

    routes: Sequence[Route]
    connections: Sequence[int]
    rounds: int
    seconds: int
    sign_in_rounds: int = 3
    sign_in_seconds: int = 10

    def rounds_of(self, route: Route) -> int:
        return min(self.rounds, self.sign_in_rounds) if route is SIGN_IN else self.rounds

    def seconds_of(self, route: Route) -> int:
        return max(self.seconds, self.sign_in_seconds) if route is SIGN_IN else self.seconds

    def steps(self) -> Iterator[tuple[int, Route, int]]:
        for number in range(self.rounds):
            for route in self.routes:
                if number < self.rounds_of(route):
                    yield from ((number, route, connections) for connections in self.connections)


class Measuring:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[tuple[int, str], Path] = {}  # by port and route: each peer has its own cursors
        self._deletes_a_second: dict[int, float] = {}  # by process id

    def warm_up(self, target: Target, route: Route, connections: int) -> None:
        self._ask(target, route, connections, 1)
        _wait_until_idle(target.pid, target.database.server.pid)
        route.sweep(target.database)

    def run(self, peer: str, target: Target, route: Route, connections: int, seconds: int, number: int) -> Run:
        """Repeats a run with an uneven split of the connections over processes. Processes that accept from one socket
        share them by chance: with all connections at one of two processes, FastAPI serves little more than half."""
        for _ in range(TRIES):
            found = self._run(peer, target, route, connections, seconds, number)
            if connections < ENOUGH_TO_SHARE or (found.largest_share or 0) <= LOPSIDED:
                break
            share = f"{found.largest_share:.0%} of the connections were with one process"
            say(f"{peer}, {route.title}, {connections} connections: {found.a_second:.0f}; {share}")
        return found

    def _run(self, peer: str, target: Target, route: Route, connections: int, seconds: int, number: int) -> Run:
        server = target.database.server.pid
        if route is not DELETE:
            self._file(target, route)  # a peer may be asked for it, which must not count
        before = (processes.processor_seconds(target.pid), processes.processor_seconds(server))
        found = self._ask(target, route, connections, seconds)
        spent = (processes.processor_seconds(target.pid), processes.processor_seconds(server))
        memory = processes.resident(target.pid).family / MIB
        _wait_until_idle(target.pid, server)
        route.sweep(target.database)
        service_ms, postgresql_ms = (
            round((after - start) * 1000 / max(1, found["requests"]), 4)
            for start, after in zip(before, spent, strict=True)
        )
        return Run(peer, route.name, connections, number, **found, service_ms=service_ms, postgresql_ms=postgresql_ms,
                   resident_mib=round(memory, 1))  # fmt: skip

    def floor(self, database: Database, route: Route, connections: int, seconds: int, number: int) -> Run:
        found = floor.pgbench(database, route, self._directory, connections, seconds)
        route.sweep(database)
        return Run(PGBENCH, route.name, connections, number, **found)

    def _ask(self, target: Target, route: Route, connections: int, seconds: int) -> dict[str, Any]:
        if route is DELETE:
            return self._delete(target, connections, seconds)
        return load.load(target.pid, target.port, self._file(target, route), connections, seconds)

    def _file(self, target: Target, route: Route) -> Path:
        file = self._files.get((target.port, route.name))
        if file is None:
            file = self._directory / f"{target.port}-{route.name}"
            requests = route.requests(target.database, f"http://127.0.0.1:{target.port}")
            self._files[target.port, route.name] = load.write(requests, file)
        return file

    def _delete(self, target: Target, connections: int, seconds: int) -> dict[str, Any]:
        """Deletes each task once. If the tasks run out, the measurement is repeated with twice as many."""
        users = DELETE.users(target.database)
        wanted = 2 * seconds * self._deletes_a_second.get(target.pid, PILE_A_SECOND)
        while True:
            pile = target.database.pile(users, int(wanted) // len(users) + 1)
            file = load.write(deletions(pile, target.database), self._directory / "delete")
            found = load.load(target.pid, target.port, file, connections, seconds)
            a_second = found["requests"] / found["seconds"]
            self._deletes_a_second[target.pid] = max(a_second, self._deletes_a_second.get(target.pid, 0))
            if found["requests"] + connections <= len(pile):
                return found
            wanted *= 2
            DELETE.sweep(target.database)


def side_by_side(
    measuring: Measuring, plan: Plan, peers: Mapping[str, Target], constant: Target | None
) -> Iterator[Run]:
    """Measures each step with all peers, one after another. The first peer changes with each round."""
    for target in (*peers.values(), *([constant] if constant else [])):
        measuring.warm_up(
            target, plan.routes[0], max(plan.connections)
        )  # opens connections and fills the caches of tokens
    for number, route, connections in plan.steps():
        names = list(peers)
        shift = number % len(names)
        seconds = plan.seconds_of(route)
        found = [
            measuring.run(name, peers[name], route, connections, seconds, number)
            for name in names[shift:] + names[:shift]
        ]
        if constant is not None and route is LIST_20:
            found.append(measuring.run(CONSTANT, constant, route, connections, seconds, number))
        if constant is not None and route.name in floor.STATEMENTS:
            found.append(measuring.floor(next(iter(peers.values())).database, route, connections, seconds, number))
        by_name = ", ".join(f"{run.peer} {run.a_second:.0f}" for run in found)
        say(f"round {number + 1} of {plan.rounds_of(route)}, {route.title}, {connections} connections: {by_name}")
        yield from found


def few_and_many(measuring: Measuring, plan: Plan, few: Target, many: Target) -> Iterator[Run]:
    """Measures this service on two databases of one server."""
    sizes = {"few": few, "many": many}
    yield from side_by_side(measuring, plan, sizes, None)


def soak(measuring: Measuring, target: Target, connections: int, seconds: int) -> tuple[list[Sample], list[Run]]:
    """Runs the mix for a long time and samples the memory."""
    measuring.warm_up(target, MIX, connections)
    started, over = time.monotonic(), Event()

    def sampled() -> list[Sample]:
        samples = []
        while not over.wait(SAMPLE_EVERY):
            memory = processes.resident(target.pid)
            after = round(time.monotonic() - started, 1)
            samples.append(Sample(after, round(memory.family / MIB, 2), round(memory.largest / MIB, 2)))
        return samples

    runs = []
    with ThreadPoolExecutor(1) as beside:
        samples = beside.submit(sampled)
        try:
            for number in range(max(1, seconds // SEGMENT)):
                runs.append(measuring.run(SERVICE, target, MIX, connections, min(SEGMENT, seconds), number))
                rate, memory = f"{runs[-1].a_second:.0f} requests a second", f"{runs[-1].resident_mib} MiB"
                say(f"the mix for {time.monotonic() - started:.0f} s: {rate}, {memory}")
        finally:
            over.set()
        return samples.result(), runs


def _wait_until_idle(*pids: int) -> None:
    """Waits until the processes are idle, so that leftover work does not slow down the next measurement."""

    def used() -> float:
        return sum(map(processes.processor_seconds, pids))

    deadline = time.monotonic() + 120
    before = used()
    while time.monotonic() < deadline:
        time.sleep(0.1)
        now = used()
        if now - before <= 0.02:
            return
        before = now
