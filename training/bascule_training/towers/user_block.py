"""What a query tower reads beside the history: the user's features, added to its vectors."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.towers.feature_block import FeatureBlock


class UserBlock(keras.Layer):  # type: ignore[misc]
    """Adds what the features say to vectors; without features it changes nothing."""

    def __init__(self, features: Sequence[Feature], dimension: int) -> None:
        super().__init__()
        has_any = any(feature.WhichOneof("kind") != "history" for feature in features)
        self._block = FeatureBlock(features, dimension) if has_any else None
        self.built = True  # it has no weights of its own, and Keras builds only what is called

    def add(self, vectors: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [rows, dimension]; ``tensors`` are [rows, ...]."""
        return vectors if self._block is None else vectors + self._block(tensors)

    def add_gathered(self, vectors: tf.Tensor, tensors: Mapping[str, tf.Tensor], users: tf.Tensor) -> tf.Tensor:
        """float32 [rows, dimension]; ``tensors`` are [users, ...], and ``users`` int32 [rows], -1 for none."""
        # Features are gathered before they are read, so that a step costs what its rows cost, not all users.
        places = tf.maximum(users, 0)
        return self.add(vectors, {name: tf.gather(tensor, places) for name, tensor in tensors.items()})
