"""How well each head of the classic model predicts the users' items."""

from collections.abc import Mapping
from typing import NamedTuple

import keras
import tensorflow as tf

from bascule_training.classic.heads import OUTPUTS


class HeadFigures(NamedTuple):
    """Of one head, means over users."""

    loss: float
    """Cross-entropy of the user's items under the head's probabilities, in nats; at best the entropy of the former."""
    accuracy: float
    """How often the most probable item is one of the user's."""


class HeadMeter:
    """Gathers the figures of all heads over the batches that it is shown."""

    def __init__(self) -> None:
        self._losses = {name: keras.metrics.Mean() for name in OUTPUTS}
        self._accuracies = {name: keras.metrics.Mean() for name in OUTPUTS}

    def losses(self, outputs: Mapping[str, tf.Tensor], targets: tf.Tensor, weights: tf.Tensor) -> dict[str, tf.Tensor]:
        """The loss of each head on one batch, float32 []; see ``ClassicBatch`` for ``targets`` and ``weights``."""
        found = {}
        for name in OUTPUTS:
            losses = keras.losses.categorical_crossentropy(targets, outputs[name])
            is_hit = tf.gather(targets, tf.argmax(outputs[name], axis=1), batch_dims=1) > 0
            self._losses[name].update_state(losses, weights)
            self._accuracies[name].update_state(is_hit, weights)
            found[name] = tf.reduce_sum(losses * weights) / tf.reduce_sum(weights)
        return found

    def take(self) -> dict[str, HeadFigures]:
        """The figures of all batches since the last time, by the names of ``OUTPUTS``."""
        return {name: HeadFigures(_take(self._losses[name]), _take(self._accuracies[name])) for name in OUTPUTS}


def _take(mean: keras.metrics.Mean) -> float:
    value = float(mean.result())
    mean.reset_state()
    return value
