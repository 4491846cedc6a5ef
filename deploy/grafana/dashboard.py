"""The Grafana dashboard as JSON, made from its panels. make generated writes todo.json."""

import json
from pathlib import Path
from typing import Any

from deploy.grafana.panels import ROWS, Panel

FILE = Path(__file__).with_name("todo.json")
COLUMNS, WIDTH, HEIGHT = 4, 6, 7  # of a panel, in the units of Grafana's grid, which is 24 wide
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard() -> str:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in ROWS:
        panels.append({"type": "row", "title": row.title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": top, "w": COLUMNS * WIDTH, "h": 1}})  # fmt: skip
        for number, panel in enumerate(row.panels):
            line, column = divmod(number, COLUMNS)
            place = {"x": column * WIDTH, "y": top + 1 + line * HEIGHT, "w": WIDTH, "h": HEIGHT}
            panels.append(_panel(panel) | {"gridPos": place})
        top += 1 + -(-len(row.panels) // COLUMNS) * HEIGHT
    found = {
        "uid": "todo-service", "title": "todo-service", "tags": ["todo"], "schemaVersion": 38, "editable": True,
        "time": {"from": "now-1h", "to": "now"}, "refresh": "30s", "graphTooltip": 1, "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            {"name": "instance", "label": "Copy", "type": "query", "datasource": DATASOURCE, "refresh": 2,
             "query": "label_values(todo_build_info, instance)", "includeAll": True, "multi": True, "allValue": ".*",
             "current": {"text": "All", "value": "$__all"}, "sort": 1},
        ]},
        "panels": [{"id": number, **panel} for number, panel in enumerate(panels, start=1)],
    }  # fmt: skip
    return json.dumps(found, indent=1) + "\n"


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + number), "expr": query.expression, "legendFormat": query.legend,
             "datasource": DATASOURCE}
            for number, query in enumerate(panel.queries)
        ],
    }  # fmt: skip
