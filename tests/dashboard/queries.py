"""The dashboard's queries as Grafana would send them, and what Prometheus answers."""

import re

from deploy.grafana.panels import PANELS, Query
from tests.dashboard.picture import Drawn, picture
from tests.prometheus import Prometheus, Series

POINTS = 90  # of a line in the picture


def for_prometheus(query: Query) -> str:
    """The query with the values that Grafana would put in."""
    return query.expression.replace("$__rate_interval", "10s").replace("$instance", ".*")


def legend_of(query: Query, series: Series) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda name: series.labels.get(name[1], ""), query.legend)


def draw(found: Prometheus, start: float, end: float) -> str:
    drawn = {
        panel.title: Drawn(panel, [line for query in panel.queries for line in _lines(query, found, start, end)])
        for panel in PANELS
    }
    return picture(drawn, start, end)


def _lines(query: Query, found: Prometheus, start: float, end: float) -> list[tuple[str, Series]]:
    answered = found.query_range(for_prometheus(query), start, end, (end - start) / POINTS)
    return [(legend_of(query, series), series) for series in answered if series.points]
