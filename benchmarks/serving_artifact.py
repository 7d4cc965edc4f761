"""Writes the model of the serving benchmarks as an artifact that ``bascule serve`` loads and proves, and for its peers.

    python benchmarks/serving_artifact.py MODELS WEIGHTS 20000

``serving_model`` does so, in a process of its own: TensorFlow's copy of protobuf and that of grpcio-tools, which the
benchmark needs, crash in one.
"""

import argparse
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import tensorflow as tf
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray
from serving_model import MODEL
from serving_weights import (
    HISTORY_LENGTH,
    SEED,
    Weights,
    draw_histories,
    draw_questions,
    draw_weights,
    save_weights,
)

from bascule.v1.artifact_pb2 import Manifest, TrainingData
from bascule_server.artifact.manifest_checks import SCHEMA_VERSION
from bascule_server.scoring.encoder import HISTORY, QueryEncoder
from bascule_training.config import IndexConfig
from bascule_training.data.features import Declared, history_feature
from bascule_training.data.splits import Splits
from bascule_training.dataset import Dataset
from bascule_training.fitting.fit import Subject
from bascule_training.publishing.artifact_writer import Contents, write_files
from bascule_training.publishing.publish import publish, staged, write_manifest
from bascule_training.towers.two_towers import Tower

INTERACTIONS = 100_000
"""From which the items have their popularity."""
ASKED = 512
"""Queries on which an index is tuned."""


class GeneratedTowers:
    """Fulfils ``TwoTowers`` with given weights."""

    def __init__(self, weights: Weights) -> None:
        self._vectors = weights.item_vectors
        # A history's codes are 1 + the item's row, and 0 where it is filled up.
        table = np.concatenate([np.zeros((1, weights.embeddings.shape[1]), np.float32), weights.embeddings])
        self._table = tf.Variable(table, trainable=False)
        self._layers = [tf.Variable(array, trainable=False) for array in (*weights.hidden, *weights.output)]

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``."""
        return self._vectors

    def query_tower(self) -> Tower:
        """See ``TwoTowers``."""
        return Tower(self._compute, [self._table, *self._layers])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``."""
        return None

    def _compute(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Histories int32 [rows, HISTORY_LENGTH] -> float32 [rows, dimension]."""
        codes = inputs[HISTORY]
        table_rows = self._table.shape[0] - 1
        if len(self._vectors) > table_rows:
            codes = tf.where(codes > 0, (codes - 1) % table_rows + 1, 0)
        pooled = tf.reduce_mean(tf.gather(self._table, codes), axis=1)
        hidden_kernel, hidden_bias, output_kernel, output_bias = self._layers
        return tf.nn.relu(pooled @ hidden_kernel + hidden_bias) @ output_kernel + output_bias


def _publish(models: Path, weights: Weights) -> None:
    query = Declared([history_feature(HISTORY_LENGTH)], {})
    item_count, dimension = weights.item_vectors.shape
    dataset = _dataset(item_count)
    contents = Contents(
        GeneratedTowers(weights),
        dataset,
        query,
        Declared([], {}),
        QueryEncoder(query.features, query.vocabularies),
        publish_users=False,
        index=IndexConfig(),
        asked=[Subject(history.astype(np.int64), {}) for history in draw_histories(ASKED, item_count, SEED + 2)],
        popularity=dataset.popularity(dataset.splits.train).astype(np.float64),
    )
    created = Timestamp()
    created.GetCurrentTime()
    with staged(models, MODEL) as folder:
        index = write_files(folder, contents)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            model=MODEL,
            version=int(folder.name),
            create_time=created,
            library_versions={name: importlib.metadata.version(name) for name in ("bascule", "numpy", "tensorflow")},
            training_data=TrainingData(interaction_count=len(dataset.splits.train), item_count=item_count),
            query_features=query.features,
            dimension=dimension,
            item_count=item_count,
            index=index,
        )
        write_manifest(folder, manifest)
        publish(folder, models)


def _dataset(item_count: int) -> Dataset:
    """A catalogue, and interactions that make some of its items popular."""
    items = pl.select(item_id=pl.format("i{}", pl.int_range(item_count).cast(pl.String).str.zfill(6)))
    # The square of an even draw favours low numbers.
    drawn = (np.random.default_rng(SEED).random(INTERACTIONS) ** 2 * item_count).astype(np.int64)
    train = pl.DataFrame({"item_id": items["item_id"].gather(drawn)})
    return Dataset(Splits(train, train.clear(), train.clear()), items, pl.DataFrame({"user_id": []}), {})


def main() -> None:
    """Writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, help="the folder for the artifact")
    parser.add_argument("weights", type=Path, help="the folder for what the peers read")
    parser.add_argument("items", type=int)
    arguments = parser.parse_args()
    weights = draw_weights(arguments.items)
    save_weights(arguments.weights, weights, draw_questions(weights))
    _publish(arguments.models, weights)


if __name__ == "__main__":
    main()
