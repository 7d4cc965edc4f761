"""The pictures of docs/two_towers_and_svd.md, drawn from benchmarks/out/two_towers_and_svd.json.

    python benchmarks/two_towers_pictures.py

``two_towers_and_svd.py`` draws them too, after it has measured.
"""

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from features_alone import AMONG_NEW, CHANCE, KNOWN_ITEMS, MODELS, NEW_ITEMS
from features_alone import POPULARITY as MOST_POPULAR
from figures import OUT
from fitted_towers import CUTOFF
from growth import CATALOGUES, WAYS
from linear_limits import COMPONENTS, LOGS, POPULARITY, TRUTH, TRUTH_CUT
from svg_pictures import PICTURES, Panel, Style, decades, intervals_picture, lines_picture

from bascule_training.report.charts import (
    Axis,
    Estimate,
    Position,
    Scale,
    Series,
    Tick,
    interval_chart,
    line_chart,
)

NAME = "two_towers_and_svd"

TITLES = {"linear": "linear: 8 genres", "narrow": "narrow: places on a sphere", "together": "together: a and b"}
STYLES = {
    "two towers": Style("#1750b5", width=3.0),
    "two towers, one epoch": Style("#1750b5", width=3.0),
    "PureSVD": Style("#c4482a"),
    "iALS": Style("#2f8f62"),
    "spectral": Style("#8a5cc0"),
    "EASE": Style("#a97a12"),
    TRUTH_CUT: Style("#5b6472", dashes="6 4", width=1.5, has_dots=False),
    TRUTH: Style("#5b6472", dashes="1.5 3", width=1.5, has_dots=False),
    POPULARITY: Style("#b0a99a", width=1.5, has_dots=False),
}
Values = Mapping[str, float]
"""By the names of the figures."""


class Spread(NamedTuple):
    """Of a figure over the seeds."""

    mean: float
    deviation: float
    """The standard deviation; 0 of one seed."""


def read_values() -> Values:
    """All that the file has."""
    found = json.loads((OUT / f"{NAME}.json").read_text(encoding="utf-8"))
    return {each["figure"]: each["value"] for each in found}


def over_seeds(values: Values, of: str, metric: str) -> Spread:
    """Over all seeds that there are."""
    found = [
        value
        for figure, value in values.items()
        if figure.startswith(f"{of}, seed ") and figure.endswith(f", {metric}")
    ]
    return Spread(statistics.mean(found), statistics.stdev(found) if len(found) > 1 else 0.0)


def main() -> None:
    """Draws what there are figures of."""
    values = read_values()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, (parts, draw) in DRAWN.items():
        if all(any(figure.startswith(f"{part}, ") for figure in values) for part in parts):
            (PICTURES / f"{name}.svg").write_text(draw(values), encoding="utf-8")


def tastes_picture(values: Values) -> str:
    """NDCG@10 by the number of components, a panel for each log."""
    panels = []
    for log, (_, models) in LOGS.items():
        names = [*models, TRUTH_CUT, TRUTH, POPULARITY]
        series = [_over_components(log, name, values) for name in reversed(names)]
        top = max(float(each.values.max()) for each in series)
        x = Axis("components", _powers(COMPONENTS, margin=1.15))
        y = Axis(f"NDCG@{CUTOFF}", Scale.linear([0.0, top]))
        positions = [Position(each, str(each)) for each in COMPONENTS]
        panels.append(Panel(TITLES[log], line_chart(series, positions, x, y, with_bars=True)))
    names = ["two towers", "PureSVD", "iALS", "spectral", TRUTH_CUT, TRUTH, POPULARITY]
    title = f"NDCG@{CUTOFF} by the number of components on three generated logs"
    return lines_picture(title, panels, STYLES, names)


def _over_components(log: str, model: str, values: Values) -> Series:
    flat = model in (TRUTH, POPULARITY)
    figures = [f"{log}, {model}, {0 if flat else components} components" for components in COMPONENTS]
    means, deviations = np.array([over_seeds(values, figure, f"ndcg@{CUTOFF}") for figure in figures]).T
    if flat or model == TRUTH_CUT:
        return Series(model, model, means)
    return Series(model, model, means, means - deviations, means + deviations)


def features_picture(values: Values) -> str:
    """Recall@10 of each model, a panel for each group."""
    panels = []
    for group in (KNOWN_ITEMS, *(each + AMONG_NEW for each in NEW_ITEMS)):
        estimates = []
        for model in (*MODELS, MOST_POPULAR, CHANCE):
            mean, deviation = over_seeds(values, f"features, {group}, {model}", f"recall@{CUTOFF}")
            colour = "two towers" if "two towers" in model or model.startswith("the same") else model
            estimates.append(Estimate(model, colour, mean, max(0.0, mean - deviation), mean + deviation))
        panels.append((group, interval_chart(estimates)))
    styles = STYLES | {CHANCE: Style("#b0a99a")}
    title = f"recall@{CUTOFF} where only the features of users or items are known"
    return intervals_picture(title, panels, styles)


def growth_picture(values: Values) -> str:
    """CPU seconds and peak memory by the number of interactions."""
    sizes = list(CATALOGUES)
    panels = []
    for what, title, unit in (("CPU", "time of one fit", "CPU seconds"), ("peak", "peak of the memory", "MiB")):
        series = []
        for way in reversed(list(WAYS)):
            figures = [f"growth, {size} interactions, {way}, {what}" for size in sizes]
            series.append(Series(way, way, np.array([values[figure] for figure in figures if figure in values])))
        low, high = (limit(float(each.values[end]) for each in series) for limit, end in ((min, 0), (max, -1)))
        x, y = Axis("interactions", decades(sizes[0], sizes[-1])), Axis(unit, decades(low, high))
        panels.append(Panel(title, line_chart(series, [Position(size, f"{size:,}") for size in sizes], x, y)))
    title = "CPU seconds and peak memory by the number of interactions"
    return lines_picture(title, panels, STYLES, list(WAYS))


def _powers(numbers: Sequence[int], margin: float) -> Scale:
    """A logarithmic scale that names the numbers alone, with a margin at both ends."""
    scale = Scale(numbers[0] / margin, numbers[-1] * margin, (), is_log=True)
    ticks = tuple(Tick(scale.place(number), f"{number}") for number in numbers)
    return Scale(scale.low, scale.high, ticks, is_log=True)


DRAWN: Mapping[str, tuple[Sequence[str], Callable[[Values], str]]] = {
    "known_tastes": (list(LOGS), tastes_picture),
    "features_alone": (["features"], features_picture),
    "growth": (["growth"], growth_picture),
}
"""By the name of the file: the parts whose figures it shows, and what draws it."""


if __name__ == "__main__":
    main()
