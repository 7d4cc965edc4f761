from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, MultiValuedFeature, StandardisedFeature
from bascule_server.scoring.encoder import HISTORY, encode_histories
from bascule_server.scoring.tower import LiteRtTower
from bascule_training.closed_form.linear_towers import LinearTowers, factored
from bascule_training.data.features import history_feature
from bascule_training.publishing.export import convert_to_litert, export_saved_model

LENGTH, ITEMS, DIMENSION = 4, 6, 3
LEFT, RIGHT = np.random.default_rng(1).normal(size=(2, ITEMS, DIMENSION)).astype(np.float32)
HISTORIES = [[], [5], [2, 0, 3], [0, 1, 2, 3]]
X = np.array([[0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1], [1, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0]], np.float32)
"""The same, a column an item."""

FEATURES = [
    history_feature(LENGTH, distinct=True),
    Feature(name="country", categorical=CategoricalFeature(size=2)),
    Feature(name="tags", multi_valued=MultiValuedFeature(size=3, max_count=2)),
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
]
COUNTRY = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0]], np.float32)
TAGS = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 10], [0, 0, 100]], np.float32)


def codes(histories: Sequence[Sequence[int]]) -> NDArray[np.int32]:
    return encode_histories([np.array(history, np.int64) for history in histories], LENGTH, distinct=True)


def test_scores_are_the_dense_product() -> None:
    towers = LinearTowers(LEFT, RIGHT)
    scores = towers.query_tower().vectors({HISTORY: codes(HISTORIES)}) @ towers.item_vectors().T
    np.testing.assert_allclose(scores, X @ LEFT @ RIGHT.T, atol=1e-5)


def test_categories_add_up_and_a_feature_without_any_is_not_read() -> None:
    tower = LinearTowers(LEFT, RIGHT, FEATURES, {"country": COUNTRY, "tags": TAGS}).query_tower()
    inputs = {
        HISTORY: codes([[], [], []]),
        "country": np.array([0, 1, 2], np.int32),
        "tags": np.array([[0, 0], [3, 0], [2, 1]], np.int32),
    }
    assert tower.vectors(inputs).tolist() == [[0, 0, 0], [1, 0, 100], [0, 2, 11]]


def test_the_exported_file_computes_the_same(tmp_path: Path) -> None:
    towers = LinearTowers(LEFT, RIGHT, FEATURES, {"country": COUNTRY, "tags": TAGS})
    export_saved_model(tmp_path / "tower", towers.query_tower(), FEATURES)
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    inputs = {
        HISTORY: codes(HISTORIES),
        "country": np.array([0, 1, 2, 0], np.int32),
        "tags": np.array([[0, 0], [3, 0], [2, 1], [1, 3]], np.int32),
        "age": np.array([0, 1, -1, 9], np.float32),
    }
    served = LiteRtTower(tmp_path / "tower.tflite").vectors(inputs)
    features = COUNTRY[inputs["country"]] + TAGS[inputs["tags"]].sum(axis=1)
    np.testing.assert_allclose(served @ towers.item_vectors().T, (X @ LEFT + features) @ RIGHT.T, rtol=1e-5, atol=1e-5)


def test_new_items_cannot_be_placed() -> None:
    assert LinearTowers(LEFT, RIGHT).item_tower() is None


@pytest.fixture(scope="module")
def weights() -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=(ITEMS, ITEMS)).astype(np.float32)


@pytest.mark.parametrize("dimension", [ITEMS, ITEMS + 9])
def test_at_full_dimension_the_weights_are_kept_exactly(weights: NDArray[np.float32], dimension: int) -> None:
    left, right = factored(weights, dimension)
    np.testing.assert_array_equal(left @ right.T, weights)


@pytest.mark.parametrize("dimension", [1, 4, 5])
def test_else_they_are_the_nearest_of_their_rank(weights: NDArray[np.float32], dimension: int) -> None:
    left, right = factored(weights, dimension)
    assert left.shape == right.shape == (ITEMS, dimension)
    # The squared distance of the nearest is the sum of the squares of the values left out.
    dropped = np.linalg.svd(weights, compute_uv=False)[dimension:]
    assert np.sum((left @ right.T - weights) ** 2) == pytest.approx(np.sum(dropped**2), rel=1e-4)
