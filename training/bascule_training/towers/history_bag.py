"""The query tower that reads a history without its order: the sum of its items' vectors.

The objective is that of a denoising autoencoder (Liang and others, Variational autoencoders for collaborative
filtering, 2018): some items of a history are hidden, and predicted from the others.
"""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.config import HistoryBag
from bascule_training.towers.item_tower import EMBEDDING_DEVIATION, unit
from bascule_training.towers.user_block import UserBlock


class HistoryBagTower(keras.Model):  # type: ignore[misc]
    """See ``bascule_training.towers.query_tower.QueryTower``. Of a batch every row is a query."""

    def __init__(self, features: Sequence[Feature], tower: HistoryBag) -> None:
        super().__init__()
        normal = keras.initializers.RandomNormal(stddev=EMBEDDING_DEVIATION)
        # What stands for an empty history.
        self._start = self.add_weight(shape=(tower.dimension,), initializer=normal, name="start")
        self._user = UserBlock(features, tower.dimension)
        self._dropout = keras.layers.Dropout(tower.dropout)

    def call(
        self,
        items: tf.Tensor,
        codes: tf.Tensor,
        users: tf.Tensor,
        tensors: Mapping[str, tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        """float32 [rows, dimension]; ``users`` is int32 [rows]."""
        vectors = unit(self._user.add_gathered(self._sum(items, codes), tensors, users))
        return self._dropout(vectors, training=training)

    def serve(self, items: tf.Tensor, codes: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [rows, dimension]."""
        return unit(self._user.add(self._sum(items, codes), tensors))

    def _sum(self, items: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        is_item = tf.cast(codes != 0, tf.float32)[..., None]
        count = tf.reduce_sum(is_item, axis=1)
        # By the square root: a longer history says more beside the features, but not in proportion.
        total = tf.reduce_sum(items * is_item, axis=1) * tf.math.rsqrt(tf.maximum(count, 1.0))
        return tf.where(count > 0, total, self._start)
