"""The ranking tower: the retrieval score, and what a small network adds to it."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.ranker_inputs import CONTEXT, ITEM, NUMBERS
from bascule_training.towers.feature_embedding import FeatureEmbedding
from bascule_training.towers.two_towers import Tower

UNITS = 16
DROPOUT = 0.2
DIMENSION = 8
"""Components of the vectors of the context and of what it goes with."""

SPREAD = 0.5
"""How far from 0 what is embedded is at first: from a tenth of that a product would grow too slowly to be noticed."""


class RankingTower:
    """Scores each candidate by itself. At first it orders as retrieval does.

    The context is embedded. It stands beside the numbers, so that each of them may say more in one context than in
    another, and its product with what is embedded of an item says how well they go together (Rendle, Factorization
    machines, 2010).

    Attributes:
        variables: all that training changes.
    """

    def __init__(
        self, number_count: int, context: Sequence[Feature] = (), item: Sequence[Feature] = (), *, seed: int
    ) -> None:
        """Makes a tower.

        Args:
            number_count: how many numbers of a candidate there are; the first is its standing by retrieval.
            context: the features of the context.
            item: the features of items that the context may go with; without a context none is read.
            seed: of the weights.
        """
        keras.utils.set_random_seed(seed)
        self._hidden = keras.layers.Dense(UNITS, activation="relu")
        self._dropout = keras.layers.Dropout(DROPOUT, seed=seed)
        self._output = keras.layers.Dense(1, kernel_initializer="zeros", use_bias=False)
        self._context = _Reader(CONTEXT, context, "glorot_uniform") if context else None
        # Zero at first: nothing goes with anything.
        self._item = _Reader(ITEM, item, "zeros") if context and item else None
        self._hidden.build((None, number_count + (DIMENSION if context else 0)))
        self._output.build((None, UNITS))
        readers = [reader for reader in (self._context, self._item) if reader is not None]
        self._dense = [self._hidden, self._output, *(reader.dense for reader in readers)]
        layers = [*self._dense, *(reader.embedding for reader in readers)]
        self.variables: list[tf.Variable] = [weight.value for layer in layers for weight in layer.trainable_weights]

    @property
    def reads_context(self) -> bool:
        """Whether there are features of the context."""
        return self._context is not None

    def scores(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """float32 [candidates, 1], higher is better, of the inputs that ``RankerInputs`` makes."""
        numbers = inputs[NUMBERS]
        if self._context is None:
            return numbers[:, :1] + self._added(numbers, training)
        context = self._context(inputs)
        scores = numbers[:, :1] + self._added(tf.concat([numbers, context], axis=1), training)
        if self._item is None:
            return scores
        return scores + tf.reduce_sum(context * self._item(inputs), axis=1, keepdims=True)

    def _added(self, read: tf.Tensor, training: bool) -> tf.Tensor:
        return self._output(self._dropout(self._hidden(read), training=training))

    def penalty(self) -> tf.Tensor:
        """float32 [], the sum of the squares of the weights of its layers."""
        return tf.add_n([tf.reduce_sum(tf.square(layer.kernel.value)) for layer in self._dense])


class _Reader:
    """Features whose tensors have names with a prefix -> float32 [candidates, DIMENSION]."""

    def __init__(self, prefix: str, features: Sequence[Feature], initializer: str) -> None:
        self._prefix = prefix
        self._names = [feature.name for feature in features]
        self.embedding = FeatureEmbedding(features, DIMENSION, SPREAD)
        self.dense = keras.layers.Dense(DIMENSION, use_bias=False, kernel_initializer=initializer)
        self.dense.build((None, self.embedding.width))

    def __call__(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return self.dense(self.embedding({name: inputs[f"{self._prefix}{name}"] for name in self._names}))


def mean_tower(towers: Sequence[RankingTower]) -> Tower:
    """The mean of the scores of some towers, at least one, ready to be exported."""

    def scores(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        return tf.add_n([tower.scores(inputs) for tower in towers]) / len(towers)

    return Tower(scores, [variable for tower in towers for variable in tower.variables])
