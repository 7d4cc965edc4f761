"""Finds the items with the best scores for query vectors.

The score of a query and an item is the dot product of their vectors, and one function computes it, ``products``, for
rankings, for given items, and for the proof of an artifact. It works row by row, so that a score does not depend on
what else is computed beside it; a matrix product, whose rounding does, only chooses the items to score.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Found(NamedTuple):
    """Items, best first; at equal scores by row."""

    rows: NDArray[np.int64]
    """int64 [items]."""
    scores: NDArray[np.float32]
    """float32 [items], higher is better."""


class Restriction(NamedTuple):
    """Which items may be found for one query."""

    excluded: NDArray[np.int64]
    """int64 [rows], never found."""
    allowed: NDArray[np.bool_] | None = None
    """bool [items], no other is found. None: all are."""

    def remaining(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [remaining], those of the rows that may be found, in their order."""
        if self.allowed is not None:
            rows = rows[self.allowed[rows]]
        return rows[np.isin(rows, self.excluded, invert=True)] if len(self.excluded) else rows


class Retriever(Protocol):
    """Finds the best items for each query."""

    @property
    def vectors(self) -> NDArray[np.float32]:
        """float32 [items, dimension], of the items that are searched."""

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """The best ``counts[i]`` items for query i among those that ``restrictions[i]`` leaves, fewer if fewer remain.

        Args:
            queries: float32 [queries, dimension].
            counts: from 1.
            restrictions: one for each query.
        """


def products(queries: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [rows], the score of each of the vectors [rows, dimension] for its query.

    Args:
        queries: float32 [rows, dimension], or [dimension] where all vectors have the same.
        vectors: float32 [rows, dimension].
    """
    # The summand makes 0 of -0, which would be equal to it but of other bits.
    scores: NDArray[np.float32] = np.vecdot(vectors, queries) + np.float32(0.0)
    return scores


def best(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> Found:
    """The ``count`` best of the rows [n] by their scores [n]: higher first, at equal scores the lower row."""
    order = np.lexsort((rows, -scores))[:count]
    return Found(rows[order], scores[order])
