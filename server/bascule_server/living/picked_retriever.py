"""Finds some items of a whole, of which the others are gone."""

from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.retriever import Found, Restriction, Retriever
from bascule_server.scoring.item_ids import UNKNOWN


class PickedRetriever:
    """Finds some items of a whole by their rows in it; see ``Retriever``."""

    def __init__(self, picked: Retriever, rows: NDArray[np.int64], whole: Retriever, item_count: int) -> None:
        """Takes what finds them by their places among each other.

        Args:
            picked: of these alone.
            rows: int64 [picked], ascending, in the whole.
            whole: has the vectors of all.
            item_count: of the whole.
        """
        self._picked = picked
        self._rows = rows
        self._whole = whole
        self._places = np.full(item_count, UNKNOWN, np.int64)
        self._places[rows] = np.arange(len(rows))
        self._allowed: WeakKeyDictionary[Allowed, Allowed] = WeakKeyDictionary()
        """What is allowed of the whole, and of these."""

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``; also of items that are not found."""
        return self._whole.vectors_of(rows)

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        found = self._picked.search(queries, counts, [self._within(each) for each in restrictions])
        return [Found(self._rows.take(each.rows), each.scores) for each in found]

    def _within(self, restriction: Restriction) -> Restriction:
        excluded, allowed = restriction
        if len(excluded):
            excluded = self._places.take(excluded)
            if excluded.min() == UNKNOWN:
                excluded = excluded[excluded != UNKNOWN]
        if allowed is None:
            return Restriction(excluded)
        if allowed not in self._allowed:
            self._allowed[allowed] = Allowed(allowed.mask[self._rows])
        return Restriction(excluded, self._allowed[allowed])
