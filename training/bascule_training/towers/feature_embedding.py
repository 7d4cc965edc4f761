"""Embeds the features of users or items: from codes and numbers to one vector a row."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature


class FeatureEmbedding(keras.Layer):  # type: ignore[misc]
    """Tensors of features -> float32 [rows, width], what was read of each feature beside the other.

    A category is embedded, several and the n-grams of a text are averaged, and a number is taken as it is.
    """

    def __init__(self, features: Sequence[Feature], dimension: int, spread: float = 0.05) -> None:
        """Makes a table for each feature that has codes.

        Args:
            features: what is read; a history among them is not.
            dimension: components of the vector of a code.
            spread: how far from 0 these are at first, at the most.
        """
        super().__init__()
        self._names = [feature.name for feature in features if feature.WhichOneof("kind") != "history"]
        self._tables = {
            feature.name: self.add_weight(
                shape=(code_count(feature), dimension),
                initializer=keras.initializers.RandomUniform(-spread, spread),
                name=f"{feature.name}_embeddings",
            )
            for feature in features
            if feature.WhichOneof("kind") not in ("history", "standardised")
        }

    @property
    def width(self) -> int:
        """Components of what is read of a row."""
        return sum(self._tables[name].shape[1] if name in self._tables else 1 for name in self._names)

    def call(self, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """``tensors``: as ``bascule_server.scoring.encoder`` makes them, by the feature's name."""
        return tf.concat([self._read(name, tensors[name]) for name in self._names], axis=1)

    def _read(self, name: str, tensor: tf.Tensor) -> tf.Tensor:
        if name not in self._tables:
            return tensor[:, None]
        # `.value`: a gather from a Keras variable copies the whole table first.
        vectors = tf.gather(self._tables[name].value, tensor)
        return vectors if tensor.shape.rank == 1 else _averaged(vectors, tensor)


def _averaged(vectors: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
    """float32 [rows, dimension], the mean of the vectors [rows, max_count, dimension] with a code; 0 of none."""
    weights = tf.cast(codes != 0, tf.float32)[..., None]
    return tf.reduce_sum(vectors * weights, axis=1) / tf.maximum(tf.reduce_sum(weights, axis=1), 1.0)


def code_count(feature: Feature) -> int:
    """How many codes the feature's tensor may hold."""
    match feature.WhichOneof("kind"):
        case "categorical":
            return feature.categorical.size + 1
        case "multi_valued":
            return feature.multi_valued.size + 1
        case "text":
            return feature.text.buckets + 1
        case _:
            return len(feature.bucketed.boundaries) + 2
