"""make bench: measures this service and its peers side by side, in one run on one machine.

A complete run writes tests/bench/results/ and docs/benchmark.md. A short or partial run only prints.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import equal, installed, machine, peers, report, routes
from tests.bench.database import HALF_DONE, SETTINGS, Database, Server, running_server
from tests.bench.measure import Measuring, Plan, Target, few_and_many, say, side_by_side, soak
from tests.bench.results import DIRECTORY, FILE, SERVICE, Results
from tests.bench.routes import ROUTES, USERS_WITH_ROUTES
from tests.support import ROOT, SECRET

DOCUMENT = ROOT / "docs" / "benchmark.md"
KEPT = ROOT / ".bench"
LAST = KEPT / "last.json"
POOL_OF_A_WORKER = 10  # the default of POOL_MAX
CORE = ("list-20", "read", "create", "update")
PEERS = {peer.name: peer for peer in peers.PEERS}


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--short", action="store_true", help="two minutes: four routes, 32 connections")
    parser.add_argument("--users", type=int, default=10_000, help="with 20 tasks each (10000)")
    parser.add_argument("--peers", type=_some_of(PEERS), default=list(PEERS), metavar="A,B", help=", ".join(PEERS))
    parser.add_argument("--routes", type=_some_of(ROUTES), metavar="A,B", help=", ".join(ROUTES))
    parser.add_argument("--connections", type=_numbers, metavar="N,N", help="1,32,100")
    parser.add_argument("--rounds", type=int, default=5, help="of every measurement but sign-in, which has three (5)")
    parser.add_argument("--seconds", type=int, help="of a measurement (2; short: 1)")
    parser.add_argument("--growth", type=int, default=20, help="how many times the rows, 1 to leave it out (20)")
    parser.add_argument("--soak", type=int, default=600, help="seconds of the mix at the end, 0 to leave it out (600)")
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: write the report of the results there are"
    )
    found = parser.parse_args(given)
    if found.users < USERS_WITH_ROUTES:
        parser.error(f"--users: at least {USERS_WITH_ROUTES}")
    if SERVICE not in found.peers:
        parser.error(f"--peers: all are held against {SERVICE!r}, so it has to be there")
    found.routes = found.routes or (list(CORE) if found.short else list(ROUTES))
    found.connections = found.connections or ([32] if found.short else [1, 32, 100])
    found.seconds = found.seconds or (1 if found.short else 2)
    if found.short:
        found.growth, found.soak = 1, 0
    return found


def _some_of(known: Collection[str]) -> Callable[[str], list[str]]:
    def chosen(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(known)}")
        return [name for name in known if name in names]

    return chosen


def _numbers(text: str) -> list[int]:
    return sorted(int(each) for each in text.split(","))


def is_whole(asked: argparse.Namespace) -> bool:
    """Whether the run is complete enough for the results to be documented."""
    return (
        (asked.peers, asked.routes, asked.connections) == (list(PEERS), list(ROUTES), [1, 32, 100])
        and (asked.users, asked.growth) == (10_000, 20)
        and asked.rounds >= 5
        and asked.seconds >= 2
        and asked.soak >= 600
    )


class Bench:
    def __init__(self, asked: argparse.Namespace, directory: Path, server: Server) -> None:
        self._asked, self._directory, self._server = asked, directory, server
        self._workers = machine.cores()
        self._measuring = Measuring(directory)

    def run(self) -> Results:
        asked = self._asked
        few, many = self._database("few", 1), self._database("many", asked.growth)
        say(f"PostgreSQL gets {few.rows} tasks")
        few.make()
        results = Results(
            date=datetime.now(UTC).date().isoformat(),
            commit=machine.commit(),
            machine=machine.described(),
            versions=machine.versions(few.version()),
            settings=SETTINGS,
            plan={
                "users": asked.users,
                "rounds": asked.rounds,
                "seconds": asked.seconds,
                "workers": self._workers,
                "pool": self._pool,
                "growth": asked.growth,
                "few_rows": few.rows,
                "many_rows": many.rows,
                "soak_seconds": asked.soak,
            },
            peers=[
                {
                    "name": name,
                    "title": PEERS[name].title,
                    "tokens": PEERS[name].tokens,
                    "versions": PEERS[name].versions(),
                }
                for name in asked.peers
            ],
            runs=[],
        )
        self._side_by_side(few, results)
        save(results)
        if asked.growth > 1:
            say(f"PostgreSQL gets {many.rows} tasks more")
            many.make()
            self._few_and_many(few, many, results)
            save(results)
        if asked.soak:
            self._soak(few, results)
            save(results)
        return results

    @property
    def _pool(self) -> int:
        return self._workers * POOL_OF_A_WORKER

    def _database(self, name: str, times: int) -> Database:
        return Database(self._server, name, self._asked.users * times)

    def _plan(self, names: Sequence[str], connections: Sequence[int]) -> Plan:
        return Plan([ROUTES[name] for name in names], connections, self._asked.rounds, self._asked.seconds)

    def _target(self, stack: ExitStack, name: str, database: Database) -> Target:
        peer = peers.CONSTANT if name == peers.CONSTANT.name else PEERS[name]
        log = self._directory / f"{name}-{database.name}.log"
        running = stack.enter_context(peers.running(peer, database.url, SECRET, self._workers, self._pool, log))
        return Target(running.pid, running.port, database)

    def _side_by_side(self, database: Database, results: Results) -> None:
        with ExitStack() as stack:
            targets = {name: self._target(stack, name, database) for name in self._asked.peers}
            say("all answers are compared")
            urls = {name: f"http://127.0.0.1:{target.port}" for name, target in targets.items()}
            half_done = database.numbers(HALF_DONE)[0]  # some of the tasks are completed
            equal.check(urls, [routes.known(number) for number in (half_done, 1)])
            constant = None if self._asked.short else self._target(stack, peers.CONSTANT.name, database)
            plan = self._plan(self._asked.routes, self._asked.connections)
            for run in side_by_side(self._measuring, plan, targets, constant):
                results.runs.append(run)

    def _few_and_many(self, few: Database, many: Database, results: Results) -> None:
        with ExitStack() as stack:
            small, large = (self._target(stack, SERVICE, database) for database in (few, many))
            plan = self._plan([name for name in CORE if name in self._asked.routes], [32])
            results.growth.extend(few_and_many(self._measuring, plan, small, large))

    def _soak(self, database: Database, results: Results) -> None:
        with ExitStack() as stack:
            target = self._target(stack, SERVICE, database)
            samples, runs = soak(self._measuring, target, 32, self._asked.soak)
            results.soak.extend(samples)
            results.soak_runs.extend(runs)


def save(results: Results) -> None:
    """Saves the results after each part, so that an interrupted run keeps its numbers."""
    LAST.write_text(results.dumped())


def write(results: Results) -> None:
    DIRECTORY.mkdir(exist_ok=True)
    FILE.write_text(results.dumped())
    render(results)


def render(results: Results) -> None:
    for name, text in (report.charts(results) | {"report.md": report.report(results)}).items():
        (DIRECTORY / name).write_text(text)
    DOCUMENT.write_text(report.in_document(DOCUMENT.read_text(), results))


def main() -> None:
    asked = arguments()
    if asked.render:
        return render(Results.loaded(FILE.read_text()))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # raises, so that all started processes are stopped
    installed.require()
    KEPT.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=KEPT, prefix="run-") as name,
        running_server(Path(name) / "postgresql") as server,
    ):
        results = Bench(asked, Path(name), server).run()
    print(report.report(results))  # noqa: T201 - the command's output
    if is_whole(asked):
        write(results)
        say(f"written: {DIRECTORY} and {DOCUMENT}")
    else:
        say(f"a part of the whole, so the document stays as it is; all numbers are in {LAST}")
    return None


if __name__ == "__main__":
    main()
