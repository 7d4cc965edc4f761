"""Shapes a list of found items: how many may share an attribute's value, how good each must be, how unlike they are."""

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import (
    SHORTFALL_CAP,
    SHORTFALL_MIN_SCORE,
    SHORTFALL_RESTRICTED,
    SHORTFALL_UNSPECIFIED,
    Shortfall,
)
from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.columns import Column
from bascule_server.scoring.diversity import diversified, pool_size
from bascule_server.scoring.query import Cap, Rank

VectorsOf: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.float32]]
Fetch: TypeAlias = Callable[[int], Found]

_GROWTH = 4
"""By how much more items are fetched where too many of those fetched exceed the cap."""


class Room:
    """How many more items a cap leaves room for, by the values of its attribute."""

    def __init__(self, cap: Cap, column: Column) -> None:
        self._cap = cap
        self._column = column
        self._taken: Counter[object] = Counter()

    def take(self, row: int) -> bool:
        """Whether there is room for the item of this row, which has it then."""
        value = self._column.value(row)
        values = set(value if isinstance(value, tuple) else () if value is None else (value,))
        if any(self._taken[each] >= self._cap.max_count for each in values):
            return False
        self._taken.update(values)
        return True


class Shaped(NamedTuple):
    """The items of a ranking."""

    found: Found
    shortfall: Shortfall.ValueType
    """Why there are fewer than were asked for."""


def shaped(found: Found, rank: Rank, column: Column | None, vectors_of: VectorsOf, fetch: Fetch) -> Shaped:
    """The best items that the options of a ranking allow.

    Args:
        found: the best items within the query's restrictions, ``pool_size(rank)`` of them, fewer only if no more exist.
        rank: the options.
        column: the values of the cap's attribute, where there is a cap.
        vectors_of: the vectors [rows, dimension] of the items in some rows.
        fetch: finds the best items, as many as it is told or as there are.
    """
    fetched = pool_size(rank)
    while True:
        pool = found if rank.min_score is None else scoring_at_least(rank.min_score, found)
        room = None if rank.cap is None or column is None else Room(rank.cap, column)
        if rank.diversity:
            kept = diversified(pool, vectors_of(pool.rows), rank, room.take if room else _always)
        elif room:
            kept = _within(room, pool, rank.item_count)
        else:
            kept = pool
        # Below the least score there is nothing to find, however many are fetched.
        if len(kept.rows) == rank.item_count or len(found.rows) < fetched or len(pool.rows) < len(found.rows):
            return Shaped(kept, _shortfall(rank, found, pool, kept))
        fetched *= _GROWTH
        found = fetch(fetched)


def _shortfall(rank: Rank, found: Found, pool: Found, kept: Found) -> Shortfall.ValueType:
    if len(kept.rows) == rank.item_count:
        return SHORTFALL_UNSPECIFIED
    if len(pool.rows) < len(found.rows):
        return SHORTFALL_MIN_SCORE
    return SHORTFALL_CAP if len(kept.rows) < len(pool.rows) else SHORTFALL_RESTRICTED


def _always(_: int) -> bool:
    return True


def _within(room: Room, found: Found, count: int) -> Found:
    """The best items, taken from the best downwards."""
    kept: list[int] = []
    for place, row in enumerate(found.rows.tolist()):
        if len(kept) < count and room.take(row):
            kept.append(place)
    return Found(found.rows[kept], found.scores[kept])


def scoring_at_least(min_score: float, found: Found) -> Found:
    """Those of the items, best first, whose score is at least so high."""
    count = int(np.count_nonzero(found.scores >= np.float32(min_score)))
    return Found(found.rows[:count], found.scores[:count])
