"""What is served computes what was trained: LiteRT files against the towers in Keras."""

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
    MultiValuedFeature,
    StandardisedFeature,
    TextFeature,
)
from bascule_server.scoring.encoder import HISTORY, encode_histories
from bascule_server.scoring.tower import LiteRtTower
from bascule_training.config import HistoryBag, HistoryTransformer, ItemConfig, TrainedTower, UserFeatures
from bascule_training.data.features import history_feature
from bascule_training.fitting.model import Inputs, TwoTowerModel
from bascule_training.fitting.row_adam import RowAdam
from bascule_training.publishing.export import convert_to_litert, export_saved_model
from bascule_training.towers.item_tower import unit
from bascule_training.towers.two_towers import Tower

LENGTH, ITEMS, DIMENSION = 6, 11, 8
FEATURES = [
    Feature(name="country", categorical=CategoricalFeature(size=3)),
    Feature(name="tags", multi_valued=MultiValuedFeature(size=4, max_count=3)),
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
    Feature(name="height", bucketed=BucketedFeature(boundaries=[1.5, 1.8])),
    Feature(name="about", text=TextFeature(buckets=9, max_count=3)),
]
"""Every kind; the tensors below are as the encoder makes them."""
ROWS: dict[str, NDArray[Any]] = {
    "country": np.array([1, 3, 0, 2], np.int32),
    "tags": np.array([[1, 2, 0], [0, 0, 0], [4, 0, 0], [3, 2, 1]], np.int32),
    "age": np.array([0.5, -1.0, 0.0, 3.0], np.float32),
    "height": np.array([1, 3, 0, 2], np.int32),
    "about": np.array([[9, 1, 0], [0, 0, 0], [2, 3, 4], [5, 0, 0]], np.int32),
}
HISTORIES = [[], [4], [4, 0, 8], [10, 9, 8, 7, 6, 5, 4, 3]]
"""Empty, short, and longer than is read; one of each row above."""
TOWERS: list[TrainedTower] = [
    HistoryTransformer(dimension=DIMENSION, blocks=1),
    HistoryTransformer(dimension=DIMENSION, blocks=2),
    HistoryBag(dimension=DIMENSION),
    UserFeatures(dimension=DIMENSION),
]
CASES = [
    *((tower, True, True) for tower in TOWERS),
    *((tower, False, False) for tower in TOWERS[1:3]),
    (TOWERS[2], True, False),
    (TOWERS[2], False, True),
    (TOWERS[3], True, False),
]
"""Towers, with and without features of the user, and with and without a bias of the items."""


def random_model(tower: TrainedTower, *, has_features: bool, bias: bool) -> TwoTowerModel:
    """All weights drawn, so that nothing that begins at zero hides what it does."""
    history = [] if tower.kind == "features" else [history_feature(LENGTH, distinct=tower.kind == "history_bag")]
    inputs = Inputs(
        query_features=[*history, *(FEATURES if has_features else [])],
        item_features=FEATURES,
        users=ROWS if has_features else {},
        items={name: np.resize(tensor, (ITEMS, *tensor.shape[1:])) for name, tensor in ROWS.items()},
        is_trained=np.arange(ITEMS) != 9,
    )
    model = TwoTowerModel(tower, ItemConfig(bias=bias), inputs, RowAdam(1e-3, 1), None, seed=1)
    random = np.random.default_rng(1)
    for variable in [*model.items.trainable_variables, *model.queries.trainable_variables]:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return model


def queries(tower: TrainedTower, has_features: bool) -> dict[str, NDArray[Any]]:
    """What the encoder makes of every history with every row of features."""
    codes = encode_histories([np.array(history, np.int64) for history in HISTORIES], LENGTH)
    history = {} if tower.kind == "features" else {HISTORY: np.repeat(codes, 4, axis=0)}
    features = {name: np.concatenate([tensor] * 4) for name, tensor in ROWS.items()} if has_features else {}
    return {**history, **features}


def exported(tower: Tower, features: list[Feature], folder: Path) -> LiteRtTower:
    export_saved_model(folder / "tower", tower, features)
    convert_to_litert(folder / "tower", folder / "tower.tflite")
    return LiteRtTower(folder / "tower.tflite")


@pytest.mark.parametrize(("tower", "has_features", "bias"), CASES, ids=lambda value: getattr(value, "kind", str(value)))
def test_a_query_tower_in_litert_computes_what_training_computed(
    tower: TrainedTower, has_features: bool, bias: bool, tmp_path: Path
) -> None:
    model = random_model(tower, has_features=has_features, bias=bias)
    asked = queries(tower, has_features)
    declared = [*([] if tower.kind == "features" else [history_feature(LENGTH)]), *(FEATURES if has_features else [])]
    litert = exported(model.query_tower(), declared, tmp_path)
    vectors = litert.vectors(asked)
    assert vectors.shape == (16, DIMENSION + bias)

    # The vectors of Keras, from the items' own: each history as training reads it, for every row of features.
    items = model.items(
        tf.where(np.arange(ITEMS) == 9, 0, np.arange(1, ITEMS + 1)),
        {name: np.resize(tensor, (ITEMS, *tensor.shape[1:])) for name, tensor in ROWS.items()},
    ).numpy()
    for number, history in enumerate(HISTORIES if tower.kind != "features" else [[]]):
        codes = np.array([[0, *(item + 1 for item in history)][-LENGTH:]] * 4, np.int32)
        read = np.where((codes > 0)[..., None], items[codes - 1], 0).astype(np.float32)
        users = np.arange(4, dtype=np.int32)
        if tower.kind == "history_transformer":
            users = np.broadcast_to(users[:, None], codes.shape)
        keras = model.queries(read, codes, users, ROWS if has_features else {}, training=False).numpy()
        last = keras.reshape(4, -1, DIMENSION)[:, -1]
        np.testing.assert_allclose(vectors[4 * number : 4 * number + 4, :DIMENSION], last, atol=1e-5)
    if bias:
        np.testing.assert_array_equal(vectors[:, -1], 1)

    np.testing.assert_allclose(model.query_tower().vectors(asked), vectors, atol=1e-5)
    alone = litert.vectors({name: tensor[5:6] for name, tensor in asked.items()})
    np.testing.assert_allclose(alone[0], vectors[5], atol=1e-6)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_new_items_are_placed_by_their_content_in_litert_as_in_keras(bias: bool, tmp_path: Path) -> None:
    model = random_model(HistoryBag(dimension=DIMENSION), has_features=False, bias=bias)
    tower = model.item_tower()
    assert tower is not None
    found = exported(tower, FEATURES, tmp_path).vectors(ROWS)
    nobody = tf.zeros(4, tf.int32)
    np.testing.assert_allclose(found[:, :DIMENSION], unit(model.items(nobody, ROWS)), atol=1e-5)
    if bias:
        np.testing.assert_allclose(found[:, -1], model.temperature * model.items.biases(nobody), rtol=1e-5)
    # An item of the catalogue that training never saw stands where a new one of the same content does.
    np.testing.assert_allclose(model.item_vectors()[9], found[9 % 4], atol=1e-5)
    assert np.abs(model.item_vectors()[5] - found[5 % 4]).max() > 1e-3


def test_a_score_is_the_cosine_and_what_the_bias_adds() -> None:
    model = random_model(HistoryBag(dimension=DIMENSION), has_features=True, bias=True)
    codes = tf.constant(np.arange(1, 9), tf.int32)
    vectors = model.item_vectors()
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :DIMENSION], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(vectors[:8, -1], model.temperature * model.items.biases(codes), rtol=1e-5)
