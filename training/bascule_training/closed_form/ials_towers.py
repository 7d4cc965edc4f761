"""iALS as two towers: the query tower solves the least squares problem of a history."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule_server.scoring.encoder import HISTORY
from bascule_training.baselines.ials import Ials
from bascule_training.towers.two_towers import Tower

_STEPS = 24
"""Of the conjugate gradient method. LiteRT has no solver; so many steps bring the residual below float32's own."""

_TINY = 1e-20


class IalsTowers:
    """See ``TwoTowers``, and ``Ials`` for the problem that is solved."""

    def __init__(self, model: Ials) -> None:
        self._model = model

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``."""
        return self._model.items

    def query_tower(self) -> Tower:
        """See ``TwoTowers``. The method is Hestenes and Stiefel's of 1952."""
        items, setting = self._model.items, self._model.setting
        table = tf.Variable(np.concatenate([np.zeros_like(items[:1]), items]), trainable=False)
        gram = tf.Variable(
            items.T @ items + setting.penalty * np.eye(items.shape[1], dtype=np.float32), trainable=False
        )

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            had = tf.gather(table, inputs[HISTORY])  # [rows, length, factors]

            def product(vector: tf.Tensor) -> tf.Tensor:
                scores = tf.reduce_sum(had * vector[:, None], axis=2, keepdims=True)
                return tf.matmul(vector, gram) + (setting.alpha - 1.0) * tf.reduce_sum(had * scores, axis=1)

            residual = setting.alpha * tf.reduce_sum(had, axis=1)
            solved, direction, square = tf.zeros_like(residual), residual, _square(residual)
            for _ in range(_STEPS):
                moved = product(direction)
                step = square / tf.maximum(tf.reduce_sum(direction * moved, axis=1, keepdims=True), _TINY)
                solved += step * direction
                residual -= step * moved
                square, last = _square(residual), square
                direction = residual + square / tf.maximum(last, _TINY) * direction
            return solved

        return Tower(vectors, [table, gram])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``: nothing is known of items that nobody had."""
        return None


def _square(vectors: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(vectors * vectors, axis=1, keepdims=True)
