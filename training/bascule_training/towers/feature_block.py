"""Reads the features of users or items: a layer that both towers share."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.towers.feature_embedding import FeatureEmbedding


class FeatureBlock(keras.Layer):  # type: ignore[misc]
    """Features -> float32 [rows, dimension]: they are embedded, and all together pass a hidden layer."""

    def __init__(self, features: Sequence[Feature], dimension: int) -> None:
        super().__init__()
        self._embedding = FeatureEmbedding(features, dimension)
        self._hidden = keras.layers.Dense(dimension, activation="relu")
        # Zero at first: a model begins as one without features and learns how far they help.
        self._output = keras.layers.Dense(dimension, use_bias=False, kernel_initializer="zeros")

    def call(self, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """``tensors``: as ``bascule_server.scoring.encoder`` makes them, by the feature's name."""
        return self._output(self._hidden(self._embedding(tensors)))
