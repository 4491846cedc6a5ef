"""docs/benchmark.md shows the results of `make bench`, and judges them correctly."""

from typing import Any

import pytest

from service.db import statements
from tests.bench import __main__ as bench
from tests.bench import floor, report, results
from tests.bench.results import Results, Run, Sample

MEASURED = Results.loaded(results.FILE.read_text()) if results.FILE.exists() else None
TO_MEND = "python -m tests.bench --render writes it anew"


def test_the_document_shows_the_kept_results() -> None:
    assert bench.DOCUMENT.read_text() == report.in_document(bench.DOCUMENT.read_text(), MEASURED), TO_MEND


def test_the_report_and_the_charts_show_the_kept_results() -> None:
    kept = {file.name: file.read_text() for file in results.DIRECTORY.glob("*") if file != results.FILE}

    expected = {} if MEASURED is None else report.charts(MEASURED) | {"report.md": report.report(MEASURED)}

    assert kept == expected, TO_MEND


def run(peer: str, route: str, a_second: float, number: int = 0, **fields: float) -> Run:
    known = {"errors": 0, "p95_ms": 20.0, "p99_ms": 30.0} | fields
    return Run(peer, route, 32, number, int(a_second * 2), 2.0, **known)  # type: ignore[arg-type] # fields of several types


def found(runs: list[Run], growth: tuple[Run, ...] = (), soak: tuple[Sample, ...] = ()) -> Results:
    plan = {"users": 10_000, "rounds": 3, "seconds": 2, "workers": 2, "pool": 20, "growth": 20, "soak_seconds": 600}
    machine = {"cores": "2", "processor": "a <fast> one", "memory": "8 GiB", "system": "Linux 6"}
    peers: list[dict[str, Any]] = [
        {"name": name, "title": name, "tokens": "", "versions": {}} for name in ("service", "plans", "fastify")
    ]
    plan |= {"few_rows": 220_000, "many_rows": 4_020_000}
    return Results("2026-01-02", "abc", machine, {}, {}, plan, peers, runs, list(growth), list(soak))


def test_a_bar_is_judged_by_the_medians_of_successful_requests() -> None:
    runs = [run("service", "list-20", rate, number) for number, rate in enumerate((1000, 900, 5000))]
    runs += [run("plans", "list-20", rate, number) for number, rate in enumerate((100, 110, 20))]
    runs += [run("fastify", "list-20", 2000, number, errors=2400, p99_ms=25.0) for number in range(3)]
    grown = (run("few", "read", 1000), run("many", "read", 840))
    swelling = tuple(Sample(second * 5.0, mib, 70.0) for second, mib in enumerate((100, 100, 104, 108)))

    judged = {bar.promise: (round(bar.value, 3), bar.met) for bar in results.bars(found(runs, grown, swelling))}

    assert judged == {
        "at least 10 times the requests of FastAPI + SQLModel": (10.0, True),
        "no fewer requests than Fastify + postgres.js, 0.9 of them for one task": (1.25, True),
        "p99, of that of Fastify + postgres.js": (1.2, False),
        "requests with 20 times the rows, of those before": (0.84, False),
        "memory of the second half of the mix, of that of the first": (1.06, False),
        "MiB of the largest worker during the mix": (70.0, True),
    }


def test_a_bar_that_is_not_met_is_shown_with_its_route() -> None:
    shown = report.section(found([run("service", "read", 900), run("plans", "read", 105, errors=10)]))

    assert "| read one | 900 | 100 (9.0) |  |" in shown
    assert "| at least 10 times the requests of FastAPI + SQLModel | ≥ 10 | 9.00 | **not met**: read at 32 |" in shown
    assert "Answered with an error, and not counted: plans 10 of 210 (read one at 32)." in " ".join(shown.split())


def test_a_service_without_answers_meets_no_bar() -> None:
    silent = [
        Run("service", "list-20", 100, 0, 0, 2.0, 0),
        Run("fastify", "list-20", 100, 0, 100, 2.0, 0, 1.0, 2.0, 3.0),
    ]

    assert [(bar.promise[:3], bar.met) for bar in results.bars(found(silent))] == [
        ("no ", False), ("p99", False), ("p95", False),
    ]  # fmt: skip


def test_results_are_read_as_they_were_written() -> None:
    measured = found([run("service", "read", 900)], (run("few", "read", 900),), (Sample(5.0, 100.0, 50.0),))

    assert Results.loaded(measured.dumped()) == measured


@pytest.mark.parametrize("name", floor.STATEMENTS)
def test_pgbench_is_given_a_value_for_each_parameter_of_a_statement(name: str) -> None:
    statement, values = floor.STATEMENTS[name]

    assert len(values) == len(statements.read(statement).parameters)


@pytest.mark.parametrize(
    ("given", "whole"),
    [
        ([], True),
        (["--rounds", "7", "--seconds", "3", "--soak", "900"], True),
        (["--short"], False),
        (["--peers", "service,plans"], False),
        (["--routes", "list-20"], False),
        (["--connections", "32"], False),
        (["--users", "20000"], False),
        (["--rounds", "4"], False),
        (["--growth", "1"], False),
        (["--soak", "0"], False),
    ],
)
def test_only_a_whole_run_is_written(given: list[str], *, whole: bool) -> None:
    assert bench.is_whole(bench.arguments(given)) is whole
