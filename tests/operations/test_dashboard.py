"""The dashboard: a real Prometheus has values for each of its queries, and every metric is in it or in an alert."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any
from xml.etree import ElementTree as ET

import psycopg
import pytest

from deploy.grafana.dashboard import FILE
from deploy.grafana.panels import OF_USUAL_REQUESTS, PANELS, ROWS, Panel, Query
from service.metrics.definitions import METRICS
from tests import databases
from tests.dashboard import picture
from tests.dashboard.load import observed
from tests.dashboard.queries import for_prometheus, legend_of
from tests.operations.test_alert_rules import ALERTS
from tests.outages import wait_for
from tests.prometheus import Prometheus, needs_prometheus
from tests.support import ROOT

GRID = 24  # the width of Grafana's dashboards
PICTURE_BYTES = 100_000


@pytest.fixture(scope="module")
def loaded(server_url: str, with_roles: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """With an alert that always fires, and a user whose writes fail, because a session in psql locks a row."""
    rules = {"groups": [{"name": "todo", "rules": [{"alert": "TodoAlways", "expr": "vector(1)"}]}]}
    directory = tmp_path_factory.mktemp("dashboard")
    with databases.new_database(server_url) as url, ExitStack() as stack:
        urls = databases.migrate(url, with_roles=with_roles)
        found = stack.enter_context(observed(urls, directory, json.dumps(rules)))
        connection = stack.enter_context(psycopg.connect(urls.admin))
        wait_for(lambda: connection.execute("SELECT FROM task_counters LIMIT 1 FOR UPDATE").rowcount)
        yield found


@needs_prometheus
@pytest.mark.parametrize("panel", PANELS, ids=[panel.title for panel in PANELS])
def test_each_query_has_values_from_a_service_under_load(loaded: Prometheus, panel: Panel) -> None:
    for query in panel.queries:
        wait_for(partial(has_values, loaded, query))
        assert all(legend_of(query, series) for series in loaded.query(for_prometheus(query)))


def has_values(found: Prometheus, query: Query) -> bool:
    """The 0 that a query shows where nothing was counted is left out."""
    return any(series.points for series in found.query(for_prometheus(query).replace(" or vector(0)", "")))


def test_every_metric_is_in_a_panel_or_in_an_alert() -> None:
    queries = [query.expression for panel in PANELS for query in panel.queries] + [each["expr"] for each in ALERTS]
    used = {name for query in queries for name in re.findall(r"\b(?:http|todo)_\w+", query)}
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}

    assert {each.name for each in METRICS} - names == set()


def test_the_duration_panel_leaves_out_the_same_requests_as_the_alert() -> None:
    [slow] = [each["expr"] for each in ALERTS if each["alert"] == "TodoRequestsSlow"]

    assert OF_USUAL_REQUESTS in slow.replace("\n", "").replace(" ", "")


def panels_of_the_file() -> list[Any]:
    found: list[Any] = json.loads(FILE.read_text())["panels"]
    return found


def test_the_file_has_the_rows_and_panels_in_their_order() -> None:
    titles = [title for row in ROWS for title in (row.title, *(panel.title for panel in row.panels))]

    assert [each["title"] for each in panels_of_the_file()] == titles
    assert [
        (target["expr"], target["legendFormat"]) for each in panels_of_the_file() for target in each.get("targets", [])
    ] == [(query.expression, query.legend) for panel in PANELS for query in panel.queries]
    assert len(set(titles)) == len(titles)


def test_no_two_panels_overlap_and_none_is_beyond_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for each in panels_of_the_file():
        place = each["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= GRID
        assert not cells & taken, each["title"]
        taken |= cells


def test_the_picture_in_readme_has_every_panel() -> None:
    """The panels as they are now: after a change run make dashboard."""
    text = picture.FILE.read_text()
    shown = {each.text for each in ET.fromstring(text).iter("{http://www.w3.org/2000/svg}text")}  # noqa: S314 - our own file

    assert {panel.title for panel in PANELS} - shown == set()
    assert len(text) < PICTURE_BYTES
    assert f"({picture.FILE.relative_to(ROOT)})" in (ROOT / "README.md").read_text()
