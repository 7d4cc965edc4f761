"""The charts and tables of a report, from evaluations of the same cases: the model's first, then the baselines'."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bascule_training.evaluation import groups, intervals, metrics
from bascule_training.evaluation.evaluated import Evaluation
from bascule_training.evaluation.groups import Group, GroupFigures
from bascule_training.evaluation.results_table import COLUMNS, DECIMALS, NEITHER_IS_BETTER
from bascule_training.report.calibration import BINS, calibration
from bascule_training.report.charts import (
    Axis,
    Estimate,
    IntervalChart,
    LineChart,
    Position,
    Scale,
    Series,
    SpotChart,
    interval_chart,
    line_chart,
    spot_chart,
)
from bascule_training.report.contents import Curve, ScoredItems

HEADLINE = "ndcg@10"
"""The metric by which models are compared."""

BASELINE_COLOURS = 9

LENGTHS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)
"""The lengths of list at which recall is drawn."""

NAMES = {"ndcg": "NDCG", "hr": "HR", "mrr": "MRR", "map": "MAP", "gini": "Gini"}
"""How metrics are written that are not written as they are called."""


class Model(NamedTuple):
    """An evaluation and the colour that it is drawn in."""

    evaluation: Evaluation
    colour: str

    @property
    def name(self) -> str:
        """See ``Evaluation``."""
        return self.evaluation.name

    @property
    def summary(self) -> dict[str, float]:
        """See ``Evaluation``."""
        return self.evaluation.summary


class Cell(NamedTuple):
    """A number of a table."""

    value: str
    interval: str
    is_best: bool


class Row(NamedTuple):
    """A model, and its numbers."""

    name: str
    settings: str
    colour: str
    cells: list[Cell]


class Table(NamedTuple):
    """Numbers, a row a model."""

    columns: list[str]
    rows: list[Row]


class LearningFigure(NamedTuple):
    """Both curves, and what they show in words."""

    words: str
    loss: LineChart
    quality: LineChart


class CalibrationFigure(NamedTuple):
    """What scores are worth, and how to read it."""

    how: str
    chart: LineChart


def coloured(evaluations: Sequence[Evaluation]) -> list[Model]:
    """The model, and then the baselines, best first; each has the same colour in every chart.

    Args:
        evaluations: of the same cases, the model's first. Colours go by their order, so that versions of a report have
            the same ones, however well the baselines did.
    """
    model, *baselines = [
        Model(each, "model" if number == 0 else f"baseline-{1 + (number - 1) % BASELINE_COLOURS}")
        for number, each in enumerate(evaluations)
    ]
    return [model, *sorted(baselines, key=lambda each: -each.summary[HEADLINE])]


def metric_name(metric: str) -> str:
    """A metric as people write it: ``NDCG@10`` for ``ndcg@10``."""
    name, at, k = metric.partition("@")
    return f"{NAMES.get(name, name)}{at}{k}"


def headline_figure(models: Sequence[Model]) -> IntervalChart:
    """The headline metric of every model with its interval, best first."""
    ends = intervals.bootstrap(
        {number: each.evaluation.by_case[HEADLINE] for number, each in enumerate(models)}, models[0].evaluation.weights
    )
    estimates = [
        Estimate(each.name, each.colour, each.summary[HEADLINE], *ends[number]) for number, each in enumerate(models)
    ]
    return interval_chart(sorted(estimates, key=lambda each: -each.value))


def metrics_table(models: Sequence[Model]) -> Table:
    """Every metric at ten items, with the intervals of those that are means over users."""
    names = [f"{name}@10" for name in COLUMNS]
    means = {
        (number, name): each.evaluation.by_case[name]
        for number, each in enumerate(models)
        for name in names
        if name in each.evaluation.by_case
    }
    ends = intervals.bootstrap(means, models[0].evaluation.weights)
    best = {name: max(_figure(each, name) for each in models) for name in names}
    rows = []
    for number, each in enumerate(models):
        cells = []
        for name in names:
            value, decimals = _figure(each, name), _decimals(name) - 1
            interval = ends.get((number, name))
            text = "" if interval is None else f"{interval.low:.{decimals}f} to {interval.high:.{decimals}f}"
            is_best = value == best[name] and name.partition("@")[0] not in NEITHER_IS_BETTER
            cells.append(Cell(value, text, is_best))
        rows.append(Row(each.name, each.evaluation.settings, each.colour, cells))
    return Table([metric_name(name) for name in names], rows)


def all_metrics(models: Sequence[Model]) -> list[tuple[str, list[str]]]:
    """Every metric at every length of list: its name, and the figures of the models."""
    names = [f"{name}@{k}" for k in metrics.CUTOFFS for name in COLUMNS]
    return [(metric_name(name), [_figure(each, name) for each in models]) for name in names]


def learning_figure(curves: Sequence[Curve]) -> LearningFigure | None:
    """Loss and quality by epoch, a line a tower; None without any."""
    towers = [np.array(curve, np.float64) for curve in curves if curve]  # each [epochs, 2]
    if not towers:
        return None
    best = [int(np.argmax(tower[:, 1])) for tower in towers]
    told = [
        f"{name}: {len(tower):,} epoch{'' if len(tower) == 1 else 's'}; the best on the validation part was epoch"
        f" {epoch + 1}, with NDCG@10 {tower[epoch, 1]:.4f}."
        for name, tower, epoch in zip(_tower_names(len(towers)), towers, best, strict=True)
    ]
    epochs = range(1, 1 + max(map(len, towers)))
    positions = [Position(epoch, f"epoch {epoch}") for epoch in epochs]
    x = Axis("epoch", Scale.linear(epochs, least_step=1))
    everything = np.concatenate(towers)
    y = Axis("loss", Scale.linear(everything[:, 0], from_zero=False)), Axis("NDCG@10", Scale.linear(everything[:, 1]))
    loss, quality = (
        [Series(name, "model", tower[:, column]) for name, tower in zip(_tower_names(len(towers)), towers, strict=True)]
        for column in (0, 1)
    )
    return LearningFigure(
        " ".join(told), line_chart(loss, positions, x, y[0]), line_chart(quality, positions, x, y[1], marks=best)
    )


def recall_figure(models: Sequence[Model]) -> LineChart:
    """Recall at 1 to 100 items, with the intervals of the model."""
    series: list[Series] = []
    for each in models:
        ranks = each.evaluation.ranks.only(each.evaluation.cases.is_counted())
        by_case = {k: metrics.recall(ranks, k) for k in LENGTHS}
        means = np.array([np.average(values, weights=each.evaluation.weights) for values in by_case.values()])
        if series:
            series.append(Series(each.name, each.colour, means))
        else:
            ends = np.array(list(intervals.bootstrap(by_case, each.evaluation.weights).values()))
            series.append(Series(each.name, each.colour, means, ends[:, 0], ends[:, 1]))
    positions = [Position(k, f"k = {k}") for k in LENGTHS]
    x = Axis("length of the list, k", Scale.logarithmic(LENGTHS[0], LENGTHS[-1]))
    return line_chart(series, positions, x, Axis("recall@k", _scale_of(series)))


def coverage_figure(models: Sequence[Model]) -> SpotChart:
    """The part of the catalogue that is recommended to anyone, against the headline metric."""
    points = [(each.name, each.colour, each.summary["coverage@10"], each.summary[HEADLINE]) for each in models]
    x = Axis("coverage@10", Scale.linear([point[2] for point in points]))
    return spot_chart(points, x, Axis(metric_name(HEADLINE), Scale.linear([point[3] for point in points])))


def activity_figure(models: Sequence[Model]) -> LineChart | None:
    """NDCG@10 by the length of users' histories; None where all are alike."""
    return _group_chart(models, groups.by_activity(models[0].evaluation.cases), "ndcg@10")


def popularity_figure(models: Sequence[Model]) -> LineChart | None:
    """Recall@10 by how many users had the items; None where all are alike."""
    return _group_chart(models, groups.by_popularity(models[0].evaluation.cases), "recall@10")


def knowledge_table(models: Sequence[Model]) -> list[tuple[str, str, list[str]]]:
    """Recall@10 of what is known and what is cold: the group, how much is in it, and the figures of the models.

    Empty where nothing is cold.
    """
    parts = groups.by_knowledge(models[0].evaluation.cases)
    if len(parts) < 2:
        return []
    figures = [groups.figures(each.evaluation, parts) for each in models]
    return [
        (
            same[0].name,
            f"{same[0].relevant_count:,} to find, {same[0].case_count:,} users",
            [f"{each.means()['recall@10']:.4f}" for each in same],
        )
        for same in zip(*figures, strict=True)
    ]


def calibration_figure(scored: ScoredItems | None) -> CalibrationFigure | None:
    """The share of right recommendations by score; None where nobody knows."""
    if scored is None or (bins := calibration(scored)) is None:
        return None
    how = (
        f"{len(scored.scores):,} recommendations to {scored.user_count:,} users in {BINS} groups of equal size, by"
        f" their scores; {int(scored.is_next.sum()):,} of them were right. The bars are 95 % intervals."
    )
    series = [Series("right", "model", bins.hit_rate, bins.low, bins.high)]
    positions = [Position(score, f"score {score:.3f}") for score in bins.score.tolist()]
    x = Axis("score", Scale.linear(bins.score, from_zero=False))
    y = Axis("share of right recommendations", _scale_of(series))
    return CalibrationFigure(how, line_chart(series, positions, x, y, with_bars=True))


def _tower_names(count: int) -> list[str]:
    return ["The query tower"] if count == 1 else [f"Query tower {number}" for number in range(1, count + 1)]


def _figure(model: Model, metric: str) -> str:
    return f"{model.summary[metric]:.{_decimals(metric)}f}"


def _decimals(metric: str) -> int:
    return DECIMALS.get(metric.partition("@")[0], 4)


def _group_chart(models: Sequence[Model], parts: Sequence[Group], metric: str) -> LineChart | None:
    if len(parts) < 2:
        return None
    series = []
    for each in models:
        figures = groups.figures(each.evaluation, parts)
        series.append(_group_series(each, figures, metric, with_intervals=each is models[0]))
    names = [part.name for part in parts]
    positions = [Position(number, name) for number, name in enumerate(names)]
    y = Axis(metric_name(metric), _scale_of(series))
    return line_chart(series, positions, Axis("", Scale.of_groups(names)), y, with_bars=True)


def _group_series(model: Model, figures: Sequence[GroupFigures], metric: str, *, with_intervals: bool) -> Series:
    means = np.array([each.means()[metric] for each in figures])
    if not with_intervals:
        return Series(model.name, model.colour, means)
    ends = np.array([each.intervals()[metric] for each in figures])
    return Series(model.name, model.colour, means, ends[:, 0], ends[:, 1])


def _scale_of(series: Sequence[Series]) -> Scale:
    """A scale from zero that holds the numbers of the series and their intervals."""
    return Scale.linear(np.concatenate([each.values if each.high is None else each.high for each in series]))
