"""Pictures of a page of the documentation: charts of the report as files of their own, in SVG.

Where marks lie is computed by ``bascule_training.report.charts``. A picture has a background, so that it reads on a
white page and on a dark one, and neither scripts nor fonts of its own.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from bascule_training.report.charts import IntervalChart, Line, LineChart, Scale, Tick

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"

WIDTH = 880
PAPER, INK, SOFT, GRID = "#fbfaf7", "#1c2430", "#5b6472", "#e3e0d8"
FONT = "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_MARGIN = 24
_LEFT, _BELOW, _ABOVE = 44, 46, 40
"""Around a plot, for what its axes say."""

_ROW = 24
_LETTER = 6.6
"""About as wide is a letter of the legend."""


class Style(NamedTuple):
    """How a line is drawn."""

    colour: str
    dashes: str = ""
    width: float = 2.0
    has_dots: bool = True


class Panel(NamedTuple):
    """One chart of a picture."""

    title: str
    chart: LineChart


class _Box(NamedTuple):
    """Where a plot lies, in pixels; its places are in percent."""

    left: float
    top: float
    width: float
    height: float

    def x(self, place: float) -> float:
        return round(self.left + self.width * place / 100, 1)

    def y(self, place: float) -> float:
        return round(self.top + self.height * place / 100, 1)


def lines_picture(
    title: str, panels: Sequence[Panel], styles: Mapping[str, Style], names: Sequence[str], height: int = 230
) -> str:
    """Line charts beside each other under one legend.

    Args:
        title: what the picture shows, for those who cannot see it.
        panels: from the left.
        styles: by the colour of the lines.
        names: of the legend; the styles' keys, in their order.
        height: of a plot, in pixels.
    """
    legend, legend_height = _legend(names, styles)
    top = _MARGIN + legend_height + _ABOVE
    share = (WIDTH - 2 * _MARGIN) / len(panels)
    drawn = []
    for number, panel in enumerate(panels):
        box = _Box(_MARGIN + number * share + _LEFT, top, share - _LEFT - 16, height)
        drawn += [*_axes(panel, box), *(part for line in panel.chart.lines for part in _line(line, styles, box))]
    return _picture(title, top + height + _BELOW + 8, [*legend, *drawn])


def intervals_picture(title: str, panels: Sequence[tuple[str, IntervalChart]], styles: Mapping[str, Style]) -> str:
    """Estimates below each other, in panels that share the names at the left.

    Args:
        title: what the picture shows, for those who cannot see it.
        panels: the title of each, in two lines where it has a comma, and its estimates, all of the same names in the
            same order.
        styles: by the colour of the estimates.
    """
    names = [row.name for row in panels[0][1].rows]
    left = _MARGIN + _LETTER * max(map(len, names)) + 10
    top, gap = _MARGIN + 34, 34
    height = _ROW * len(names)
    share = (WIDTH - _MARGIN - left) / len(panels)
    drawn = [
        _text(left - 12, top + _ROW * (number + 0.5) + 4, name, anchor="end", size=12.5, colour=INK)
        for number, name in enumerate(names)
    ]
    for number, (name, chart) in enumerate(panels):
        box = _Box(left + number * share, top, share - gap, height)
        for line, words in enumerate(reversed(name.split(", ", 1))):
            drawn.append(_text(box.left, top - 12 - 16 * line, words, size=13, weight=600, colour=INK))
        for tick in chart.scale.ticks:
            x = box.x(tick.place)
            drawn += [_rule(x, top, x, top + height, GRID), _text(x, top + height + 18, tick.text, anchor="middle")]
        for place, row in enumerate(chart.rows):
            y, colour = top + _ROW * (place + 0.5), styles[row.colour].colour
            drawn.append(_rule(box.x(row.low), y, box.x(row.high), y, colour, 3))
            drawn.append(_dot(box.x(row.place), y, 5, colour, f"{row.name}: {row.text}"))
    return _picture(title, top + height + _BELOW - 8, drawn)


def decades(low: float, high: float) -> Scale:
    """A logarithmic scale of whole decades."""
    powers = range(math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9) + 1)
    scale = Scale(10.0 ** powers[0], 10.0 ** powers[-1], (), is_log=True)
    names = [f"{10 ** (power - 6):g} M" if power >= 6 else f"{10.0**power:,g}" for power in powers]
    ticks = tuple(Tick(scale.place(10.0**power), name) for power, name in zip(powers, names, strict=True))
    return Scale(scale.low, scale.high, ticks, is_log=True)


def _legend(names: Sequence[str], styles: Mapping[str, Style]) -> tuple[list[str], int]:
    """Its marks, and how high it is."""
    drawn, x, y = [], float(_MARGIN), float(_MARGIN)
    for name in names:
        wide = 34 + _LETTER * len(name) + 22
        if x + wide > WIDTH - _MARGIN + 22:
            x, y = float(_MARGIN), y + 22
        style = styles[name]
        drawn.append(_rule(x, y, x + 26, y, style.colour, style.width, style.dashes))
        drawn.append(_text(x + 34, y + 4, name, size=13, colour=INK))
        x += wide
    return drawn, int(y - _MARGIN) + 12


def _axes(panel: Panel, box: _Box) -> list[str]:
    chart = panel.chart
    drawn = [
        _text(box.left - _LEFT + 8, box.top - 22, panel.title, size=13, weight=600, colour=INK),
        _text(box.left - _LEFT + 8, box.top - 7, chart.y.name, size=11),
        _text(box.x(50), box.y(100) + 36, chart.x.name, anchor="middle"),
    ]
    for tick in chart.y.scale.ticks:
        y = box.y(100 - tick.place)
        drawn += [_rule(box.left, y, box.x(100), y, GRID), _text(box.left - 7, y + 4, tick.text, anchor="end")]
    drawn.append(_rule(box.left, box.y(100), box.x(100), box.y(100), SOFT))
    for tick in chart.x.scale.ticks:
        drawn.append(_text(box.x(tick.place), box.y(100) + 18, tick.text, anchor="middle"))
    return drawn


def _line(line: Line, styles: Mapping[str, Style], box: _Box) -> list[str]:
    style = styles[line.colour]
    points = " ".join(f"{box.x(dot.x)},{box.y(dot.y)}" for dot in line.dots)
    attributes = f'fill="none" stroke-linejoin="round" stroke="{style.colour}" stroke-width="{style.width}"'
    drawn = [f'<polyline points="{points}" {attributes} stroke-dasharray="{style.dashes or "none"}"/>']
    drawn += [
        _rule(box.x(bar.x), box.y(bar.top), box.x(bar.x), box.y(bar.bottom), style.colour, 1.5) for bar in line.bars
    ]
    if style.has_dots:
        drawn += [_dot(box.x(dot.x), box.y(dot.y), 3.6, style.colour, dot.tip) for dot in line.dots]
    return drawn


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: float = 11.5, weight: int = 400, colour: str = SOFT
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )


def _rule(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1.0, dashes: str = "") -> str:
    attributes = f'stroke="{colour}" stroke-width="{width:g}" stroke-dasharray="{dashes or "none"}"'
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {attributes}/>'


def _dot(x: float, y: float, radius: float, colour: str, tip: str) -> str:
    attributes = f'r="{radius:g}" fill="{colour}" stroke="{PAPER}"'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" {attributes}><title>{escape(tip)}</title></circle>'


def _picture(title: str, height: float, drawn: Sequence[str]) -> str:
    size = f'width="{WIDTH}" height="{height:.0f}"'
    attributes = f'{size} viewBox="0 0 {WIDTH} {height:.0f}" role="img" font-family="{FONT}"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {attributes}>',
            f"<title>{escape(title)}</title>",
            f'<rect {size} rx="8" fill="{PAPER}"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )
