"""The ranking tower: the retrieval score, and what a small network adds to it."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule_server.ranker_inputs import NUMBERS
from bascule_training.two_towers import Tower

UNITS = 16
DROPOUT = 0.2


class RankingTower:
    """Scores each candidate by itself. At first it orders as retrieval does.

    Attributes:
        variables: all that training changes.
    """

    def __init__(self, number_count: int, *, seed: int) -> None:
        """Makes a tower for so many numbers of a candidate, of which the first is its standing by retrieval."""
        keras.utils.set_random_seed(seed)
        self._hidden = keras.layers.Dense(UNITS, activation="relu")
        self._dropout = keras.layers.Dropout(DROPOUT, seed=seed)
        self._output = keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)
        self._hidden.build((None, number_count))
        self._output.build((None, UNITS))
        layers = (self._hidden, self._output)
        self.variables: list[tf.Variable] = [weight.value for layer in layers for weight in layer.trainable_weights]

    def scores(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """float32 [candidates, 1], higher is better, of the inputs that ``RankerInputs`` makes."""
        numbers = inputs[NUMBERS]
        return numbers[:, :1] + self._output(self._dropout(self._hidden(numbers), training=training))

    def penalty(self) -> tf.Tensor:
        """float32 [], the sum of the squares of the weights."""
        return tf.add_n([tf.reduce_sum(tf.square(layer.kernel.value)) for layer in (self._hidden, self._output)])


def mean_tower(towers: Sequence[RankingTower]) -> Tower:
    """The mean of the scores of some towers, at least one, ready to be exported."""

    def scores(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.add_n([tower.scores(inputs) for tower in towers]) / len(towers)

    return Tower(scores, [variable for tower in towers for variable in tower.variables])
