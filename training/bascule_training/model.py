"""A two-tower model in training: both towers, and the one step that improves them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_server.encoder import history_length
from bascule_training.config import TrainingConfig
from bascule_training.losses import sampled_softmax_loss, softmax_loss
from bascule_training.packing import PackedBatch
from bascule_training.towers import ItemTower, QueryTower, readable, unit
from bascule_training.two_towers import Tower

FULL_SOFTMAX_ITEMS = 50_000
"""Up to so many items the softmax runs over all of them, unless the configuration says otherwise."""

SAMPLED_NEGATIVES = 2_048
"""How many negatives stand for a larger catalogue."""


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
    """bool [items], whether training sees the item; the others are placed by their features alone."""


class TwoTowerModel:
    """Both towers and their optimiser. Equal seeds and data give equal weights."""

    def __init__(self, config: TrainingConfig, inputs: Inputs, step_count: int) -> None:
        """``step_count``: over so many steps the learning rate falls to zero, along a cosine."""
        keras.utils.set_random_seed(config.seed)
        tf.config.experimental.enable_op_determinism()
        self._temperature = config.tower.temperature
        self._item_count = len(inputs.is_trained)
        self._codes = tf.constant(np.where(inputs.is_trained, np.arange(1, self._item_count + 1), 0), tf.int32)
        self._negatives = _negatives(config, self._item_count)
        self._user_tensors = {name: tf.constant(tensor) for name, tensor in inputs.users.items()}
        self._item_tensors = {name: tf.constant(tensor) for name, tensor in inputs.items.items()}
        self._sampling_seed = keras.random.SeedGenerator(config.seed)
        self._length = history_length(inputs.query_features)
        self.items = ItemTower(self._item_count, inputs.item_features, config.tower, config.item)
        self.queries = QueryTower(inputs.query_features, self._length, config.tower)
        schedule = keras.optimizers.schedules.CosineDecay(config.fit.learning_rate, max(step_count, 1))
        self._optimiser = keras.optimizers.Adam(schedule, beta_2=0.98)
        self._build()

    @property
    def variables(self) -> list[Any]:
        """All that a step changes: weights, optimiser and the state of the random numbers, in a fixed order."""
        return [*self.items.variables, *self.queries.variables, *self._optimiser.variables, self._sampling_seed.state]

    def step(self, batch: PackedBatch) -> tf.Tensor:
        """Improves the towers on one batch; returns its loss, float32 [], without waiting for it."""
        return self._step(batch.codes, batch.targets, batch.users, batch.weights)

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``. The vectors have length 1."""
        vectors: NDArray[np.float32] = unit(self._all_items(training=False)).numpy()
        return vectors

    def query_tower(self) -> Tower:
        """See ``TwoTowers``. The vectors have length 1."""
        # What the tower reads for each code of a history: float32 [1 + items, dimension].
        table = tf.Variable(
            tf.concat([self.items.start[None], self._all_items(training=False)], axis=0), trainable=False
        )

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            history = inputs["history"]
            features = {name: tensor for name, tensor in inputs.items() if name != "history"}
            return self.queries.last(tf.gather(table, history), readable(history), features)

        return Tower(vectors, [*_variables(self.queries), table])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``. The vectors have length 1."""
        if not self._item_tensors:
            return None

        def vectors(tensors: Mapping[str, tf.Tensor]) -> tf.Tensor:
            row_count = tf.shape(next(iter(tensors.values())))[0]
            return unit(self.items(tf.zeros([row_count], tf.int32), tensors))

        return Tower(vectors, _variables(self.items))

    def _build(self) -> None:
        """Makes every variable, so that a checkpoint can be read before the first step."""
        one = tf.zeros((1, self._length), tf.int32)
        features = {name: tensor[:1] for name, tensor in self._user_tensors.items()}
        self._vectors(one, one, tf.gather(self._all_items(training=False), one), features, training=False)
        self._optimiser.build(self._weights())

    def _weights(self) -> list[Any]:
        return [*self.items.trainable_variables, *self.queries.trainable_variables]

    def _all_items(self, training: bool) -> tf.Tensor:
        return self.items(self._codes, self._item_tensors, training=training)

    def _some_items(self, rows: tf.Tensor) -> tf.Tensor:
        tensors = {name: tf.gather(tensor, rows) for name, tensor in self._item_tensors.items()}
        return self.items(tf.gather(self._codes, rows), tensors, training=True)

    def _vectors(
        self,
        codes: tf.Tensor,
        users: tf.Tensor,
        items: tf.Tensor,
        user_tensors: Mapping[str, tf.Tensor],
        training: bool,
    ) -> tf.Tensor:
        """float32 [rows * length, dimension], the query's vector after each position."""
        read = tf.where((codes == 0)[..., None], self.items.start, items)
        position = tf.range(self._length)
        visible = (users[:, :, None] == users[:, None, :]) & (position[:, None] >= position[None, :])
        vectors = self.queries(read, visible, user_tensors, users, training=training)
        return tf.reshape(vectors, (-1, vectors.shape[-1]))

    @tf.function(jit_compile=False)  # type: ignore[untyped-decorator]
    def _step(self, codes: tf.Tensor, targets: tf.Tensor, users: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = self._loss(codes, targets, users, tf.reshape(weights, (-1,)))
        trained = self._weights()
        self._optimiser.apply(tape.gradient(loss, trained), trained)
        return loss

    def _loss(self, codes: tf.Tensor, targets: tf.Tensor, users: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        read, flat = tf.maximum(codes - 1, 0), tf.reshape(targets, (-1,))
        if self._negatives is None:
            items = self._all_items(training=True)
            queries = self._vectors(codes, users, tf.gather(items, read), self._user_tensors, training=True)
            return softmax_loss(queries, unit(items), flat, weights, self._temperature)
        items = tf.reshape(self._some_items(tf.reshape(read, (-1,))), (*read.shape, -1))
        queries = self._vectors(codes, users, items, self._user_tensors, training=True)
        drawn = keras.random.randint((self._negatives,), 0, self._item_count, seed=self._sampling_seed)
        return sampled_softmax_loss(
            queries,
            unit(self._some_items(flat)),
            unit(self._some_items(drawn)),
            flat[:, None] == drawn[None, :],
            weights,
            self._temperature,
        )


def _variables(tower: keras.Model) -> list[tf.Variable]:
    return [variable.value for variable in tower.variables]


def _negatives(config: TrainingConfig, item_count: int) -> int | None:
    """How many negatives are drawn; None for the whole catalogue."""
    match config.fit.negatives:
        case "full":
            return None
        case "auto":
            return None if item_count <= FULL_SOFTMAX_ITEMS else SAMPLED_NEGATIVES
        case count:
            return count
