"""make mutants FILES='service/auth/*.py' N=20 SEED=1: plants N single faults and lists those that no test notices."""

import argparse
import difflib
import os
import queue
import random
import signal
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.mutants.faults import Fault, faults
from tests.mutants.suites import suite_of
from tests.mutants.trees import Outcome, Tree
from tests.support import ROOT

LONGEST_SECONDS = 400.0  # limit for the tests of one file without a fault


class Mutant(NamedTuple):
    file: str
    fault: Fault

    @property
    def source(self) -> bytes:
        return (ROOT / self.file).read_bytes()

    @property
    def planted(self) -> bytes:
        return self.fault.planted(self.source)

    def diff(self) -> str:
        before, after = (text.decode().splitlines() for text in (self.source, self.planted))
        lines = difflib.unified_diff(before, after, n=0)
        return "\n".join(f"    {line}" for line in list(lines)[3:])


class Runner:
    """Runs each job on a free tree."""

    def __init__(self, trees: Iterable[Tree]) -> None:
        self._free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for tree in trees:
            self._free.put(tree)
        self._seconds: dict[tuple[str, ...], float] = {}

    def run_without_fault(self, tests: tuple[str, ...]) -> None:
        """Measures the duration of the tests, and exits if any fails: it would seem to notice every fault."""
        outcome = self._run(tests, LONGEST_SECONDS)
        if outcome.is_noticed:
            raise SystemExit(f"red without a fault: {outcome.by}\n{outcome.output}")
        self._seconds[tests] = outcome.seconds

    def run(self, mutant: Mutant) -> Outcome:
        tests = tuple(suite_of(mutant.file))
        return self._run(tests, 60 + 2 * self._seconds[tests], mutant.file, mutant.planted)

    def _run(self, tests: tuple[str, ...], timeout: float, file: str = "", planted: bytes = b"") -> Outcome:
        tree = self._free.get()
        try:
            return tree.run(tests, timeout, file, planted)
        finally:
            self._free.put(tree)


def chosen(patterns: list[str], count: int, seed: int) -> list[Mutant]:
    files = sorted({path for pattern in patterns for path in ROOT.glob(pattern)})
    found = [Mutant(str(path.relative_to(ROOT)), fault) for path in files for fault in faults(path.read_bytes())]
    return random.Random(seed).sample(found, min(count, len(found)))  # noqa: S311 - a repeatable choice, not a secret


def main() -> int:
    parser = argparse.ArgumentParser(prog="make mutants")
    parser.add_argument("files", nargs="+", metavar="FILES", help="a pattern like service/auth/*.py")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))  # noqa: S311 - as above
    parser.add_argument("--only", type=int, nargs="*", help="numbers of an earlier run with the same seed")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1))
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # handled like Ctrl-C, so that no process is left running
    numbered = list(enumerate(chosen(given.files, given.count, given.seed), 1))
    mutants = [(number, mutant) for number, mutant in numbered if not given.only or number in given.only]
    say(f"{len(mutants)} faults, SEED={given.seed}")
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory, ExitStack() as stack:
        places = [Path(directory) / str(number) for number in range(given.jobs)]
        trees = [stack.enter_context(Tree.made(place, number)) for number, place in enumerate(places)]
        threads = stack.enter_context(ThreadPoolExecutor(given.jobs))
        for tree in trees:  # at Ctrl-C: ends running tests and starts no more
            stack.callback(tree.end_all)
        stack.callback(threads.shutdown, wait=False, cancel_futures=True)
        missed = try_out(Runner(trees), threads, mutants)
    noticed = len(mutants) - len(missed)
    say(f"\n{noticed} of {len(mutants)} noticed ({noticed / max(1, len(mutants)):.1%}), SEED={given.seed}")
    say("\n".join(missed))
    return 0


def try_out(runner: Runner, threads: ThreadPoolExecutor, mutants: list[tuple[int, Mutant]]) -> list[str]:
    """Prints the outcome of each mutant and returns those that no test noticed."""
    missed = []
    list(threads.map(runner.run_without_fault, {tuple(suite_of(mutant.file)) for _, mutant in mutants}))
    outcomes = threads.map(runner.run, [mutant for _, mutant in mutants])
    for (number, mutant), outcome in zip(mutants, outcomes, strict=True):
        where = f"{mutant.file}:{mutant.fault.line}"
        verdict = f"by {outcome.by}" if outcome.is_noticed else f"MISSED\n{mutant.diff()}"
        say(f"{number:4} {outcome.seconds:5.1f} s  {where}  {verdict}")
        if not outcome.is_noticed:
            missed.append(f"{number:4} {where}\n{mutant.diff()}")
    return missed


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
