"""Reads the features of users or items: a layer that both towers share."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature


class FeatureBlock(keras.Layer):  # type: ignore[misc]
    """Features -> float32 [rows, dimension].

    A category is embedded, several are averaged, a number is taken as it is; all of that passes a hidden layer.
    """

    def __init__(self, features: Sequence[Feature], dimension: int) -> None:
        super().__init__()
        self._features = [feature for feature in features if feature.WhichOneof("kind") != "history"]
        self._embeddings = {
            feature.name: keras.layers.Embedding(_codes(feature), dimension)
            for feature in self._features
            if feature.WhichOneof("kind") != "standardised"
        }
        self._hidden = keras.layers.Dense(dimension, activation="relu")
        # Zero at first: a model begins as one without features and learns how far they help.
        self._output = keras.layers.Dense(dimension, use_bias=False, kernel_initializer="zeros")

    def call(self, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """``tensors``: as ``bascule_server.encoder`` makes them, by the feature's name."""
        read = [self._read(feature, tensors[feature.name]) for feature in self._features]
        return self._output(self._hidden(tf.concat(read, axis=-1)))

    def _read(self, feature: Feature, tensor: tf.Tensor) -> tf.Tensor:
        match feature.WhichOneof("kind"):
            case "standardised":
                return tensor[:, None]
            case "multi_valued":
                weights = tf.cast(tensor != 0, tf.float32)[..., None]  # [rows, max_count, 1]
                total = tf.reduce_sum(self._embeddings[feature.name](tensor) * weights, axis=1)
                return total / tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)
            case _:
                return self._embeddings[feature.name](tensor)


def _codes(feature: Feature) -> int:
    """The number of codes that the feature's tensor may hold."""
    match feature.WhichOneof("kind"):
        case "categorical":
            return feature.categorical.size + 1
        case "multi_valued":
            return feature.multi_valued.size + 1
        case _:
            return len(feature.bucketed.boundaries) + 2
