"""Towers that are linear in the history: what EASE, item-kNN, PureSVD and the spectral tower come to."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.encoder import HISTORY
from bascule_training.baselines.singular import strongest
from bascule_training.towers.two_towers import Tower


class LinearTowers:
    """The query's vector is a sum over the items of the history and the categories of the features; see ``TwoTowers``.

    An item counts as often as it is in the history: the history feature is to be declared distinct.
    """

    def __init__(
        self,
        left: NDArray[np.float32],
        right: NDArray[np.float32],
        features: Sequence[Feature] = (),
        categories: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """Takes the vectors.

        Args:
            left: float32 [items, dimension], what an item of the history adds.
            right: float32 [items, dimension], the vectors of the items to be scored.
            features: the query features.
            categories: by feature float32 [codes, dimension], what each code of its tensor adds; of features that are
                not here nothing is read.
        """
        self._left = left
        self._right = right
        self._features = [feature for feature in features if feature.name in (categories or {})]
        self._categories = categories or {}

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``."""
        return self._right

    def query_tower(self) -> Tower:
        """See ``TwoTowers``."""
        nothing = np.zeros_like(self._left[:1])
        table = tf.Variable(np.concatenate([nothing, self._left]), trainable=False)
        categories = {name: tf.Variable(rows, trainable=False) for name, rows in self._categories.items()}

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            total = tf.reduce_sum(tf.gather(table, inputs[HISTORY]), axis=1)
            for feature in self._features:
                read = tf.gather(categories[feature.name], inputs[feature.name])
                total += read if read.shape.rank == 2 else tf.reduce_sum(read, axis=1)
            return total

        return Tower(vectors, [table, *categories.values()])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``: nothing is known of items that nobody had."""
        return None


def factored(weights: NDArray[np.float32], dimension: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``left`` and ``right``, float32 [items, dimension], whose products are near to ``weights``.

    Args:
        weights: float32 [items, items], from an item of the history to the item scored.
        dimension: where it is not below the number of items, the products are the weights; else they are the nearest of
            that rank (Eckart and Young 1936).
    """
    item_count = len(weights)
    if dimension >= item_count:
        return weights, np.eye(item_count, dtype=np.float32)
    left, values, right = strongest(weights, dimension)
    root = np.sqrt(values)
    return (left * root).astype(np.float32), (right * root).astype(np.float32)
