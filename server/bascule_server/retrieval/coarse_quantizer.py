"""Finds the lists of an inverted file that a query is looked up in: those whose centroids score best."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import lengths_of, products, rounding_slack
from bascule_server.retrieval.scored_pairs import Pairs, in_order

GROUP = 8
"""Lists of which the best alone is compared first: to order all of them took four times as long."""


class Lists(NamedTuple):
    """Lists to look through, the best first."""

    rows: NDArray[np.int64]
    """int64 [queries, probes]; -1 where a query has fewer."""
    scores: NDArray[np.float32]
    """float32 [queries, probes], of their centroids."""

    @classmethod
    def none(cls, queries: int, probes: int) -> "Lists":
        """Places for so many lists of each query, and none in them."""
        return cls(np.full((queries, probes), -1, np.int64), np.zeros((queries, probes), np.float32))


class CoarseQuantizer:
    """Scores every centroid. A query gets the same lists in whatever company, which FAISS, that rounds, does not do."""

    def __init__(self, centroids: NDArray[np.float32]) -> None:
        """``centroids`` is float32 [lists, dimension]."""
        self._centroids = centroids
        self._longest = float(lengths_of(centroids).max())

    def search(self, queries: NDArray[np.float32], probes: int) -> Lists:
        """The best lists for queries [queries, dimension], at equal scores the lower row; ``probes`` from 1 to all."""
        rough = queries @ self._centroids.T
        compared = rough
        if probes * GROUP <= rough.shape[1] and rough.shape[1] % GROUP == 0:
            # If so many groups have a list that scores at least that, then so many lists do.
            compared = rough.reshape(len(rough), GROUP, -1).max(axis=1)
        place = compared.shape[1] - probes
        last = np.partition(compared, place, axis=1)[:, place]
        lowest = last - rounding_slack(lengths_of(queries), self._longest, queries.shape[1])
        query, row = np.divmod(np.flatnonzero(rough >= lowest[:, None]), rough.shape[1])
        scores = products(queries[query], self._centroids[row])
        ordered = in_order(Pairs(query, row), scores, len(queries), rough.shape[1].bit_length())
        best = ordered.starts[:-1, None] + np.arange(probes)
        return Lists(ordered.rows[best], ordered.scores[best])
