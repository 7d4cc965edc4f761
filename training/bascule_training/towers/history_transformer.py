"""The query tower that reads a history in its order: a causal transformer.

It is that of Kang and McAuley 2018, "Self-attentive sequential recommendation", with pre-normalised blocks and, in
place of absolute positions, one learned bias for each distance between two items; the user's features are added to what
it makes of the history.
"""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_training.config import HistoryTransformer
from bascule_training.towers.item_tower import EMBEDDING_DEVIATION, unit
from bascule_training.towers.user_block import UserBlock

_HIDDEN_LOGIT = -1e9
"""Added to an attention logit, it makes the weight 0 in float32."""


class HistoryTransformerTower(keras.Model):  # type: ignore[misc]
    """See ``bascule_training.towers.query_tower.QueryTower``. Of a batch every position is a query."""

    def __init__(self, features: Sequence[Feature], history_length: int, tower: HistoryTransformer) -> None:
        super().__init__()
        self._dimension = tower.dimension
        normal = keras.initializers.RandomNormal(stddev=EMBEDDING_DEVIATION)
        # What a history reads before its first item.
        self._start = self.add_weight(shape=(tower.dimension,), initializer=normal, name="start")
        self._input_dropout = keras.layers.Dropout(tower.dropout)
        self._blocks = [CausalBlock(tower, history_length) for _ in range(tower.blocks)]
        self._norm = keras.layers.LayerNormalization(epsilon=1e-6)
        self._user = UserBlock(features, tower.dimension)

    def call(
        self,
        items: tf.Tensor,
        codes: tf.Tensor,
        users: tf.Tensor,
        tensors: Mapping[str, tf.Tensor],
        training: bool = False,
    ) -> tf.Tensor:
        """The vector after every position of packed rows: float32 [rows * length, dimension].

        A position reads those before it in its row that are of the same user, and itself.

        Args:
            items: float32 [rows, length, dimension].
            codes: int32 [rows, length], 0 at a user's start.
            users: int32 [rows, length].
            tensors: of the user features, each [users, ...].
            training: whether dropout is on.
        """
        position = tf.range(codes.shape[1])
        visible = (users[:, :, None] == users[:, None, :]) & (position[:, None] >= position[None, :])
        hidden = self._input_dropout(self._read(items, codes), training=training)
        for block in self._blocks:
            hidden = block(hidden, visible, training=training)
        vectors = tf.reshape(self._norm(hidden), (-1, self._dimension))
        return unit(self._user.add_gathered(vectors, tensors, tf.reshape(users, (-1,))))

    def serve(self, items: tf.Tensor, codes: tf.Tensor, tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The vector after the last position alone: equal to that of ``call``, for less work."""
        hidden, visible = self._read(items, codes), readable(codes)
        position = tf.range(codes.shape[1])
        causal = visible[:, None, :] & (position[:, None] >= position[None, :])[None]
        for block in self._blocks[:-1]:
            hidden = block(hidden, causal)
        return unit(self._user.add(self._norm(self._blocks[-1].last(hidden, visible)), tensors))

    def _read(self, items: tf.Tensor, codes: tf.Tensor) -> tf.Tensor:
        return tf.where((codes == 0)[..., None], self._start, items) * self._dimension**0.5


class CausalBlock(keras.Layer):  # type: ignore[misc]
    """Attention with one head and a feed-forward layer, each on normalised input and added to it."""

    def __init__(self, tower: HistoryTransformer, history_length: int) -> None:
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


def readable(history: tf.Tensor) -> tf.Tensor:
    """Which positions of padded histories the last one reads: bool [rows, length].

    They are the items, and before the first of them one position for the start, where there is room; so the tower
    reads an empty history, and a short one as in training, where every user's begins with the start.

    Args:
        history: int32 [rows, length], as ``bascule_server.scoring.encoder`` makes it.
    """
    is_item = history != 0
    next_is_item = tf.concat([is_item[:, 1:], tf.ones_like(is_item[:, :1])], axis=1)
    return is_item | next_is_item


def _hide(logits: tf.Tensor, visible: tf.Tensor) -> tf.Tensor:
    return logits + tf.where(visible, 0.0, _HIDDEN_LOGIT)
