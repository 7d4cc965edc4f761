"""Ranking metrics over a whole catalogue, as pure functions of ranks.

A case is one evaluated user, and its relevant items are those the user turned to later. An item's rank is the number
of items, itself included, that may be recommended and score at least as high: ties count against the model, so that
one which scores everything alike gains nothing by it.

Ranks come from the scores of all items, or from the best items in order, as a scorer returns them. Both give the same
metrics.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found, best
from bascule_training.data.histories import Histories

CUTOFFS = (10, 20, 100)
"""The lengths of list that are reported."""

OUTSIDE = int(np.iinfo(np.int64).max)
"""The rank of an item that is not recommended at all."""

UNKNOWN_ROW = -1
"""Stands for the row of a relevant item that the catalogue does not have. Its rank is ``OUTSIDE``."""

NO_ROW = -1
"""Fills the end of a list that has fewer items than it was asked for."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The ranks of the relevant items of many cases, one case behind the other.

    Attributes:
        values: int64 [relevant items], from 1, or ``OUTSIDE``.
        offsets: int64 [cases + 1], where each case begins; the last one is the number of relevant items.

    Raises:
        ValueError: a case has no relevant item, and so nothing to measure.
    """

    values: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        empty = np.flatnonzero(self.relevant_counts == 0)
        if len(empty):
            raise ValueError(f"case {empty[0]} has no relevant item; leave such cases out")

    def __len__(self) -> int:
        """The number of cases."""
        return len(self.offsets) - 1

    @property
    def relevant_counts(self) -> NDArray[np.int64]:
        """int64 [cases], the number of relevant items of each."""
        return np.diff(self.offsets)

    @classmethod
    def of(cls, cases: Sequence[NDArray[np.int64]]) -> "Ranks":
        """Lays cases, each int64 [relevant items], one behind the other."""
        offsets = np.cumsum([0, *map(len, cases)], dtype=np.int64)
        return cls(np.concatenate([np.empty(0, np.int64), *cases]), offsets)

    @classmethod
    def joined(cls, blocks: Sequence["Ranks"]) -> "Ranks":
        """Lays blocks of cases one behind the other."""
        return cls.of([case for block in blocks for case in np.split(block.values, block.offsets[1:-1])])

    def only(self, is_kept: NDArray[np.bool_]) -> "Ranks":
        """Those of some relevant items, bool [relevant items]; cases that have none of them are left out."""
        counts = np.add.reduceat(is_kept, self.offsets[:-1], dtype=np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int64)
        return Ranks(self.values[is_kept], offsets)

    def singly(self) -> "Ranks":
        """The same ranks, each relevant item a case of its own."""
        return Ranks(self.values, np.arange(len(self.values) + 1))


def without(scores: NDArray[np.float32], excluded: Histories) -> NDArray[np.float32]:
    """float32 [cases, items], a copy of the scores in which excluded items have -inf: they are never recommended."""
    remaining = scores.copy()
    remaining[np.repeat(np.arange(len(excluded)), excluded.lengths), excluded.item_rows] = -np.inf
    return remaining


def ranks_in_scores(scores: NDArray[np.float32], relevant: Histories) -> Ranks:
    """Ranks by the scores of all items.

    Args:
        scores: float32 [cases, items], higher is better; -inf for items that are not recommended.
        relevant: the rows of each case's relevant items.

    Raises:
        ValueError: a score is not a number. Every comparison with it is false, which would rank it first.
    """
    if np.isnan(scores).any():
        raise ValueError(f"{np.isnan(scores).sum():,} of {scores.size:,} scores are NaN; expected numbers or -inf")
    return Ranks.of([_ranks_in_scores(*case) for case in zip(scores, relevant, strict=True)])


def _ranks_in_scores(scores: NDArray[np.float32], relevant: NDArray[np.int32]) -> NDArray[np.int64]:
    own = np.where(relevant == UNKNOWN_ROW, -np.inf, scores[relevant])
    counts = np.count_nonzero(scores >= own[:, None], axis=1)
    return np.where(own > -np.inf, counts, OUTSIDE)


def ranks_in_lists(lists: Sequence[Found], relevant: Histories, depth: int) -> Ranks:
    """Ranks by the best items of each case. A rank below ``depth`` is exact; every other one is ``OUTSIDE``.

    Args:
        lists: the ``depth`` best items of each case, fewer where no more may be recommended.
        relevant: the rows of each case's relevant items.
        depth: one more than the largest cutoff. An item that ties with the end of a full list is outside, since
            any number of items behind the end may tie with it too.
    """
    return Ranks.of([_ranks_in_list(found, rows, depth) for found, rows in zip(lists, relevant, strict=True)])


def _ranks_in_list(found: Found, relevant: NDArray[np.int32], depth: int) -> NDArray[np.int64]:
    counts = np.searchsorted(-found.scores, -found.scores, side="right")
    ranks = np.where(counts < depth, counts, OUTSIDE)
    ranks_by_place = np.where(relevant[:, None] == found.rows, ranks, OUTSIDE)  # [relevant items, places]
    best_ranks: NDArray[np.int64] = ranks_by_place.min(axis=1, initial=OUTSIDE)
    return best_ranks


def best_of(scores: NDArray[np.float32], count: int) -> Found:
    """The ``count`` best items by their scores [items], at equal scores by row; none of those that have -inf."""
    # From the other end, numpy's partition takes twenty times as long where most scores are equal.
    lowest = -np.partition(-scores, count - 1)[count - 1] if count < len(scores) else -np.inf
    rows = np.flatnonzero(scores > lowest)
    if lowest > -np.inf:
        equal = np.flatnonzero(scores == lowest)[: count - len(rows)]
        rows = np.concatenate([rows, equal])
    return best(rows, scores[rows], count)


def recall(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """float64 [cases], the share of the relevant items that are among the first k."""
    return _sums(ranks, ranks.values <= k) / ranks.relevant_counts


def hit_rate(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """float64 [cases], 1 where any relevant item is among the first k, else 0."""
    return (_first(ranks) <= k).astype(np.float64)


def ndcg(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """float64 [cases], the normalised discounted cumulative gain of the first k, from 0 to 1.

    An item at rank r gains 1 / log2(r + 1) where it is relevant, and the sum is divided by that of a list that begins
    with the relevant items (Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002, with
    binary relevance).
    """
    gains = 1.0 / np.log2(np.arange(2, k + 2))
    ideal: NDArray[np.float64] = np.cumsum(gains)[np.minimum(ranks.relevant_counts, k) - 1]
    gained: NDArray[np.float64] = np.append(gains, 0.0)[np.minimum(ranks.values, k + 1) - 1]
    return _sums(ranks, gained) / ideal


def reciprocal_rank(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """float64 [cases], 1 / the rank of the first relevant item, or 0 where that is beyond k; its mean is the MRR."""
    first = _first(ranks)
    return np.where(first <= k, 1.0 / first, 0.0)


def average_precision(ranks: Ranks, k: int) -> NDArray[np.float64]:
    """float64 [cases], the average precision of the first k, from 0 to 1; its mean is the MAP.

    It is the precision down to each relevant item among the first k, summed and divided by the number of relevant
    items, so that those beyond k count as 0 (Buckley and Voorhees, Retrieval System Evaluation, in TREC: Experiment and
    Evaluation in Information Retrieval, 2005; ``map_cut`` of trec_eval).
    """
    cases = np.repeat(np.arange(len(ranks)), ranks.relevant_counts)
    ordered = ranks.values[np.lexsort((ranks.values, cases))]
    found = np.arange(1, len(ordered) + 1) - ranks.offsets[cases]  # relevant items down to each, itself included
    return _sums(ranks, np.where(ordered <= k, found / ordered, 0.0)) / ranks.relevant_counts


METRICS: Mapping[str, Callable[[Ranks, int], NDArray[np.float64]]] = {
    "ndcg": ndcg,
    "recall": recall,
    "hr": hit_rate,
    "mrr": reciprocal_rank,
    "map": average_precision,
}
"""The metrics of a case by their names."""


def metrics_by_case(ranks: Ranks, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, NDArray[np.float64]]:
    """float64 [cases] of every metric at every cutoff, named as in ``ndcg@10``."""
    return {f"{name}@{k}": metric(ranks, k) for k in cutoffs for name, metric in METRICS.items()}


def coverage(exposures: NDArray[np.int64]) -> float:
    """The share of the catalogue that is recommended to anyone, from [items], how many lists each item is in."""
    return float(np.mean(exposures > 0))


def gini(exposures: NDArray[np.int64]) -> float:
    """How unevenly recommendations fall on the catalogue: 0 where all items are in as many lists, 1 where only one is.

    The Gini index of the exposures [items]: sum of (2i - n - 1) x_i / ((n - 1) sum of x), with x ascending and i from 1
    (Shani and Gunawardana, Evaluating recommendation systems, 2011, on diversity of sales).
    """
    count, total = len(exposures), int(exposures.sum())
    if count < 2 or total == 0:
        return 0.0
    return float((2 * np.arange(1, count + 1) - count - 1) @ np.sort(exposures) / ((count - 1) * total))


def self_information(item_users: NDArray[np.int64], user_count: int) -> NDArray[np.float64]:
    """float64 [items], bits: how surprising it is that a user had the item, -log2 of the share of users who had it.

    An item that nobody had counts as one that a single user had, since it has no finite value.

    Args:
        item_users: [items], how many users had each item.
        user_count: of how many, from 1.
    """
    information: NDArray[np.float64] = -np.log2(np.maximum(item_users, 1) / user_count)
    return information


def novelty(lists: NDArray[np.int64], information: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """float64 [cases], bits: how little known the first k items are, the mean of their self-information.

    Zhou and others, Solving the apparent diversity-accuracy dilemma of recommender systems, 2010, as surprisal; Vargas
    and Castells, Rank and relevance in novelty and diversity metrics for recommender systems, 2011.

    Args:
        lists: [cases, items], rows of the catalogue, best first, ``NO_ROW`` after the end. An empty list has 0.
        information: [items], the self-information of each.
        k: the length of list that is looked at.
    """
    shown = lists[:, :k]
    is_item = shown != NO_ROW
    sums = np.where(is_item, information[shown], 0.0).sum(axis=1)
    means: NDArray[np.float64] = sums / np.maximum(is_item.sum(axis=1), 1)
    return means


def _sums(ranks: Ranks, values: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.add.reduceat(values, ranks.offsets[:-1], dtype=np.float64)


def _first(ranks: Ranks) -> NDArray[np.int64]:
    return np.minimum.reduceat(ranks.values, ranks.offsets[:-1])
