"""Bar charts as SVG for light and dark pages. Each bar has its number beside it."""

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH, LABELS, NUMBERS = 860, 110, 80
BAR, BETWEEN_BARS, BETWEEN_GROUPS = 14, 3, 16
TOP, BOTTOM = 84, 10

# The first colour is ours. All differ on white and on black, and for readers with red-green colour blindness.
LIGHT = ("#0b62c4", "#b4530a", "#8a8f98", "#6a8f1f", "#7a4fb5")
DARK = ("#4ea1ff", "#f0944d", "#9aa0a8", "#a9c95a", "#b794f0")


class Group(NamedTuple):
    label: str
    values: Sequence[float | None]  # one for each name


def chart(title: str, unit: str, names: Sequence[str], groups: Sequence[Group]) -> str:
    largest = max((value for group in groups for value in group.values if value), default=1.0)
    scale = (WIDTH - LABELS - NUMBERS) / largest
    parts: list[str] = []
    y = float(TOP)
    for group in groups:
        middle = y + len(names) * (BAR + BETWEEN_BARS) / 2
        parts.append(_text(LABELS - 10, middle + 3, group.label, "label", "end"))
        for number, value in enumerate(group.values):
            if value is not None:
                width = max(1.0, value * scale)
                parts.append(
                    f'<rect class="bar{number}" x="{LABELS}" y="{y:.0f}" width="{width:.1f}" height="{BAR}" rx="2"/>'
                )
                parts.append(_text(LABELS + width + 6, y + BAR - 3, shown(value), "value"))
            y += BAR + BETWEEN_BARS
        y += BETWEEN_GROUPS
    head = [_text(10, 24, title, "title"), _text(10, 44, unit, "unit"), *_legend(names)]
    height = y - BETWEEN_GROUPS + BOTTOM
    axis = f'<line class="axis" x1="{LABELS}" y1="{TOP - 4}" x2="{LABELS}" y2="{height - BOTTOM:.0f}"/>'
    open_tag = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
        f'height="{height:.0f}" role="img" aria-label="{escape(title)}">'
    )
    return "\n".join([open_tag, _style(len(names)), *head, axis, *parts, "</svg>", ""])


def shown(value: float) -> str:
    """Rounded to the significant digits, with a space between thousands."""
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}".replace(",", " ")


def _legend(names: Sequence[str]) -> list[str]:
    parts, x = [], 10.0
    for number, name in enumerate(names):
        parts.append(f'<rect class="bar{number}" x="{x:.0f}" y="58" width="12" height="12" rx="2"/>')
        parts.append(_text(x + 17, 68, name, "value"))
        x += 17 + 6.6 * len(name) + 20
    return parts


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _style(bars: int) -> str:
    def colours(palette: Sequence[str]) -> str:
        return " ".join(f".bar{number} {{ fill: {palette[number % len(palette)]} }}" for number in range(bars))

    return f"""<style>
text {{ font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }}
.title {{ font-size: 16px; font-weight: 600 }} .label {{ font-size: 13px }} .unit {{ fill: #59636e }}
.axis {{ stroke: #8a8f98 }} {colours(LIGHT)}
@media (prefers-color-scheme: dark) {{
text {{ fill: #e6edf3 }} .unit {{ fill: #9198a1 }} {colours(DARK)}
}}
</style>"""
