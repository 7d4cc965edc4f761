"""The item tower: what reads an item's id and features into a vector and a bias."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.config import ItemConfig
from bascule_training.towers.feature_block import FeatureBlock

EMBEDDING_DEVIATION = 0.02


class ItemTower(keras.Model):  # type: ignore[misc]
    """Items -> float32 [rows, dimension], not yet of length 1: ``unit`` makes them so.

    An item's vector is that of its id and what its features add to it. The query tower reads the same vectors, so that
    what is learned of an item is learned once.
    """

    def __init__(self, item_count: int, features: Sequence[Feature], dimension: int, item: ItemConfig) -> None:
        super().__init__()
        # Row 0 stands for an item whose id is not known.
        normal = keras.initializers.RandomNormal(stddev=EMBEDDING_DEVIATION)
        self._ids = self.add_weight(shape=(item_count + 1, dimension), initializer=normal, name="ids")
        self._biases = (
            self.add_weight(shape=(item_count + 1, 1), initializer="zeros", name="biases") if item.bias else None
        )
        self._id_dropout = item.id_dropout if features else 0.0
        self._dropout_seed = keras.random.SeedGenerator()
        self._content = FeatureBlock(features, dimension) if features else None

    @property
    def has_bias(self) -> bool:
        """Whether there are biases."""
        return self._biases is not None

    def call(self, codes: tf.Tensor, tensors: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The vectors of items.

        Args:
            codes: int32 [rows], 1 + the item's row, or 0.
            tensors: of the item features, each [rows, ...].
            training: whether some ids are hidden.
        """
        if training and self._id_dropout:
            is_hidden = keras.random.uniform(tf.shape(codes), seed=self._dropout_seed) < self._id_dropout
            codes = tf.where(is_hidden, 0, codes)
        # `.value`: a gather from a Keras variable copies the whole table first.
        vectors = tf.gather(self._ids.value, codes)
        return vectors if self._content is None else vectors + self._content(tensors)

    def biases(self, codes: tf.Tensor) -> tf.Tensor:
        """float32 [rows], how much the logits of items are raised for everybody; zeros where there are no biases."""
        if self._biases is None:
            return tf.zeros(tf.shape(codes))
        return tf.gather(self._biases.value, codes)[:, 0]


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """The vectors [..., dimension] at length 1."""
    return vectors * tf.math.rsqrt(tf.maximum(tf.reduce_sum(vectors * vectors, axis=-1, keepdims=True), 1e-12))
