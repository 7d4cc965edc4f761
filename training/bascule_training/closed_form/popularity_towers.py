"""Popularity as two towers: the same score for everybody, to be served by itself or to stand beside other towers."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule_training.towers.two_towers import Tower

POWER = 0.5
"""Scores are the counts to this power, which keeps their order. Beside other scores the counts themselves would leave
only the few most popular items a chance, and their logarithms would mostly tell unpopular items from each other."""

_LENGTH = 1e-3
"""Of the longest item vector. So short, it makes no item similar to another where it stands beside other components."""

_LEAST_SHARE = 1e-6
"""What an item that nobody had counts beside the most popular one, so that its vector has a direction."""


class PopularityTowers:
    """See ``TwoTowers``. An item's vector is its popularity, and every query's is the same number."""

    def __init__(self, counts: NDArray[np.float32]) -> None:
        """Takes float32 [items], how often each item was had, perhaps by weight; at least one above 0."""
        shares = np.maximum(counts / counts.max(), _LEAST_SHARE)
        self._items: NDArray[np.float32] = (_LENGTH * shares[:, None] ** POWER).astype(np.float32)

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``: float32 [items, 1]."""
        return self._items

    def query_tower(self) -> Tower:
        """See ``TwoTowers``: float32 [rows, 1]."""

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            row_count = tf.shape(next(iter(inputs.values())))[0]
            return tf.fill((row_count, 1), 1.0 / _LENGTH)

        return Tower(vectors, [])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``: nothing is known of items that nobody had."""
        return None
