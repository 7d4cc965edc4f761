"""Figures and their intervals in a table, for people at a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from bascule_training.evaluation.intervals import Interval
from bascule_training.evaluation.metrics import METRICS

DECIMALS: Mapping[str, int] = {"novelty": 2}
"""How many a figure has that does not have 4."""

NEITHER_IS_BETTER = ("coverage", "gini", "novelty")
"""Of these neither end is the better one by itself."""

COLUMNS = (*METRICS, *NEITHER_IS_BETTER)
"""The metrics in their order."""

HALF_WIDTH = "± half the width of the 95 % interval"

_BY_IMPORTANCE = sorted(COLUMNS, key=("ndcg", "recall", "coverage", "hr", *COLUMNS).index)
"""A narrow terminal has the first of these: how good, how much is found, and how much of the catalogue is used."""

_GAP = 2
"""Blanks between columns."""

_NAMES_SHARE = 0.3
"""Of the width, for names at most; what is longer goes on in the next line."""


class Result(NamedTuple):
    """A line of a table."""

    name: str
    figures: Mapping[str, float]
    """Named as in ``ndcg@10``."""
    intervals: Mapping[str, Interval]
    """Of those figures that have one."""


@dataclass(frozen=True, slots=True)
class ResultsTable:
    """A line a result and a column a metric, once for each length of list; the best of each are bold.

    Behind a figure stands half the width of its interval. A terminal that is too narrow for all metrics has the most
    important ones, and the others are named below the table.
    """

    results: Sequence[Result]
    cutoffs: Sequence[int]
    caption: str
    """What was asked."""
    elsewhere: str
    """What has the figures that are left out: ``metrics.json``."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """As Rich asks of whatever it prints."""
        table = self.table(options.max_width)
        yield table
        # Not the table's own caption, which breaks its lines where the table ends.
        yield Text("\n".join(self._below(table, options.max_width)), "table.caption")

    def table(self, width: int) -> Table:
        """The table for a terminal of so many letters."""
        names = min(max(Text(result.name).cell_len for result in self.results), int(_NAMES_SHARE * width))
        columns = self._fitting(width - names)
        table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False)
        table.add_column("", overflow="fold", width=names)
        for name in columns:
            table.add_column(name, justify="right", no_wrap=True)
        rows = list(zip(*columns.values(), strict=True))
        for place, k in enumerate(self.cutoffs):
            table.add_row(f"[bold]@{k}[/bold]")
            for number, result in enumerate(self.results, place * len(self.results)):
                table.add_row(escape(result.name), *rows[number])
        return table

    def _fitting(self, width: int) -> dict[str, list[str]]:
        """The cells of the most important metrics that fit beside each other, at least one, in their order."""
        fitting: dict[str, list[str]] = {}
        for name in _BY_IMPORTANCE:
            cells = [cell for k in self.cutoffs for cell in _cells(self.results, name, k)]
            width -= _GAP + max(len(name), *(Text.from_markup(cell).cell_len for cell in cells))
            if fitting and width < 0:
                break
            fitting[name] = cells
        return {name: fitting[name] for name in COLUMNS if name in fitting}

    def _below(self, table: Table, width: int) -> Iterator[str]:
        yield from (self.caption, HALF_WIDTH)
        shown = {str(column.header) for column in table.columns}
        if left_out := [name for name in COLUMNS if name not in shown]:
            yield f"too wide for {width} columns: {', '.join(left_out)}; see {self.elsewhere}"


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
