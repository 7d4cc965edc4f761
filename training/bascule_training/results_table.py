"""Figures and their intervals in a table, for people at a terminal."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from bascule_training.intervals import Interval
from bascule_training.metrics import METRICS

DECIMALS: Mapping[str, int] = {"novelty": 2}
"""How many a figure has that does not have 4."""

NEITHER_IS_BETTER = ("coverage", "gini", "novelty")
"""Of these neither end is the better one by itself."""

COLUMNS = (*METRICS, *NEITHER_IS_BETTER)
"""The metrics in their order."""


HALF_WIDTH = "± half the width of the 95 % interval"


class Result(NamedTuple):
    """A line of a table."""

    name: str
    figures: Mapping[str, float]
    """Named as in ``ndcg@10``."""
    intervals: Mapping[str, Interval]
    """Of those figures that have one."""


def results_table(results: Sequence[Result], cutoffs: Sequence[int], caption: str) -> Table:
    """A line a result and a column a metric, once for each length of list; the best of each are bold.

    Behind a figure stands half the width of its interval; in a narrow terminal it stands below.
    """
    table = Table(caption=f"{caption}\n{HALF_WIDTH}", caption_justify="left", box=None)
    table.add_column("", overflow="fold")
    for name in COLUMNS:
        table.add_column(name, justify="right")
    for k in cutoffs:
        table.add_row(f"[bold]@{k}[/bold]")
        columns = [_cells(results, name, k) for name in COLUMNS]
        for result, cells in zip(results, zip(*columns, strict=True), strict=True):
            table.add_row(escape(result.name), *cells)
    return table


def _cells(results: Sequence[Result], name: str, k: int) -> list[str]:
    metric, decimals = f"{name}@{k}", DECIMALS.get(name, 4)
    texts = [f"{result.figures[metric]:.{decimals}f}" for result in results]
    best = None if name in NEITHER_IS_BETTER else max(texts)
    cells = [f"[bold]{text}[/bold]" if text == best else text for text in texts]
    found = [result.intervals.get(metric) for result in results]
    return [with_half_width(*pair, decimals) for pair in zip(cells, found, strict=True)]


def with_half_width(cell: str, interval: Interval | None, decimals: int = 4) -> str:
    """A figure with half the width of its interval behind it."""
    return cell if interval is None else f"{cell} [dim]±{interval.half_width:.{decimals}f}[/dim]"
