from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import (
    BucketedFeature,
    CategoricalFeature,
    Feature,
    HistoryFeature,
    MultiValuedFeature,
    StandardisedFeature,
    TextFeature,
)
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_server.scoring.query import FeatureValue
from bascule_server.scoring.tower import LiteRtTower, SavedModelTower
from bascule_training.publishing.export import convert_to_litert, export_saved_model
from bascule_training.towers.feature_block import FeatureBlock
from bascule_training.towers.two_towers import Tower

DIMENSION = 4
FEATURES = [
    Feature(name="country", categorical=CategoricalFeature(vocabulary="c.json", size=2)),
    Feature(name="tags", multi_valued=MultiValuedFeature(vocabulary="t.json", size=3, max_count=2)),
    Feature(name="age", standardised=StandardisedFeature(mean=40, deviation=10)),
    Feature(name="price", bucketed=BucketedFeature(boundaries=[1, 2])),
    Feature(name="title", text=TextFeature(buckets=64, max_count=8)),
]
"""Every kind but the history."""
ROWS: list[dict[str, FeatureValue]] = [
    {"country": "FR", "tags": ("new", "sad"), "age": 50.0, "price": 9.0, "title": "Red car"},
    {"tags": ("old",), "title": "a"},
    {},
]


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[Any]]:
    vocabularies = {"c.json": ["DE", "FR"], "t.json": ["new", "old", "sad"]}
    return FeaturesEncoder(FEATURES, vocabularies).encode(ROWS)


def block(features: list[Feature]) -> FeatureBlock:
    """A block with random weights, so that nothing that begins at zero hides what it does."""
    made = FeatureBlock(features, DIMENSION)
    made({feature.name: _nothing(feature) for feature in features if not feature.HasField("history")})
    random = np.random.default_rng(1)
    for variable in made.trainable_variables:
        variable.assign(random.normal(size=variable.shape))
    return made


def _nothing(feature: Feature) -> tf.Tensor:
    if feature.HasField("multi_valued") or feature.HasField("text"):
        return tf.zeros((1, 1), tf.int32)
    return tf.zeros((1,), tf.float32 if feature.HasField("standardised") else tf.int32)


def reading(feature: Feature, embeddings: Any) -> FeatureBlock:
    """A block that passes on what it reads of one feature, as far as that is not negative."""
    made = block([feature])
    table, hidden, bias, output = made.trainable_variables
    table.assign(embeddings)
    for layer in (hidden, output):
        layer.assign(np.eye(DIMENSION))
    bias.assign(np.zeros(DIMENSION))
    return made


def test_the_n_grams_of_a_text_are_averaged_and_what_fills_up_counts_for_nothing() -> None:
    embeddings = [[9, 9, 9, 9], [2, 0, 0, 4], [0, 6, 0, 2], [1, 1, 1, 1]]
    title = reading(Feature(name="title", text=TextFeature(buckets=3, max_count=3)), embeddings)
    read = title({"title": tf.constant([[1, 2, 0], [3, 0, 0], [0, 0, 0]])})
    assert read.numpy().tolist() == [[1, 3, 0, 3], [1, 1, 1, 1], [0, 0, 0, 0]]


def test_a_code_is_read_as_its_row_of_the_table() -> None:
    country = reading(Feature(name="country", categorical=CategoricalFeature(size=1)), [[0, 0, 0, 1], [5, 6, 7, 8]])
    assert country({"country": tf.constant([1, 0])}).numpy().tolist() == [[5, 6, 7, 8], [0, 0, 0, 1]]


def test_a_model_begins_as_one_without_features(tensors: dict[str, NDArray[Any]]) -> None:
    assert not FeatureBlock(FEATURES, DIMENSION)(tensors).numpy().any()


def test_a_step_changes_the_rows_that_it_read_alone() -> None:
    title = block([Feature(name="title", text=TextFeature(buckets=9, max_count=3))])
    table = title.trainable_variables[0].value
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(title({"title": tf.constant([[4, 2, 0], [4, 0, 0]])}) ** 2)
    gradient = tape.gradient(loss, table)
    assert isinstance(gradient, tf.IndexedSlices)
    changed = np.flatnonzero(np.abs(tf.convert_to_tensor(gradient).numpy()).sum(axis=1))
    assert changed.tolist() == [2, 4]


def test_each_feature_matters_and_the_history_is_read_elsewhere(tensors: dict[str, NDArray[Any]]) -> None:
    made = block([Feature(name="history", history=HistoryFeature(max_length=3)), *FEATURES])
    read = made(tensors).numpy()[0]
    for name, tensor in tensors.items():
        other = {**tensors, name: tensor[[2, 1, 2]]}
        assert np.abs(made(other).numpy()[0] - read).max() > 1e-3, name


def test_the_exported_files_compute_the_same(tmp_path: Path, tensors: dict[str, NDArray[Any]]) -> None:
    made = block(FEATURES)
    tower = Tower(made, [variable.value for variable in made.variables])
    export_saved_model(tmp_path / "tower", tower, FEATURES)
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    expected = tower.vectors(tensors)
    np.testing.assert_allclose(SavedModelTower(tmp_path / "tower").vectors(tensors), expected, atol=1e-5)
    litert = LiteRtTower(tmp_path / "tower.tflite")
    np.testing.assert_allclose(litert.vectors(tensors), expected, atol=1e-5)
    for row in range(len(ROWS)):
        alone = litert.vectors({name: tensor[row : row + 1] for name, tensor in tensors.items()})
        np.testing.assert_array_equal(alone[0], litert.vectors(tensors)[row])
