"""Two towers that are trained by gradient, and the one step that improves them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.encoder import HISTORY, history_length
from bascule_training.config import ItemConfig, TrainedTower
from bascule_training.fitting.losses import softmax_loss
from bascule_training.fitting.row_adam import RowAdam
from bascule_training.towers.item_tower import ItemTower, unit
from bascule_training.towers.query_tower import query_tower
from bascule_training.towers.two_towers import Tower


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the towers read beside histories."""

    query_features: list[Feature]
    item_features: list[Feature]
    users: Mapping[str, NDArray[Any]]
    """Tensors [users, ...] of the query features, in the order of the training histories."""
    items: Mapping[str, NDArray[Any]]
    """Tensors [items, ...] of the item features, in the order of the catalogue."""
    is_trained: NDArray[np.bool_]
    """bool [items], whether training sees the item; the others are placed by their features alone. Where there are item
    features these compete with no target: always wrong, they would sink below all others."""


NO_CANDIDATE = -1e9
"""The logit of an item that is no candidate: its probability is 0. Finite, so that what only fills makes no NaN."""


class StepTensors(NamedTuple):
    """``Examples`` and their ``Competitors``; none of these where the softmax runs over the whole catalogue."""

    codes: tf.Tensor
    users: tf.Tensor
    targets: tf.Tensor
    weights: tf.Tensor
    rows: tf.Tensor
    log_q: tf.Tensor
    target_log_q: tf.Tensor
    is_known: tf.Tensor


Loss = Callable[[tf.Tensor, tf.Tensor, StepTensors], tf.Tensor]
"""From the logits of the targets [queries, targets] and of the competitors [queries, competitors] to a loss []."""


class TwoTowerModel:
    """Both towers and their optimiser. Equal seeds and data give equal weights.

    The score of an item for a query is the cosine of their vectors, and what the item's bias adds to it.
    """

    def __init__(
        self,
        tower: TrainedTower,
        item: ItemConfig,
        inputs: Inputs,
        optimiser: RowAdam,
        loss: Loss | None,
        *,
        seed: int,
        history_competes: bool = False,
    ) -> None:
        """Makes the towers.

        Args:
            tower: the configuration of the query tower.
            item: the configuration of the item tower.
            inputs: what they read beside histories.
            optimiser: improves them.
            loss: over sampled competitors. None: the softmax runs over the whole catalogue.
            seed: of the first weights and of dropout.
            history_competes: whether the items that a query has read compete with its targets in the full softmax.
        """
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        item_count = len(inputs.is_trained)
        self._codes = tf.constant(np.where(inputs.is_trained, np.arange(1, item_count + 1), 0), tf.int32)
        self._user_tensors = {name: tf.constant(tensor) for name, tensor in inputs.users.items()}
        self._item_tensors = {name: tf.constant(tensor) for name, tensor in inputs.items.items()}
        self._loss = loss
        self._history_competes = history_competes
        length = history_length(inputs.query_features)
        self._positions_are_queries = tower.kind == "history_transformer"
        self.items = ItemTower(item_count, inputs.item_features, tower.dimension, item)
        self.queries = query_tower(tower, inputs.query_features, length)
        self._log_temperature = keras.Variable(
            np.log(tower.temperature), trainable=tower.learn_temperature, dtype="float32", name="log_temperature"
        )
        self._optimiser = optimiser
        self._build(length)

    @property
    def variables(self) -> list[Any]:
        """All that a step changes: weights, random states and optimiser, in a fixed order."""
        return [
            *self.items.variables,
            *self.queries.variables,
            self._log_temperature,
            *self._optimiser.variables,
        ]

    @property
    def temperature(self) -> float:
        """What a score is divided by before the softmax."""
        return float(tf.exp(self._log_temperature.value))

    def step(self, tensors: StepTensors) -> tf.Tensor:
        """Improves the towers on one batch; returns its loss, float32 [], without waiting for it."""
        return self._step(tensors)

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``: of length 1, and behind it the bias in units of a score where there is one."""
        vectors = unit(self._all_items(training=False))
        if self.items.has_bias:
            vectors = tf.concat([vectors, self._temperature() * self.items.biases(self._codes)[:, None]], axis=1)
        found: NDArray[np.float32] = vectors.numpy()
        return found

    def query_tower(self) -> Tower:
        """See ``TwoTowers``: of length 1, and behind it a 1 where items have biases."""
        # What the tower reads for each code of a history: float32 [1 + items, dimension].
        items = self._all_items(training=False)
        table = tf.Variable(tf.concat([tf.zeros_like(items[:1]), items], axis=0), trainable=False)

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            features = {name: tensor for name, tensor in inputs.items() if name != HISTORY}
            row_count = tf.shape(next(iter(inputs.values())))[0]
            history = inputs.get(HISTORY, tf.zeros((row_count, 1), tf.int32))
            return self._with_bias(self.queries.serve(tf.gather(table, history), history, features), 1.0)

        return Tower(vectors, [*_variables(self.queries), table])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``: of length 1, and behind it the bias of an unknown item."""
        if not self._item_tensors:
            return None
        bias = tf.Variable(self._temperature() * self.items.biases(tf.zeros((1,), tf.int32))[0], trainable=False)

        def vectors(tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
            row_count = tf.shape(next(iter(tensors.values())))[0]
            return self._with_bias(unit(self.items(tf.zeros([row_count], tf.int32), tensors)), bias)

        return Tower(vectors, [*_variables(self.items), bias])

    def _build(self, length: int) -> None:
        """Makes every variable, so that a checkpoint can be read before the first step."""
        codes = tf.zeros((1, max(length, 1)), tf.int32)
        users = codes if self._positions_are_queries else codes[:, 0]
        read = tf.gather(self._all_items(training=False), codes)
        self.queries(read, codes, users, self._user_tensors, training=False)
        self._optimiser.build(self._weights())

    def _weights(self) -> list[Any]:
        learned = [self._log_temperature] if self._log_temperature.trainable else []
        return [*self.items.trainable_variables, *self.queries.trainable_variables, *learned]

    def _temperature(self) -> tf.Tensor:
        return tf.exp(self._log_temperature.value)

    def _with_bias(self, vectors: tf.Tensor, bias: tf.Tensor | float) -> tf.Tensor:
        if not self.items.has_bias:
            return vectors
        return tf.concat([vectors, bias * tf.ones_like(vectors[:, :1])], axis=1)

    def _all_items(self, training: bool) -> tf.Tensor:
        return self.items(self._codes, self._item_tensors, training=training)

    def _some_items(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [..., dimension], for rows [...]."""
        flat = tf.reshape(rows, (-1,))
        tensors = {name: tf.gather(tensor, flat) for name, tensor in self._item_tensors.items()}
        vectors = self.items(tf.gather(self._codes, flat), tensors, training=True)
        return tf.reshape(vectors, tf.concat([tf.shape(rows), [-1]], axis=0))

    def _biases(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [...], for rows [...]."""
        return tf.reshape(self.items.biases(tf.gather(self._codes, tf.reshape(rows, (-1,)))), tf.shape(rows))

    @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]
    def _step(self, tensors: StepTensors) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self._full_loss(tensors) if self._loss is None else self._sampled_loss(tensors, self._loss)
        weights = self._weights()
        self._optimiser.apply(tape.gradient(loss, [weight.value for weight in weights]), weights)
        return loss

    def _full_loss(self, tensors: StepTensors) -> tf.Tensor:
        items = self._all_items(training=True)
        read = tf.gather(items, tf.maximum(tensors.codes - 1, 0))
        queries = self.queries(read, tensors.codes, tensors.users, self._user_tensors, training=True)
        logits = self._logits(queries, unit(items), self.items.biases(self._codes))
        if not (self._positions_are_queries or self._history_competes):
            logits = tf.where(_read_items(tensors.codes, len(self._codes)), NO_CANDIDATE, logits)
        if self._item_tensors:
            logits = tf.where(self._codes == 0, NO_CANDIDATE, logits)
        return softmax_loss(logits, tensors.targets, tensors.weights)

    def _sampled_loss(self, tensors: StepTensors, loss: Loss) -> tf.Tensor:
        read = self._some_items(tf.maximum(tensors.codes - 1, 0))
        queries = self.queries(read, tensors.codes, tensors.users, self._user_tensors, training=True)
        positive = tf.einsum("qd,qtd->qt", queries, unit(self._some_items(tensors.targets)))
        negative = self._logits(queries, unit(self._some_items(tensors.rows)), self._biases(tensors.rows))
        if self._item_tensors:
            tensors = tensors._replace(is_known=tensors.is_known | (tf.gather(self._codes, tensors.rows) == 0))
        return loss(
            positive / self._temperature() + self._biases(tensors.targets),
            negative,
            tensors,
        )

    def _logits(self, queries: tf.Tensor, items: tf.Tensor, biases: tf.Tensor) -> tf.Tensor:
        """float32 [queries, items]: one product holds temperature and biases too, since a pass over all takes long."""
        ones = tf.ones_like(queries[:, :1])
        scaled = tf.concat([queries / self._temperature(), ones], axis=1)
        return tf.matmul(scaled, tf.concat([items, biases[:, None]], axis=1), transpose_b=True)


def _read_items(codes: tf.Tensor, item_count: int) -> tf.Tensor:
    """bool [rows, items], whether the item is among the codes [rows, length] of the row."""
    rows = tf.broadcast_to(tf.range(tf.shape(codes)[0])[:, None], tf.shape(codes))
    places = tf.stack([tf.reshape(rows, (-1,)), tf.reshape(codes, (-1,))], axis=1)
    counts = tf.scatter_nd(places, tf.ones_like(places[:, 0]), (codes.shape[0], item_count + 1))
    return counts[:, 1:] > 0


def _variables(tower: keras.Model) -> list[tf.Variable]:
    return [variable.value for variable in tower.variables]
