"""Finds the items with the best scores for query vectors.

The score of a query and an item is the dot product of their vectors, and one function computes it, ``products``, for
rankings, for given items, and for the proof of an artifact. It works row by row, so that a score does not depend on
what else is computed beside it; a matrix product, whose rounding does, only chooses the items to score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

_UNDERFLOW = 4.0 * float(np.finfo(np.float32).smallest_subnormal)
"""More than two products of float32 can differ by where both vanish into subnormal numbers, twice."""


class Found(NamedTuple):
    """Items, best first; at equal scores by row."""

    rows: NDArray[np.int64]
    """int64 [items]."""
    scores: NDArray[np.float32]
    """float32 [items], higher is better."""


@dataclass(frozen=True, slots=True)
class Restriction:
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


def products(query: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [rows], the score of each of the vectors [rows, dimension] for one query [dimension]."""
    scores: NDArray[np.float32] = np.vecdot(vectors, query)
    return scores


def best(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> Found:
    """The ``count`` best of the rows [n] by their scores [n]: higher first, at equal scores the lower row."""
    order = np.lexsort((rows, -scores))[:count]
    return Found(rows[order], scores[order])


class ExactRetriever:
    """Scores every item: one matrix product for a batch, then the best of each row.

    Attributes:
        vectors: float32 [items, dimension], mapped or in memory.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self._transposed = vectors.T
        self._longest = max(float(_lengths(block).max()) for block in _blocks(vectors))

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        rough = queries @ self._transposed
        # Twice the bound on the difference of two float32 dot products of length d, 2 d u |q| |v| with u = 2^-24
        # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1): an item whose rough score lies further
        # below the last that is wanted cannot be better than it. The summand bounds what underflow takes away.
        slack = queries.shape[1] * (2.0**-22 * _lengths(queries) * self._longest + _UNDERFLOW)
        return [
            self._refine(queries[i], rough[i], counts[i], restrictions[i], float(slack[i])) for i in range(len(queries))
        ]

    def _refine(
        self, query: NDArray[np.float32], rough: NDArray[np.float32], count: int, restriction: Restriction, slack: float
    ) -> Found:
        if restriction.allowed is not None:
            rough[~restriction.allowed] = -np.inf
        rough[restriction.excluded] = -np.inf
        lowest = np.partition(rough, len(rough) - count)[len(rough) - count] if count < len(rough) else -np.inf
        rows = np.flatnonzero((rough >= lowest - slack) & (rough > -np.inf))
        return best(rows, products(query, self.vectors[rows]), count)


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [rows], in which the square of a float32 neither overflows nor vanishes."""
    lengths: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return lengths


def _blocks(vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return np.array_split(vectors, max(1, len(vectors) // 100_000))
