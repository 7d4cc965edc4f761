"""The query tower that reads no history: the user's features alone."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.config import UserFeatures
from bascule_training.towers.item_tower import EMBEDDING_DEVIATION, unit
from bascule_training.towers.user_block import UserBlock


class FeaturesTower(keras.Model):  # type: ignore[misc]
    """See ``bascule_training.towers.query_tower.QueryTower``. Of a batch every row is a query."""

    def __init__(self, features: Sequence[Feature], tower: UserFeatures) -> None:
        super().__init__()
        normal = keras.initializers.RandomNormal(stddev=EMBEDDING_DEVIATION)
        # What a user without any feature gets.
        self._start = self.add_weight(shape=(tower.dimension,), initializer=normal, name="start")
        self._user = UserBlock(features, tower.dimension)
        self._dropout = keras.layers.Dropout(tower.dropout)

    def call(
        self,
        items: tf.Tensor,  # noqa: ARG002 - no history is read
        codes: tf.Tensor,  # noqa: ARG002
        users: tf.Tensor,
        tensors: Mapping[str, tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        """float32 [rows, dimension]; ``users`` is int32 [rows]."""
        vectors = unit(self._user.add_gathered(self._starts(users), tensors, users))
        return self._dropout(vectors, training=training)

    def serve(
        self,
        items: tf.Tensor,  # noqa: ARG002 - no history is read
        codes: tf.Tensor,
        tensors: Mapping[str, tf.Tensor],
    ) -> tf.Tensor:
        """float32 [rows, dimension]."""
        return unit(self._user.add(self._starts(codes), tensors))

    def _starts(self, rows: tf.Tensor) -> tf.Tensor:
        return tf.tile(self._start[None], (tf.shape(rows)[0], 1))
