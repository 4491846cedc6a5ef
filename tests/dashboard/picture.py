"""The dashboard as an SVG, for light and dark pages: each panel with its queries' values over time and a legend."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from deploy.grafana.panels import ROWS, Panel
from tests.bench.charts import DARK, LIGHT
from tests.documents import DOCS
from tests.prometheus import Series

FILE = DOCS / "dashboard.svg"

COLUMNS, WIDTH, HEIGHT, GAP = 4, 235, 108, 12
HEADING = 30  # of a row
PLOT_TOP, PLOT_BOTTOM, LEGEND = 22, 76, 90
LINES = 5  # of a panel: the largest


class Drawn(NamedTuple):
    """A panel with what its queries answered."""

    panel: Panel
    lines: Sequence[tuple[str, Series]]  # legend and values


def picture(drawn: dict[str, Drawn], start: float, end: float) -> str:
    parts: list[str] = []
    top = 0
    for row in ROWS:
        parts.append(_text(0, top + 20, row.title, "row"))
        for number, panel in enumerate(row.panels):
            line, column = divmod(number, COLUMNS)
            x, y = column * (WIDTH + GAP), top + HEADING + line * (HEIGHT + GAP)
            parts.append(f'<g transform="translate({x} {y})">{_panel(drawn[panel.title], start, end)}</g>')
        top += HEADING + -(-len(row.panels) // COLUMNS) * (HEIGHT + GAP)
    width = COLUMNS * (WIDTH + GAP) - GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" width="{width}" height="{top}" '
        'role="img" aria-label="The dashboard">'
    )
    return "\n".join([head, _style(), *parts, "</svg>", ""])


def _panel(drawn: Drawn, start: float, end: float) -> str:
    found = sorted(drawn.lines, key=lambda line: -max((value for _, value in line[1].points), default=0.0))[:LINES]
    largest = max((value for _, series in found for _, value in series.points), default=0.0)
    parts = [
        f'<rect class="box" width="{WIDTH}" height="{HEIGHT}" rx="4"/>',
        _text(6, 14, drawn.panel.title, "title"),
        _text(WIDTH - 6, 14, shown(largest, drawn.panel.unit), "value", "end"),
        f'<line class="axis" x1="6" y1="{PLOT_BOTTOM}" x2="{WIDTH - 6}" y2="{PLOT_BOTTOM}"/>',
    ]
    for number, (_, series) in enumerate(found):
        points = " ".join(
            f"{6 + (WIDTH - 12) * (at - start) / (end - start):.0f},"
            f"{PLOT_BOTTOM - (PLOT_BOTTOM - PLOT_TOP) * (value / largest if largest else 0):.0f}"
            for at, value in series.points
        )
        parts.append(f'<polyline class="line{number}" points="{points}"/>')
    return "".join([*parts, *_legend([legend for legend, _ in found])])


def _legend(names: Sequence[str]) -> list[str]:
    """As many names as there is room for, in two lines."""
    parts, x, y = [], 6.0, float(LEGEND)
    for number, name in enumerate(names):
        width = 4.9 * len(name) + 2 * sum(map(str.isupper, name)) + 8
        if x > 6 and x + width > WIDTH:
            x, y = 6.0, y + 12
        if y > LEGEND + 12:
            break
        parts.append(_text(x, y, name, f"name{number}"))
        x += width
    return parts


def shown(value: float, unit: str) -> str:
    """The largest value of a panel, which is the top of its plot."""
    match unit:
        case "s":
            return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
        case "percentunit":
            return f"{value * 100:.1f} %"
        case "reqps" | "ops" | "cps" | "rowsps":
            return f"{value:.1f} /s" if value < 10 else f"{value:.0f} /s"
    return f"{value:.0f}" if value == int(value) else f"{value:.1f}"


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    at_end = ' text-anchor="end"' if anchor == "end" else ""
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}"{at_end}>{escape(text)}</text>'


def _style() -> str:
    def colours(palette: Sequence[str]) -> str:
        return " ".join(
            f".line{number} {{ stroke: {colour} }} .name{number} {{ fill: {colour} }}"
            for number, colour in enumerate(palette)
        )

    return f"""<style>
text {{ font: 9px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }}
.row {{ font-size: 14px; font-weight: 600 }} .title {{ font-size: 10px; font-weight: 600 }} .value {{ fill: #59636e }}
.box {{ fill: none; stroke: #d0d7de }} .axis {{ stroke: #8a8f98 }} polyline {{ fill: none; stroke-width: 1.2 }}
{colours(LIGHT)}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }} .value {{ fill: #9198a1 }} .box {{ stroke: #3d444d }} {colours(DARK)}
}}
</style>"""
