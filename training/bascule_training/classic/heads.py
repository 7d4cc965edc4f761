"""The towers and heads of the classic model: from embedded features to three distributions over the items."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from bascule_training.classic.config import ClassicConfig

MERGED_OUTPUT = "merged_output"
OUTPUTS = ("tower1_output", "tower2_output", MERGED_OUTPUT)


class Heads(keras.Layer):  # type: ignore[misc]
    """float32 [rows, width] -> float32 [rows, items], probabilities, by the names of ``OUTPUTS``."""

    def __init__(self, item_count: int, config: ClassicConfig) -> None:
        super().__init__()
        self._towers = [_tower(config) for _ in range(2)]
        self._merged = keras.layers.Dense(config.hidden, activation="relu")
        self._outputs = [keras.layers.Dense(item_count, activation="softmax", name=name) for name in OUTPUTS]

    def call(self, embedded: tf.Tensor) -> dict[str, tf.Tensor]:
        """``embedded``: what both towers read."""
        towers = [tower(embedded) for tower in self._towers]
        inputs = [*towers, self._merge(towers)]
        return {name: output(each) for name, output, each in zip(OUTPUTS, self._outputs, inputs, strict=True)}

    def hidden(self, embedded: tf.Tensor) -> tf.Tensor:
        """float32 [rows, hidden], what the merged output is made of."""
        return self._merge([tower(embedded) for tower in self._towers])

    @property
    def hidden_variables(self) -> list[keras.Variable]:
        """All that ``hidden`` uses."""
        return [variable for layer in (*self._towers, self._merged) for variable in layer.variables]

    def merged_weights(self) -> tuple[tf.Tensor, tf.Tensor]:
        """float32 [hidden, items] and [items]: logits of the merged output = hidden x weights + biases."""
        merged = self._outputs[OUTPUTS.index(MERGED_OUTPUT)]
        return merged.kernel.value, merged.bias.value

    def _merge(self, towers: Sequence[tf.Tensor]) -> tf.Tensor:
        return self._merged(tf.concat(towers, axis=1))


def _tower(config: ClassicConfig) -> keras.Sequential:
    return keras.Sequential([keras.layers.Dense(units, activation="relu") for units in config.layers])
