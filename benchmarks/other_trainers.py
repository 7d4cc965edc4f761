"""The step of benchmarks/training.py as others would write it. It needs nothing of Bascule, to run in any environment.

    python other_trainers.py WAY ITEMS BATCHES.npz

Says "ready", or in a word why not; then for each line that it reads it takes STEPS steps and says the seconds of one.
The model is the same three times: a transformer over packed histories and a shared table of items, of standard layers.

keras      Keras layers, the sampled softmax written out, and Keras's Adam
keras-rs   the same with the correction and the mask of the package keras-rs
tfrs       the same layers in the older Keras, with the Retrieval task of TensorFlow Recommenders and that Keras's Adam
"""

import os
import sys
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

STEPS = 8
LEARNING_RATE = 2e-3
DROPOUT = 0.4
TEMPERATURE = 0.07
NO_CANDIDATE = -1e9
NEEDS = {"keras": "keras", "keras-rs": "keras-rs", "tfrs": "tensorflow-recommenders tf-keras"}
Arrays = Mapping[str, NDArray[Any]]


def main() -> None:
    """Takes steps as long as it is asked to."""
    way, item_count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    os.environ["TF_USE_LEGACY_KERAS"] = "1" if way == "tfrs" else "0"
    try:
        model = compiled(way, item_count)
    except ImportError:
        print(f"not installed: pip install {NEEDS[way]}", flush=True)
        return
    with np.load(path) as file:
        batches = dict(file)
    model({name: array[0] for name, array in batches.items()})  # makes the weights
    train(model, batches)  # the first steps are traced
    print("ready", flush=True)
    for _ in sys.stdin:
        print(train(model, batches), flush=True)


def train(model: Any, batches: Arrays) -> float:  # noqa: ANN401 - of either Keras
    """Seconds a step; the batches are in memory, ready-made."""
    import tensorflow as tf

    ends: list[float] = []
    clock = tf.keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_, **__: ends.append(time.perf_counter()))
    data = tf.data.Dataset.from_tensor_slices(dict(batches)).repeat().prefetch(2)
    model.fit(data, steps_per_epoch=1 + STEPS, verbose=0, callbacks=[clock])
    return (ends[-1] - ends[0]) / STEPS


def compiled(way: str, item_count: int) -> Any:  # noqa: ANN401 - of either Keras
    """The model, with its optimiser.

    Raises:
        ImportError: a package is missing.
    """
    import tensorflow as tf

    keras: Any = tf.keras  # the older one where TensorFlow was asked for it
    if way == "tfrs":
        import tensorflow_recommenders as tfrs

        task = tfrs.tasks.Retrieval(batch_metrics=[], metrics=None, remove_accidental_hits=True)
    if way == "keras-rs":
        import keras_rs

        correction = keras_rs.layers.SamplingProbabilityCorrection()
        mask = keras_rs.layers.RemoveAccidentalHits()

    class Model(keras.Model):  # type: ignore[misc]
        """Its loss on a batch is what it is trained on."""

        def __init__(self) -> None:
            super().__init__()
            self.towers = towers(keras, item_count)

        def call(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> tf.Tensor:
            """float32 [], the loss."""
            queries, candidates = self.towers(batch, training=training)
            rows, log_q = batch["rows"], batch["log_q"]
            probability = tf.exp(log_q) / tf.cast(tf.size(rows), tf.float32)
            # A query's target stands in the place of the query; behind the targets are the items drawn evenly.
            if way == "tfrs":
                return task(queries, candidates, candidate_sampling_probability=probability, candidate_ids=rows)
            logits = tf.matmul(queries, candidates, transpose_b=True)
            if way == "keras-rs":
                one_hot = tf.eye(tf.shape(logits)[0], tf.shape(logits)[1])
                logits = mask(correction(logits, probability), one_hot, rows)
                losses = tf.nn.softmax_cross_entropy_with_logits(one_hot, logits)
            else:
                place = tf.range(tf.shape(queries)[0])
                is_other = place[:, None] != tf.range(tf.shape(candidates)[0])[None, :]
                is_target = tf.gather(rows, place)[:, None] == rows[None, :]
                logits = tf.where(is_other & is_target, NO_CANDIDATE, logits - log_q)
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(place, logits)
            return tf.reduce_mean(losses)

        def train_step(self, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            """One step."""
            with tf.GradientTape() as tape:
                loss = self(batch, training=True)
            gradients = tape.gradient(loss, self.trainable_variables)
            self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
            return {"loss": loss}

    model = Model()
    model.compile(optimizer=keras.optimizers.Adam(LEARNING_RATE))
    return model


def towers(keras: Any, item_count: int, dimension: int = 64, length: int = 50) -> Any:  # noqa: ANN401 - either Keras
    """Both towers: a batch to queries [queries, dimension + 1] and candidates [candidates, dimension + 1]."""
    import tensorflow as tf

    layers: Any = keras.layers

    class Towers(keras.layers.Layer):  # type: ignore[misc]
        """Cosines by the temperature, and the bias of the candidate behind a 1."""

        def __init__(self) -> None:
            super().__init__()
            self.ids = layers.Embedding(item_count + 1, dimension)
            self.biases = layers.Embedding(item_count + 1, 1, embeddings_initializer="zeros")
            self.places = layers.Embedding(length, dimension)
            self.dropouts = [layers.Dropout(DROPOUT) for _ in range(3)]
            self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(3)]
            self.attention = layers.MultiHeadAttention(1, dimension, use_bias=False, dropout=DROPOUT)
            self.expand = layers.Dense(dimension, activation="relu")
            self.contract = layers.Dense(dimension)

        def call(self, batch: Mapping[str, tf.Tensor], training: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
            codes, users, rows = batch["codes"], batch["users"], batch["rows"]
            place = tf.range(length)
            visible = (users[:, :, None] == users[:, None, :]) & (place[:, None] >= place[None, :])
            hidden = self.ids(codes) * dimension**0.5 + self.places(place)
            hidden = self.dropouts[0](hidden, training=training)
            normed = self.norms[0](hidden)
            mixed = self.attention(normed, normed, attention_mask=visible, training=training)
            hidden += self.dropouts[1](mixed, training=training)
            forward = self.contract(self.expand(self.norms[1](hidden)))
            hidden = self.norms[2](hidden + self.dropouts[2](forward, training=training))
            queries = tf.math.l2_normalize(tf.reshape(hidden, (-1, dimension)), axis=1)
            candidates = tf.math.l2_normalize(self.ids(rows + 1), axis=1) / TEMPERATURE
            return (
                tf.concat([queries, tf.ones_like(queries[:, :1])], axis=1),
                tf.concat([candidates, self.biases(rows + 1)], axis=1),
            )

    return Towers()


if __name__ == "__main__":
    main()
