"""The classic model as it is trained and published."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_training.classic.config import ClassicConfig
from bascule_training.classic.feed import ClassicBatch
from bascule_training.classic.figures import HeadFigures, HeadMeter
from bascule_training.classic.heads import Heads
from bascule_training.towers.feature_embedding import FeatureEmbedding
from bascule_training.towers.two_towers import Tower


class ClassicModel:
    """Embedding, towers and heads, and their optimiser. Equal seeds and data give equal weights.

    It ranks by the merged output, whose logits are dot products: of the last hidden layer and a 1 with an item's column
    of the output's weights and its bias. The softmax behind them keeps the order.
    """

    def __init__(
        self, config: ClassicConfig, features: Sequence[Feature], item_count: int, learning_rate: float, *, seed: int
    ) -> None:
        """Makes the layers.

        Args:
            config: how large they are.
            features: the query features; a history among them is not read.
            item_count: the number of items.
            learning_rate: of Adam.
            seed: of the first weights.

        Raises:
            ValueError: there is no feature to embed, or one that cannot be.
        """
        self._features = _embeddable(features)
        keras.utils.set_random_seed(seed)
        tf.config.experimental.enable_op_determinism()
        self._embedding = FeatureEmbedding(self._features, config.embedding)
        self._heads = Heads(item_count, config)
        self._optimiser = keras.optimizers.Adam(learning_rate)
        self._meter = HeadMeter()
        self._build()

    @property
    def variables(self) -> list[Any]:
        """All that a step changes, in a fixed order: weights and optimiser."""
        return [*self._embedding.variables, *self._heads.variables, *self._optimiser.variables]

    def step(self, batch: ClassicBatch) -> tf.Tensor:
        """Improves the model on one batch; returns the sum of the losses of its heads, float32 []."""
        return self._step(batch.tensors, batch.targets, batch.weights)

    def take_figures(self) -> dict[str, HeadFigures]:
        """How well each head did in the steps since the last time, by its name."""
        return self._meter.take()

    def figures(self, batches: Iterable[ClassicBatch]) -> dict[str, HeadFigures]:
        """How well each head does on some batches, by its name."""
        meter = HeadMeter()
        for batch in batches:
            meter.losses(self.outputs(batch.tensors), batch.targets, batch.weights)
        return meter.take()

    def outputs(self, tensors: Mapping[str, tf.Tensor | NDArray[np.int32]]) -> dict[str, tf.Tensor]:
        """float32 [rows, items], probabilities, by the name of the head.

        ``tensors`` are as ``bascule_server.scoring.encoder`` makes them, [rows, ...] by the feature's name.
        """
        outputs: dict[str, tf.Tensor] = self._heads(self._embedding(tensors))
        return outputs

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``: the weights of the merged output, and behind them its biases."""
        weights, biases = self._heads.merged_weights()
        vectors: NDArray[np.float32] = np.concatenate([weights.numpy().T, biases.numpy()[:, None]], axis=1)
        return vectors

    def query_tower(self) -> Tower:
        """See ``TwoTowers``: the last hidden layer, and behind it a 1."""

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            hidden = self._heads.hidden(self._embedding(inputs))
            return tf.concat([hidden, tf.ones_like(hidden[:, :1])], axis=1)

        used = [*self._embedding.variables, *self._heads.hidden_variables]
        return Tower(vectors, [variable.value for variable in used])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``: none, since an item is known by its column of the output alone."""
        return None

    def _build(self) -> None:
        """Makes every variable, so that a checkpoint can be read before the first step."""
        self.outputs({feature.name: tf.zeros(_row_shape(feature), tf.int32) for feature in self._features})
        self._optimiser.build(self._weights())

    def _weights(self) -> list[keras.Variable]:
        return [*self._embedding.trainable_variables, *self._heads.trainable_variables]

    @tf.function  # type: ignore[untyped-decorator]
    def _step(self, tensors: Mapping[str, tf.Tensor], targets: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.add_n(list(self._meter.losses(self.outputs(tensors), targets, weights).values()))
        trained = self._weights()
        self._optimiser.apply(tape.gradient(loss, [variable.value for variable in trained]), trained)
        return loss


def _embeddable(features: Sequence[Feature]) -> list[Feature]:
    read = [feature for feature in features if feature.WhichOneof("kind") != "history"]
    if not read:
        raise ValueError("the classic model reads the users' features alone; expected at least one, got none")
    for feature in read:
        if feature.WhichOneof("kind") == "standardised":
            raise ValueError(
                f"the classic model embeds codes, and the feature {feature.name!r} is standardised, a number without a"
                " code; expected bucketed"
            )
    return read


def _row_shape(feature: Feature) -> tuple[int, ...]:
    """Of the tensor of one row."""
    count = max(feature.multi_valued.max_count, feature.text.max_count)
    return (1, count) if count else (1,)
