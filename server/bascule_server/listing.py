"""Shapes a list of found items: how many may share an attribute's value, and how good each must be."""

from collections import Counter
from collections.abc import Callable

import numpy as np

from bascule_server.catalogue import Column
from bascule_server.query import Rank
from bascule_server.retrieval import Found

_GROWTH = 4
"""By how much more items are fetched where too many of those fetched exceeded the cap."""


def capped(found: Found, column: Column, rank: Rank, fetch: Callable[[int], Found]) -> Found:
    """The best ``rank.item_count`` items within ``rank.cap``, taken from the best downwards.

    Args:
        found: the best ``rank.item_count`` items without the cap, fewer only if no more exist.
        column: the values of the cap's attribute.
        rank: with a cap.
        fetch: finds the best items, as many as it is told or as there are.
    """
    fetched = rank.item_count
    while True:
        kept = _within_cap(found, column, rank)
        if len(kept.rows) == rank.item_count or len(found.rows) < fetched:
            return kept
        fetched *= _GROWTH
        found = fetch(fetched)


def _within_cap(found: Found, column: Column, rank: Rank) -> Found:
    if rank.cap is None:
        raise ValueError("there is no cap to keep within")
    taken: Counter[object] = Counter()
    kept: list[int] = []
    for place, row in enumerate(found.rows.tolist()):
        value = column.value(row)
        values = value if isinstance(value, tuple) else () if value is None else (value,)
        if len(kept) < rank.item_count and all(taken[each] < rank.cap.max_count for each in values):
            taken.update(set(values))
            kept.append(place)
    return Found(found.rows[kept], found.scores[kept])


def scoring_at_least(min_score: float, found: Found) -> Found:
    """Those of the items, best first, whose score is at least so high."""
    count = int(np.count_nonzero(found.scores >= np.float32(min_score)))
    return Found(found.rows[:count], found.scores[:count])
