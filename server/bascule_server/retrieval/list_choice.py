"""Chooses the lists of an inverted file that are worth looking through for what a filter allows.

Without a filter the best items of any query lie in about as many lists, those of the best centroids, and training
counted how many it takes. A filter changes that: few lists may have any item that it allows, and from all of these a
query may lie far away, so that its best items are spread over many. Lists are therefore chosen by how many of the
wanted items each one is expected to have.

The scores of a list's items for a query q are taken to be normal, with the mean q c, where c is the list's centroid,
and the deviation |q| s, where s is that of a component of the items about their centroids. So of m allowed items,
m P(t) score above t, and t is such that of all lists together as many items do as are wanted. On clustered vectors,
with filters that keep 3 to 90 % of the items, near to the query or far from it, .987 to .999 of the wanted were in the
lists that were expected to have all but .005 of them.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MISSED = 0.005
"""The share of the wanted items that lists which are left out may be expected to have."""

_PLACES_IN_DEVIATION = 8
"""How finely scores are told apart."""
_MOST_PLACES = 2_048
_REACH = 4.0
"""Deviations from the mean beyond which nothing is expected."""


class ListChooser:
    """Chooses lists for one query at a time, so that it gets the same ones in whatever company."""

    def __init__(self, centroids: NDArray[np.float32], deviation: float) -> None:
        """Takes what is known of the lists.

        Args:
            centroids: float32 [lists, dimension].
            deviation: of a component of an item from that of its list's centroid.
        """
        self._centroids = centroids
        self._deviation = max(deviation, float(np.finfo(np.float32).tiny))

    def choose(self, query: NDArray[np.float32], members: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
        """int64 [chosen], lists, that which is expected to have most of the wanted items first.

        Args:
            query: float32 [dimension].
            members: int64 [lists], how many allowed items each list has.
            wanted: how many of the best of them are looked for, from 1.
        """
        having = np.flatnonzero(members)
        scores = (self._centroids @ query)[having]
        expected = expected_hits(scores, members[having], wanted, self._deviation * float(np.linalg.norm(query)))
        ordered = np.argsort(-expected.counts, kind="stable")
        reached = np.cumsum(expected.counts[ordered])
        enough = int(np.searchsorted(reached, (1 - MISSED) * reached[-1])) + 1
        return having[expected.places[ordered[:enough]]]


class Hits(NamedTuple):
    """Lists that may have a hit."""

    places: NDArray[np.int64]
    """int64 [hopeful], of the list among those asked about."""
    counts: NDArray[np.float64]
    """float64 [hopeful], of the wanted items that it is expected to have, above 0."""


def expected_hits(means: NDArray[np.float32], members: NDArray[np.int64], wanted: int, deviation: float) -> Hits:
    """Where the ``wanted`` best items are to be expected.

    Args:
        means: float32 [lists], of the scores of each list's items.
        members: int64 [lists], how many items they are, from 1.
        wanted: from 1; where there are no more items, all of them are.
        deviation: of the scores in every list.
    """
    low, high = float(means.min()), float(means.max())
    width = max(deviation / _PLACES_IN_DEVIATION, (high - low) / _MOST_PLACES)
    if not width > 0 or members.sum() <= wanted:
        return Hits(np.arange(len(members)), members.astype(np.float64))
    normal = _normal(deviation / width)
    reach = len(normal.shares) // 2
    places = ((means - low) / width).astype(np.int64)
    # How many items have a mean of at least that place, and by it how many are expected to score as much.
    at_least = np.bincount(places, weights=members)[::-1].cumsum()[::-1]
    around = np.concatenate([np.full(2 * reach, at_least[0]), at_least, np.zeros(2 * reach)])
    above = np.convolve(around, normal.shares, "valid")
    threshold = int(np.flatnonzero(above >= wanted)[-1]) - reach
    hopeful = np.flatnonzero(places >= threshold - reach)
    short = np.maximum(threshold - places[hopeful], -reach)
    return Hits(hopeful, members[hopeful] * normal.at_least[short + reach])


class _Normal(NamedTuple):
    """A normal distribution in places, cut off."""

    shares: NDArray[np.float64]
    """float64 [2 reach + 1], of what lies from -reach to reach places from the mean."""
    at_least: NDArray[np.float64]
    """float64 [2 reach + 1], of what lies there or above."""


@lru_cache(1)
def _normal(deviation: float) -> _Normal:
    """By the deviation in places, which is mostly the same."""
    reach = max(1, int(_REACH * deviation))
    densities = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-9)) ** 2)
    shares = densities / densities.sum()
    return _Normal(shares, shares[::-1].cumsum()[::-1])
