"""Parts an evaluation by who was asked and by what was to be found: pure functions of its ranks.

A group holds some of the relevant items. Its figures are means over the users who have any of these, each user asked
for these alone, so nothing is scored again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bascule_training.evaluation import intervals
from bascule_training.evaluation.cases import Cases
from bascule_training.evaluation.evaluated import Evaluation, values_by_case
from bascule_training.evaluation.intervals import Interval
from bascule_training.evaluation.metrics import UNKNOWN_ROW
from bascule_training.evaluation.results_table import HALF_WIDTH, with_half_width

TABLE_METRICS = ("ndcg@10", "recall@10", "hr@10")
"""The metrics that are shown of groups."""

Scalar = TypeVar("Scalar", bound=np.generic)

GROUP_COUNT = 4
"""Users and items fall into so many groups of about equal size."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the relevant items of cases."""

    name: str
    holds: NDArray[np.bool_]
    """bool [relevant items]."""


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """How well a model did in a group."""

    name: str
    relevant_count: int
    by_case: dict[str, NDArray[np.float64]]
    """float64 [cases with relevant items in the group], of each metric, named as in ``ndcg@10``."""
    weights: NDArray[np.float64]
    """float64 [cases], what each counts in the means."""

    @property
    def case_count(self) -> int:
        """The number of cases with relevant items in the group."""
        return len(self.weights)

    def means(self) -> dict[str, float]:
        """Over the cases."""
        return {name: float(np.average(values, weights=self.weights)) for name, values in self.by_case.items()}

    def intervals(self) -> dict[str, Interval]:
        """The 95 % interval of each mean."""
        return intervals.bootstrap(self.by_case, self.weights)


def figures(evaluation: Evaluation, groups: Sequence[Group]) -> list[GroupFigures]:
    """The figures of an evaluation in each of the groups, none of them empty, of its own cases."""
    return [
        GroupFigures(
            group.name,
            int(np.count_nonzero(group.holds)),
            *values_by_case(evaluation.ranks.only(group.holds), evaluation.cases.rules),
        )
        for group in groups
    ]


def by_knowledge(cases: Cases) -> list[Group]:
    """Parts cold from known: items that nobody had before, and users without a history or with a short one."""
    lengths = _per_item(cases, cases.histories.lengths)
    least = max(1, cases.rules.min_history)
    is_asked = lengths >= least
    is_cold, is_unknown = cases.is_cold(), cases.relevant.item_rows == UNKNOWN_ROW
    is_wanted = ~is_cold if cases.rules.cold_items == "apart" else np.ones_like(is_cold)
    return _filled(
        [
            Group("known items", is_asked & ~is_cold),
            Group("cold items of the catalogue", is_asked & is_cold & ~is_unknown),
            Group("items outside the catalogue", is_asked & is_unknown),
            Group("users without history", is_wanted & (lengths == 0)),
            Group(f"users with a history below {least}", is_wanted & (lengths > 0) & ~is_asked),
        ]
    )


def by_activity(cases: Cases, count: int = GROUP_COUNT) -> list[Group]:
    """Parts what counts by the length of the user's history, into groups of about as many users."""
    is_counted = cases.is_counted()
    lengths = cases.histories.lengths
    has_counted = np.logical_or.reduceat(is_counted, cases.relevant.offsets[:-1])
    return [
        Group(f"history of {span}", is_counted & _per_item(cases, is_in))
        for span, is_in in _parted(lengths, has_counted, count)
    ]


def by_popularity(cases: Cases, count: int = GROUP_COUNT) -> list[Group]:
    """Parts what counts by how many users had the item before, into groups of about as many relevant items.

    Items that nobody had are in none of them; they are parted off by ``by_knowledge``.
    """
    users = np.append(cases.item_users(), 0)[cases.relevant.item_rows]
    return [
        Group(f"items of {span} users", is_in)
        for span, is_in in _parted(users, cases.is_counted() & (users > 0), count)
    ]


def groups_table(groups: Sequence[GroupFigures]) -> Table:
    """How well one model did in each group, for people."""
    table = Table(caption=HALF_WIDTH, caption_justify="left", box=None)
    table.add_column("", overflow="fold")
    for name in ("users", "to find", *TABLE_METRICS):
        table.add_column(name, justify="right")
    for group in groups:
        means, found = group.means(), group.intervals()
        cells = [with_half_width(f"{means[metric]:.4f}", found[metric]) for metric in TABLE_METRICS]
        table.add_row(group.name, f"{group.case_count:,}", f"{group.relevant_count:,}", *cells)
    return table


def _parted(
    sizes: NDArray[np.int64], is_meant: NDArray[np.bool_], count: int
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Spans of sizes, as in ``5 to 8``, and bool [sizes], which fall into each; fewer where many are equal."""
    meant = np.sort(sizes[is_meant])
    if len(meant) == 0:
        return
    starts = np.unique(meant[np.arange(count) * len(meant) // count])
    for start, stop in zip(starts, [*starts[1:], meant[-1] + 1], strict=True):
        within = meant[(meant >= start) & (meant < stop)]
        low, high = int(within[0]), int(within[-1])
        yield f"{low:,}" if low == high else f"{low:,} to {high:,}", is_meant & (sizes >= start) & (sizes < stop)


def _per_item(cases: Cases, values: NDArray[Scalar]) -> NDArray[Scalar]:
    """[relevant items], the value of the case of each."""
    return np.repeat(values, cases.relevant.lengths)


def _filled(groups: Sequence[Group]) -> list[Group]:
    return [group for group in groups if group.holds.any()]
