"""Finds the items with the best scores for query vectors.

The score of a query and an item is the dot product of their vectors, and one function computes it, ``products``, for
rankings, for given items, and for the proof of an artifact. It works row by row, so that a score does not depend on
what else is computed beside it; a matrix product, whose rounding does, only chooses the items to score.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.allowed import Allowed

_FEW = 4
"""Up to so many times what is wanted is sorted as a whole."""
_ROWS_AT_ONCE = 100_000
_SMALL_SQUARE = np.float32(1e-24)
"""Above it what vanished of a sum of squares in float32, less than 10^-38 a component, does not count."""

_UNDERFLOW = 4.0 * float(np.finfo(np.float32).smallest_subnormal)
"""More than two products of float32 can differ by where both vanish into subnormal numbers, twice."""


Numbers = TypeVar("Numbers", float, NDArray[np.float64])


class Vectors(Protocol):
    """Vectors of items, float32 [items, dimension]: an array, or what stands in several."""

    @property
    def shape(self) -> tuple[Any, ...]:
        """The numbers of items and of components."""

    def __len__(self) -> int:
        """The number of items."""

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]:
        """float32 [rows, dimension], those of successive items."""

    def take(
        self, rows: NDArray[np.int64], /, axis: int | None = None, *, mode: Literal["raise", "wrap", "clip"] = "raise"
    ) -> NDArray[np.float32]:
        """float32 [..., dimension], those of the items in these rows, of any shape, along axis 0."""

    def dot(self, query: NDArray[np.float32], /, out: NDArray[np.float32]) -> object:
        """Writes the product of each with one query [dimension] to ``out`` [items]."""


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
    allowed: Allowed | None = None
    """No other is found. None: all may be."""

    def remaining(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [remaining], those of the rows that may be found, in their order."""
        if self.allowed is not None:
            rows = rows[self.allowed.has(rows)]
        return self._but_excluded(rows)

    def few(self) -> NDArray[np.int64] | None:
        """int64 [rows], all that may be found, ascending, where a filter allows few items; else None."""
        if self.allowed is None or not self.allowed.is_few:
            return None
        return self._but_excluded(self.allowed.rows)

    def _but_excluded(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return rows[np.isin(rows, self.excluded, invert=True)] if len(self.excluded) else rows


UNRESTRICTED = Restriction(np.empty(0, np.int64))


class Retriever(Protocol):
    """Finds the best items for each query."""

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [rows, dimension], the vectors of the items in these rows."""

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
    """float32 [..., rows], the score of each of the vectors for its query.

    Args:
        queries: float32 [..., rows, dimension], or with 1 or no rows where all vectors have the same query.
        vectors: float32 [..., rows, dimension].
    """
    # The summand makes 0 of -0, which would be equal to it but of other bits.
    scores: NDArray[np.float32] = np.vecdot(vectors, queries) + np.float32(0.0)
    return scores


def best(rows: NDArray[np.int64], scores: NDArray[np.float32], count: int) -> Found:
    """The ``count`` best of the rows [n] by their scores [n]: higher first, at equal scores the lower row."""
    if len(rows) > _FEW * count:
        lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
        is_kept = scores >= lowest
        rows, scores = rows[is_kept], scores[is_kept]
    order = np.lexsort((rows, -scores))[:count]
    return Found(rows[order], scores[order])


def lengths_of(vectors: Vectors) -> NDArray[np.float64]:
    """float64 [rows], the Euclidean lengths of vectors [rows, dimension].

    Right to six digits whatever the components: their squares may overflow in float32, or vanish.
    """
    lengths = np.empty(len(vectors), np.float64)
    with np.errstate(over="ignore"):
        for start in range(0, len(vectors), _ROWS_AT_ONCE):
            part = vectors[start : start + _ROWS_AT_ONCE]
            squares = np.vecdot(part, part)
            lengths[start : start + _ROWS_AT_ONCE] = np.sqrt(squares)
            inexact = np.flatnonzero((squares < _SMALL_SQUARE) | np.isinf(squares))
            lengths[start + inexact] = np.linalg.norm(part[inexact].astype(np.float64), axis=1)
    return lengths


def rounding_slack(lengths: Numbers, longest: float, dimension: int) -> Numbers:
    """How much two scores of float32 can differ by rounding alone, and twice that; of one query or each of several.

    Args:
        lengths: of the queries.
        longest: the length of the longest vector that they are multiplied with.
        dimension: of all of these.
    """
    # Twice the bound on the difference of two float32 dot products of length d, 2 d u |q| |v| with u = 2^-24
    # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), and the same for two roundings more, of
    # a division. The summand bounds what underflow takes away.
    return (dimension + 2) * (2.0**-22 * longest * lengths + _UNDERFLOW)
