"""The ranking tower: the retrieval score, and what a small network adds to it."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_server.ranker_inputs import NUMBERS, item_input, query_input
from bascule_training.feature_embedding import FeatureEmbedding
from bascule_training.two_towers import Tower

UNITS = 32
EMBEDDING = 8
"""Components of the vector of a category."""

_LEAST_DEVIATION = 1e-6


class RankingTower:
    """Scores each candidate by itself. At first it orders as retrieval does.

    Attributes:
        variables: all that training changes.
    """

    def __init__(self, features: Sequence[Feature], numbers: NDArray[np.float32], *, seed: int) -> None:
        """Makes a tower for inputs like these.

        Args:
            features: what it reads beside the numbers; see ``ranker_features``.
            numbers: float32 [candidates, numbers], of the cases to train on; the first is the standing by retrieval.
            seed: of the weights.
        """
        keras.utils.set_random_seed(seed)
        self._mean = tf.Variable(numbers.mean(axis=0), trainable=False)
        self._deviation = tf.Variable(np.maximum(numbers.std(axis=0), _LEAST_DEVIATION), trainable=False)
        self._scale = tf.Variable(1.0)
        self._embedding = FeatureEmbedding(features, EMBEDDING) if features else None
        self._hidden = keras.layers.Dense(UNITS, activation="relu")
        self._output = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")
        width = numbers.shape[1] + sum(1 if each.HasField("standardised") else EMBEDDING for each in features)
        self._hidden.build((None, width))
        self._output.build((None, UNITS))
        layers = [self._hidden, self._output, *([self._embedding] if self._embedding else [])]
        weights = [weight.value for layer in layers for weight in layer.trainable_weights]
        self.variables: list[tf.Variable] = [self._scale, *weights]

    def scores(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32 [candidates, 1], higher is better, of the inputs that ``RankerInputs`` makes."""
        numbers = inputs[NUMBERS]
        read = [(numbers - self._mean) / self._deviation]
        if self._embedding is not None:
            read.append(self._embedding(inputs))
        return self._scale * numbers[:, :1] + self._output(self._hidden(tf.concat(read, axis=1)))

    def penalty(self) -> tf.Tensor:
        """float32 [], the sum of the squares of the hidden layer's weights."""
        return tf.reduce_sum(tf.square(self._hidden.kernel.value))

    def tower(self) -> Tower:
        """The same, ready to be exported."""
        return Tower(self.scores, [*self.variables, self._mean, self._deviation])


def ranker_features(query_features: Sequence[Feature], item_features: Sequence[Feature]) -> list[Feature]:
    """The features of query and item under the names of the ranking tower's inputs; the history is none of them."""
    of_query = [_renamed(each, query_input(each.name)) for each in query_features if not each.HasField("history")]
    return [*of_query, *(_renamed(each, item_input(each.name)) for each in item_features)]


def _renamed(feature: Feature, name: str) -> Feature:
    renamed = Feature()
    renamed.CopyFrom(feature)
    renamed.name = name
    return renamed
