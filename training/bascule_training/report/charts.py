"""Where the marks of a chart lie: pure functions from numbers to places, in percent of the plot.

The templates draw them. Percents stretch with the page while letters keep their size, so that one chart reads well on a
laptop and on a phone, follows the page's colours into the dark, and needs no script and no library in the file:
plotly.js alone has 4.8 MB.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bascule_training.report.labels import sides, spread

_STEPS = 5
"""About so many round numbers are on a scale."""


class Tick(NamedTuple):
    """What an axis names, and where."""

    place: float
    text: str


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps numbers to places along an axis, from 0 to 100.

    Attributes:
        low: the number at place 0.
        high: the number at place 100.
        ticks: what the axis names.
        is_log: whether equal ratios are equally far apart, and not equal differences.
    """

    low: float
    high: float
    ticks: tuple[Tick, ...]
    is_log: bool = False

    def place(self, value: float) -> float:
        """The place of a number."""
        low, high, value = map(math.log, (self.low, self.high, value)) if self.is_log else (self.low, self.high, value)
        return round(100 * (value - low) / (high - low), 2)

    @classmethod
    def linear(cls, values: ArrayLike, *, from_zero: bool = True, least_step: float = 0.0) -> "Scale":
        """A scale that holds the values between round numbers, which it names, a few of them.

        Args:
            values: at least one.
            from_zero: whether zero is on the scale in any case.
            least_step: how far apart the round numbers are at least: 1 for what is counted.
        """
        low, high = float(np.min(values)), float(np.max(values))
        if from_zero:
            low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        step = _round_step(max((high - low) / _STEPS, least_step))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        places = max(0, -math.floor(math.log10(step)))
        numbers = range(first, last + 1)
        ticks = [Tick(100 * (number - first) / (last - first), f"{number * step:,.{places}f}") for number in numbers]
        return cls(first * step, last * step, tuple(Tick(round(tick.place, 2), tick.text) for tick in ticks))

    @classmethod
    def logarithmic(cls, low: float, high: float) -> "Scale":
        """A scale from ``low`` to ``high``, both above 0, that names 1, 2, 5, 10, 20, 50 and so on."""
        scale = cls(low, high, (), is_log=True)
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        numbers = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
        ticks = tuple(Tick(scale.place(number), f"{number:,g}") for number in numbers if low <= number <= high)
        return cls(low, high, ticks, is_log=True)

    @classmethod
    def of_groups(cls, names: Sequence[str]) -> "Scale":
        """A scale on which group ``i`` is the number ``i`` and stands in the middle of its share."""
        scale = cls(-0.5, len(names) - 0.5, ())
        return cls(scale.low, scale.high, tuple(Tick(scale.place(number), name) for number, name in enumerate(names)))


class Axis(NamedTuple):
    """A scale and what its numbers are."""

    name: str
    scale: Scale


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of one model.

    Attributes:
        name: what the legend calls it.
        colour: a class of ``report.css``.
        values: float64 [positions], or of the first of them.
        low: float64 [positions], the lower ends of the intervals; None where there are none.
        high: float64 [positions], the upper ends.
    """

    name: str
    colour: str
    values: NDArray[np.float64]
    low: NDArray[np.float64] | None = None
    high: NDArray[np.float64] | None = None


class Position(NamedTuple):
    """Where on the horizontal axis the series have numbers, and what that is called."""

    value: float
    text: str


class Dot(NamedTuple):
    """A point of a line, and what the pointer is told there."""

    x: float
    y: float
    tip: str


class Bar(NamedTuple):
    """An interval that stands upright, from its ``top`` down to its ``bottom``."""

    x: float
    top: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is drawn; places from the left and from the top."""

    name: str
    colour: str
    path: str
    """SVG path data."""
    band: str
    """SVG path data of the area of its intervals; empty where they are bars or there are none."""
    bars: tuple[Bar, ...]
    dots: tuple[Dot, ...]
    label: float
    """Where its name stands at the right end, from the top."""

    @property
    def end(self) -> float:
        """Where it ends itself, from the top: a lead goes from there to its name."""
        return self.dots[-1].y


@dataclass(frozen=True, slots=True)
class LineChart:
    """Lines over one horizontal axis, the most important last, above the others."""

    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    marks: tuple[Dot, ...] = ()
    """Points that are pointed out."""


def line_chart(
    series: Sequence[Series],
    positions: Sequence[Position],
    x: Axis,
    y: Axis,
    *,
    with_bars: bool = False,
    marks: Sequence[int] = (),
) -> LineChart:
    """Places lines.

    Args:
        series: at least one, the most important first.
        positions: of their numbers, in order.
        x: the horizontal axis.
        y: the vertical axis.
        with_bars: whether intervals are upright bars, as groups need them, and no band.
        marks: for each of the series, the number of a position that is pointed out; none for the rest.
    """
    labels = spread([_from_top(y, each.values[-1]) for each in series])
    across = [x.scale.place(position.value) for position in positions]
    lines = []
    for each, label in zip(series, labels, strict=True):
        points = list(zip(across, [_from_top(y, value) for value in each.values], strict=False))
        tips = [_tip(each, positions[number].text, number) for number in range(len(points))]
        dots = tuple(Dot(*point, tip) for point, tip in zip(points, tips, strict=True))
        bars = _bars(each, across, y)
        band = "" if with_bars or not bars else _band(bars)
        lines.append(Line(each.name, each.colour, _path(points), band, bars if with_bars else (), dots, label))
    marked = tuple(line.dots[number] for line, number in zip(lines, marks, strict=False))
    return LineChart(x, y, tuple(reversed(lines)), marked)


class Estimate(NamedTuple):
    """A number and its interval."""

    name: str
    colour: str
    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """The number with its interval, to four places."""
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


class IntervalBar(NamedTuple):
    """An estimate on a line of its own; places from the left."""

    name: str
    colour: str
    low: float
    place: float
    high: float
    text: str


class IntervalChart(NamedTuple):
    """Estimates below each other."""

    scale: Scale
    rows: tuple[IntervalBar, ...]


def interval_chart(estimates: Sequence[Estimate]) -> IntervalChart:
    """Places estimates, in their order, on a scale from zero."""
    scale = Scale.linear([each.high for each in estimates])
    rows = [
        IntervalBar(
            each.name, each.colour, scale.place(each.low), scale.place(each.value), scale.place(each.high), each.text
        )
        for each in estimates
    ]
    return IntervalChart(scale, tuple(rows))


class Spot(NamedTuple):
    """A point with a name; ``side`` says where that stands, as ``labels.sides`` does."""

    name: str
    colour: str
    x: float
    y: float
    side: str
    tip: str


class SpotChart(NamedTuple):
    """Points with names, the most important last, above the others."""

    x: Axis
    y: Axis
    spots: tuple[Spot, ...]


def spot_chart(points: Sequence[tuple[str, str, float, float]], x: Axis, y: Axis) -> SpotChart:
    """Places points: name, colour, x and y; the most important first."""
    places = [(x.scale.place(across), _from_top(y, up)) for _, _, across, up in points]
    spots = [
        Spot(name, colour, *place, side, f"{name}: {x.name} {across:.4f}, {y.name} {up:.4f}")
        for (name, colour, across, up), place, side in zip(
            points, places, sides([point[0] for point in points], places), strict=True
        )
    ]
    return SpotChart(x, y, tuple(reversed(spots)))


def _round_step(step: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no less than ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))


def _from_top(y: Axis, value: float) -> float:
    return round(100 - y.scale.place(float(value)), 2)


def _tip(series: Series, position: str, number: int) -> str:
    tip = f"{series.name}, {position}: {series.values[number]:.4f}"
    if series.low is None or series.high is None:
        return tip
    return f"{tip} ({series.low[number]:.4f} to {series.high[number]:.4f})"


def _bars(series: Series, across: Sequence[float], y: Axis) -> tuple[Bar, ...]:
    if series.low is None or series.high is None:
        return ()
    ends = zip(across, series.high, series.low, strict=False)
    return tuple(Bar(place, _from_top(y, high), _from_top(y, low)) for place, high, low in ends)


def _band(bars: Sequence[Bar]) -> str:
    return _path([*((bar.x, bar.top) for bar in bars), *((bar.x, bar.bottom) for bar in reversed(bars))]) + "Z"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points)
