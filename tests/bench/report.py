"""Renders results.json as docs/benchmark.md, the full report and the charts."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from tests.bench.charts import Group, chart, shown
from tests.bench.database import DEEP, HALF_DONE, MANY
from tests.bench.results import CONSTANT, PGBENCH, SERVICE, Bar, Cell, Results, bars, cells
from tests.bench.routes import FILTERED, PAGE, PAGES, ROUTES, SEARCHES

BEGIN = "<!-- make bench writes what is between this line and the next of its kind -->"
END = "<!-- here ends what make bench writes -->"
NOT_YET = "Not measured yet: `make bench` writes it here."
SHOWN_AT = 32
WIDTH = 125
FLOORS = {CONSTANT: "Sanic, a constant", PGBENCH: "pgbench, the same statement"}


def in_document(document: str, results: Results | None) -> str:
    before, _, rest = document.partition(BEGIN)
    return f"{before}{BEGIN}\n{section(results)}\n{END}{rest.partition(END)[2]}"


def section(results: Results | None) -> str:
    if results is None:
        return NOT_YET
    found = cells(results.runs)
    names = [peer["name"] for peer in results.peers]
    rows = []
    for route, title in _routes(found):
        ours = found.get((SERVICE, route, SHOWN_AT))
        rows.append([title, *(_beside(found.get((name, route, SHOWN_AT)), ours) for name in names)])
    header = [f"requests a second, {SHOWN_AT} connections", *(peer["title"] for peer in results.peers)]
    return "\n".join(
        [
            _paragraph(results),
            "",
            "![Requests a second](../tests/bench/results/requests.svg)",
            "",
            "![The slowest of a hundred answers](../tests/bench/results/p99.svg)",
            "",
            *_table(header, rows),
            "",
            _filled(f"In brackets: how many times as many this service answers. {_failures(results)}"),
            "",
            "The aims of this service, and the results:",
            "",
            *_table(["aim", "wanted", "found", "met"], [_promise(*each) for each in _promises(results)]),
            "",
            "[Every table](../tests/bench/results/report.md), [every number](../tests/bench/results/results.json).",
        ]
    )


def report(results: Results) -> str:
    parts = ["# What a request costs here and elsewhere", "", "Made by `make bench`.", "", _paragraph(results), ""]
    parts += ["## Peers", "", *_peers(results), ""]
    parts += ["## Aims", "", *_bars(results), ""]
    found = cells(results.runs)
    for connections in sorted({key[2] for key in found}):
        parts += [f"## {connections} connection{'s' if connections > 1 else ''}", "", *_all(results, connections), ""]
    if results.growth:
        parts += [f"## {results.plan['growth']} times the rows", "", *_growth(results), ""]
    if results.soak:
        parts += ["## The mix for a long time", "", *_soak(results), ""]
    return "\n".join(parts)


def charts(results: Results) -> dict[str, str]:
    found = cells(results.runs)
    names = [peer["name"] for peer in results.peers]
    titles = [peer["title"] for peer in results.peers]
    routes = [(route, title) for route, title in _routes(found) if route != "sign-in"]

    def groups(field: str) -> list[Group]:
        picked = [(title, [found.get((name, route, SHOWN_AT)) for name in names]) for route, title in routes]
        return [Group(title, [each and getattr(each, field) for each in values]) for title, values in picked]

    below = f"{SHOWN_AT} connections, median of {results.plan['rounds']} rounds"
    return {
        "requests.svg": chart("Requests a second", f"{below}; more is better", titles, groups("a_second")),
        "p99.svg": chart(
            "The slowest of a hundred answers",
            f"p99 in milliseconds, {below}; less is better",
            titles,
            groups("p99_ms"),
        ),
    }


def _paragraph(results: Results) -> str:
    machine, plan = results.machine, results.plan
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    text = f"""
        Measured on {results.date} at {results.commit}: {machine["cores"]} cores of {machine["processor"]},
        {machine["memory"]}, {machine["system"]}; {versions}. {_apart(plan["users"])} users with 20 tasks each;
        medians of {plan["rounds"]} rounds of {plan["seconds"]} s, in each of which all take their turn;
        {plan["workers"]} processes and {plan["pool"]} connections to PostgreSQL for each. PostgreSQL and the client use
        the same cores.
    """
    return _filled(text)


def _filled(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), WIDTH, break_on_hyphens=False, break_long_words=False)


def _apart(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _peers(results: Results) -> list[str]:
    rows = [
        [peer["title"], peer["tokens"], ", ".join(f"{name} {version}" for name, version in peer["versions"].items())]
        for peer in results.peers
    ]
    settings = ", ".join(f"`{name}={value}`" for name, value in results.settings.items())
    return [
        *_table(["peer", "verifies a token", "versions"], rows),
        "",
        _filled(
            f"""
            One PostgreSQL for all, with {settings}. This service has its default settings, but no limits of logins and
            sign-ups, because the peers have none. Each peer is asked with the tokens of 1 000 users in turn, of 100
            for the list of 200 and for the sign-in. The mix is 70 % lists of 20, 10 % reads, 10 % updates and 10 %
            creates. {_of_lists(results)}
            A run with more than three quarters of the connections at one process is repeated, four times at the most.
            """
        ),
        "",
        "The floors: Sanic that answers a constant, and pgbench that sends the same statement for the same users.",
    ]


def _of_lists(results: Results) -> str:
    """About the users of these routes, if the run had them."""
    if not {run.route for run in results.runs} & {FILTERED.name, PAGES.name, SEARCHES.name}:
        return ""
    return f"""
        The open tasks are those of {HALF_DONE.users} users with {HALF_DONE.tasks_each} tasks, and the pages of {PAGE}
        tasks those of {DEEP.users} users with {_apart(DEEP.tasks_each)}. {MANY.users} users with {MANY.tasks_each}
        tasks search, and find 11.
    """


def _bars(results: Results) -> list[str]:
    rows = [[bar.promise, bar.place, _wanted(bar), f"{bar.value:.2f}", _met(bar)] for bar in bars(results)]
    return _table(["aim", "where", "wanted", "found", "met"], rows)


def _failures(results: Results) -> str:
    """Refusals leave time for other requests, so they are shown beside the numbers."""
    titles = {peer["name"]: peer["title"] for peer in results.peers}
    failed = [
        f"{titles[name]} {_apart(cell.errors)} of {_apart(cell.requests)} ({ROUTES[route].title} at {connections})"
        for (name, route, connections), cell in cells(results.runs).items()
        if cell.errors and name in titles
    ]
    return f"Answered with an error, and not counted: {', '.join(failed)}." if failed else "No request failed."


def _promises(results: Results) -> Iterator[tuple[str, list[Bar]]]:
    together: dict[str, list[Bar]] = {}
    for bar in bars(results):
        together.setdefault(bar.promise, []).append(bar)
    yield from together.items()


def _promise(promise: str, judged: Sequence[Bar]) -> list[str]:
    wanted = " or ".join(dict.fromkeys(map(_wanted, judged)))
    values = sorted(bar.value for bar in judged)
    between = f"{values[0]:.2f}" if len(values) == 1 else f"{values[0]:.2f} to {values[-1]:.2f}"
    missed = [bar.place for bar in judged if not bar.met]
    return [promise, wanted, between, f"**not met**: {', '.join(missed)}" if missed else "yes"]


def _wanted(bar: Bar) -> str:
    return f"{'≥' if bar.at_least else '≤'} {bar.wanted:g}"


def _met(bar: Bar) -> str:
    return "yes" if bar.met else "**no**"


def _all(results: Results, connections: int) -> list[str]:
    found = cells(results.runs)
    titles = {peer["name"]: peer["title"] for peer in results.peers} | FLOORS
    header = ["route", "peer", "requests a second", "lowest to highest", "times", "p50 ms", "p95 ms", "p99 ms"]
    header += ["errors", "CPU ms", "CPU ms of PostgreSQL", "MiB"]
    rows = []
    for route, title in _routes(found):
        ours = found.get((SERVICE, route, connections))
        for name in titles:
            cell = found.get((name, route, connections))
            if cell is not None:
                times = f"{ours.a_second / cell.a_second:.2f}" if ours and cell.a_second else ""
                rows.append([title, titles[name], *_numbers(cell, times)])
    return [*_table(header, rows), "", "`times`: how many times as many this service answers. CPU is of a request."]


def _numbers(cell: Cell, times: str) -> list[str]:
    spread = f"{shown(cell.lowest)} to {shown(cell.highest)}"
    latencies = [_digits(each, 2) for each in (cell.p50_ms, cell.p95_ms, cell.p99_ms)]
    processor = [_digits(each, 3) for each in (cell.service_ms, cell.postgresql_ms)]
    memory = _digits(cell.resident_mib, 0)
    return [shown(cell.a_second), spread, times, *latencies, str(cell.errors), *processor, memory]


def _growth(results: Results) -> list[str]:
    found = cells(results.growth)
    rows = []
    for (size, route, connections), many in found.items():
        if size == "many":
            few = found["few", route, connections]
            ratio = f"{many.a_second / few.a_second:.2f}"
            rows.append([ROUTES[route].title, shown(few.a_second), shown(many.a_second), ratio])
    few_rows, many_rows = (f"{_apart(results.plan[name])} tasks" for name in ("few_rows", "many_rows"))
    return _table(["requests a second", few_rows, many_rows, "of those before"], rows)


def _soak(results: Results) -> list[str]:
    rates = [run.a_second for run in results.soak_runs]
    errors = sum(run.errors for run in results.soak_runs)
    largest = [each.largest_mib for each in results.soak]
    family = [each.family_mib for each in results.soak]
    rows = [
        ["requests a second", shown(rates[0]), shown(rates[-1])],
        ["MiB of all processes", f"{family[0]:.1f}", f"{family[-1]:.1f}"],
        ["MiB of the largest", f"{largest[0]:.1f}", f"{largest[-1]:.1f}"],
    ]
    return [
        f"This service alone, {results.plan['soak_seconds']} seconds; {errors} errors.",
        "",
        *_table(["", "at the beginning", "at the end"], rows),
    ]


def _routes(found: dict[tuple[str, str, int], Any]) -> list[tuple[str, str]]:
    asked = {route for _, route, _ in found}
    return [(name, route.title) for name, route in ROUTES.items() if name in asked]


def _beside(cell: Cell | None, ours: Cell | None) -> str:
    if cell is None:
        return ""
    if ours is None or cell is ours or not cell.a_second:
        return shown(cell.a_second)
    return f"{shown(cell.a_second)} ({ours.a_second / cell.a_second:.1f})"


def _digits(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    ruler = ["---", *["---"] * (len(header) - 1)]
    return [f"| {' | '.join(each)} |" for each in (header, ruler, *rows)]
