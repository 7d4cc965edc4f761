"""The map of the items: their vectors in two dimensions, and what the page needs to draw them."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_training.report.contents import Items

MAX_ITEMS = 2_000
"""Only the most popular are drawn: more would neither be told apart nor be quick to lay out."""

GROUP_COLOURS = 7
"""So many groups have a colour of their own; the rest share one."""

NEIGHBOURS = 6
"""How many nearest items each item names."""

MIN_ITEMS = 8
"""Fewer have no neighbourhoods to show."""

_PERPLEXITY = 30.0
_ITERATIONS = 500


class ItemMap(NamedTuple):
    """What is drawn, the most popular item first; plain lists, as JSON holds them."""

    names: list[str]
    x: list[int]
    """From 0 to 1000."""
    y: list[int]
    group: list[int]
    """The place among ``groups``; ``len(groups)`` for the rest."""
    popularity: list[int]
    near: list[list[int]]
    """The items whose vectors have the largest cosine with the item's, nearest first."""
    groups: list[str]


def item_map(items: Items) -> ItemMap | None:
    """Lays out the most popular items; None where there are too few."""
    if len(items.names) < MIN_ITEMS:
        return None
    rows = np.argsort(-items.popularity, kind="stable")[:MAX_ITEMS]
    vectors = _unit(items.vectors[rows])
    places = layout(vectors)
    groups = common_groups(items.groups)
    numbers = {group: number for number, group in enumerate(groups)}
    return ItemMap(
        names=[items.names[row] for row in rows],
        x=places[:, 0].tolist(),
        y=places[:, 1].tolist(),
        group=[
            max((numbers[each] for each in _of(items, row) if each in numbers), default=len(groups)) for row in rows
        ],
        popularity=items.popularity[rows].tolist(),
        near=nearest(vectors).tolist(),
        groups=groups,
    )


def layout(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """int64 [items, 2], from 0 to 1000: items near each other in the space are near on the map.

    t-SNE (van der Maaten and Hinton, Visualizing data using t-SNE, 2008) of unit vectors [items, at least 2], from the
    two principal components; equal vectors give an equal map. Where all items are one point there is only one place.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    perplexity = min(_PERPLEXITY, (len(vectors) - 1) / 3)
    if np.ptp(vectors, axis=0).max() == 0:
        return np.full((len(vectors), 2), 500)
    tsne = TSNE(perplexity=perplexity, init="pca", max_iter=_ITERATIONS, random_state=0, n_jobs=1)
    # Its threads wait for each other thousands of times, which takes minutes where a processor is busy with others.
    with threadpool_limits(1):
        places: NDArray[np.float32] = tsne.fit_transform(vectors)
    low, extent = places.min(axis=0), np.ptp(places, axis=0)
    shares: NDArray[np.float64] = (places - low) / np.where(extent > 0, extent, 1)
    return np.rint(1000 * shares).astype(np.int64)


def common_groups(groups: Sequence[tuple[str, ...]]) -> list[str]:
    """The groups that have a colour, the largest first; of equal ones the first in the alphabet."""
    counts = Counter(group for each in groups for group in set(each))
    return sorted(counts, key=lambda group: (-counts[group], group))[:GROUP_COLOURS]


def nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    """int64 [items, up to NEIGHBOURS], for each of the unit vectors the others with the largest dot product."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(vectors) - 1)]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _of(items: Items, row: int) -> tuple[str, ...]:
    return items.groups[row] if items.groups else ()
