"""The two towers: what reads a user and what reads an item, each into a vector of length 1.

Their score is the cosine. The query tower is a causal transformer over the history (Kang and McAuley 2018,
"Self-attentive sequential recommendation"), with pre-normalised blocks and, in place of absolute positions, one learned
bias for each distance between two items; the user's features are added to what it makes of the history. The item tower
adds an item's features to the vector of its id. The query tower reads the item tower's own vectors, so that what is
learned of an item is learned once.
"""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.config import ItemConfig, TowerConfig
from bascule_training.feature_block import FeatureBlock

_EMBEDDING_DEVIATION = 0.02
_HIDDEN_LOGIT = -1e9
"""Added to an attention logit, it makes the weight 0 in float32."""


class ItemTower(keras.Model):  # type: ignore[misc]
    """Items -> float32 [rows, dimension], not yet of length 1: ``unit`` makes them so."""

    def __init__(self, item_count: int, features: Sequence[Feature], tower: TowerConfig, item: ItemConfig) -> None:
        super().__init__()
        # Row 0 stands for an item whose id is not known.
        self._ids = keras.layers.Embedding(item_count + 1, tower.dimension, _normal())
        self._id_dropout = item.id_dropout if features else 0.0
        self._dropout_seed = keras.random.SeedGenerator()
        self._content = FeatureBlock(features, tower.dimension) if features else None
        self.start = self.add_weight(shape=(tower.dimension,), initializer=_normal(), name="start")
        """float32 [dimension], what a history reads before its first item."""

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
        vectors = self._ids(codes)
        return vectors if self._content is None else vectors + self._content(tensors)


class QueryTower(keras.Model):  # type: ignore[misc]
    """Histories and features of users -> float32 vectors of length 1."""

    def __init__(self, features: Sequence[Feature], history_length: int, tower: TowerConfig) -> None:
        super().__init__()
        self._dimension = tower.dimension
        self._input_dropout = keras.layers.Dropout(tower.dropout)
        self._blocks = [CausalBlock(tower, history_length) for _ in range(tower.blocks)]
        self._norm = keras.layers.LayerNormalization(epsilon=1e-6)
        has_features = any(feature.WhichOneof("kind") != "history" for feature in features)
        self._user = FeatureBlock(features, tower.dimension) if has_features else None

    def call(
        self,
        items: tf.Tensor,
        visible: tf.Tensor,
        tensors: Mapping[str, tf.Tensor],
        users: tf.Tensor,
        training: bool = False,
    ) -> tf.Tensor:
        """The vector after every position, for training.

        Args:
            items: float32 [rows, length, dimension], the vectors of the items read.
            visible: bool [rows, length, length], whether position i (axis 1) may read position j (axis 2).
            tensors: of the user features, each [users, ...].
            users: int32 [rows, length], the user of each position, in the order of ``tensors``; -1 for none.
            training: whether dropout is on.

        Returns:
            float32 [rows, length, dimension].
        """
        hidden = self._input_dropout(self._scaled(items), training=training)
        for block in self._blocks:
            hidden = block(hidden, visible, training=training)
        vectors = self._norm(hidden)
        if self._user is not None:
            # Features are gathered before they are read, so that a step costs what its positions cost, not all users.
            places = tf.maximum(tf.reshape(users, (-1,)), 0)
            read = self._user({name: tf.gather(tensor, places) for name, tensor in tensors.items()})
            vectors += tf.reshape(read, tf.shape(vectors))
        return unit(vectors)

    def last(self, items: tf.Tensor, visible: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The vector after the last position alone, for serving: equal to that of ``call``, for less work.

        Args:
            items: float32 [rows, length, dimension].
            visible: bool [rows, length], whether the last position may read each. A position that it may not read is
                read by none.
            tensors: of the user features, each [rows, ...].

        Returns:
            float32 [rows, dimension].
        """
        hidden = self._scaled(items)
        length = hidden.shape[1]
        causal = visible[:, None, :] & (tf.range(length)[:, None] >= tf.range(length)[None, :])[None]
        for block in self._blocks[:-1]:
            hidden = block(hidden, causal)
        vectors = self._norm(self._blocks[-1].last(hidden, visible))
        if self._user is not None:
            vectors += self._user(tensors)
        return unit(vectors)

    def _scaled(self, items: tf.Tensor) -> tf.Tensor:
        return items * self._dimension**0.5


class CausalBlock(keras.Layer):  # type: ignore[misc]
    """Attention with one head and a feed-forward layer, each on normalised input and added to it."""

    def __init__(self, tower: TowerConfig, history_length: int) -> None:
        super().__init__()
        self._scale = tower.dimension**-0.5
        dense = [keras.layers.Dense(tower.dimension, use_bias=False) for _ in range(4)]
        self._query, self._key, self._value, self._mix = dense
        self._expand = keras.layers.Dense(tower.dimension, activation="relu")
        self._contract = keras.layers.Dense(tower.dimension)
        self._norms = [keras.layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self._dropouts = [keras.layers.Dropout(tower.dropout) for _ in range(3)]
        self._distance_bias = self.add_weight(shape=(history_length,), initializer="zeros", name="distance_bias")

    def call(self, hidden: tf.Tensor, visible: tf.Tensor, training: bool = False) -> tf.Tensor:
        """float32 [rows, length, dimension], after every position."""
        normed = self._norms[0](hidden)
        queries, keys, values = self._query(normed), self._key(normed), self._value(normed)
        length = hidden.shape[1]
        distance = tf.maximum(tf.range(length)[:, None] - tf.range(length)[None, :], 0)
        logits = tf.matmul(queries, keys, transpose_b=True) * self._scale + tf.gather(self._distance_bias, distance)
        weights = self._dropouts[0](tf.nn.softmax(_hide(logits, visible)), training=training)
        hidden += self._dropouts[1](self._mix(tf.matmul(weights, values)), training=training)
        return hidden + self._dropouts[2](self._forward(hidden), training=training)

    def last(self, hidden: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
        """float32 [rows, dimension], after the last position."""
        normed = self._norms[0](hidden)
        query, keys, values = self._query(normed[:, -1]), self._key(normed), self._value(normed)
        bias = tf.reverse(self._distance_bias[: hidden.shape[1]], [0])
        logits = tf.reduce_sum(keys * query[:, None], axis=-1) * self._scale + bias  # [rows, length]
        weights = tf.nn.softmax(_hide(logits, visible))
        mixed = hidden[:, -1] + self._mix(tf.reduce_sum(weights[..., None] * values, axis=1))
        return mixed + self._forward(mixed)

    def _forward(self, hidden: tf.Tensor) -> tf.Tensor:
        return self._contract(self._expand(self._norms[1](hidden)))


def unit(vectors: tf.Tensor) -> tf.Tensor:
    """The vectors [..., dimension] at length 1."""
    return vectors * tf.math.rsqrt(tf.maximum(tf.reduce_sum(vectors * vectors, axis=-1, keepdims=True), 1e-12))


def readable(history: tf.Tensor) -> tf.Tensor:
    """Which positions of padded histories the last one reads: bool [rows, length].

    They are the items, and before the first of them one position for the start, where there is room; so the tower
    reads an empty history, and a short one as in training, where every user's begins with the start.

    Args:
        history: int32 [rows, length], as ``bascule_server.encoder`` makes it.
    """
    is_item = history != 0
    next_is_item = tf.concat([is_item[:, 1:], tf.ones_like(is_item[:, :1])], axis=1)
    return is_item | next_is_item


def _hide(logits: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    return logits + tf.where(visible, 0.0, _HIDDEN_LOGIT)


def _normal() -> keras.initializers.Initializer:
    return keras.initializers.RandomNormal(stddev=_EMBEDDING_DEVIATION)
