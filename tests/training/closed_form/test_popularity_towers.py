from pathlib import Path

import numpy as np

from bascule_server.scoring.encoder import HISTORY
from bascule_server.scoring.tower import LiteRtTower
from bascule_training.closed_form.popularity_towers import PopularityTowers
from bascule_training.data.features import history_feature
from bascule_training.publishing.export import convert_to_litert, export_saved_model

COUNTS = np.array([4, 0, 100, 1, 25], np.float32)
QUERIES = {HISTORY: np.array([[0, 0, 1], [3, 2, 1]], np.int32)}


def test_the_scores_are_roots_of_the_shares_for_everybody() -> None:
    towers = PopularityTowers(COUNTS)
    scores = towers.query_tower().vectors(QUERIES) @ towers.item_vectors().T
    np.testing.assert_allclose(scores, [[0.2, 0.001, 1.0, 0.1, 0.5]] * 2, rtol=1e-6)


def test_beside_other_components_it_makes_no_items_alike() -> None:
    others = np.eye(5, dtype=np.float32)
    beside = np.concatenate([others, PopularityTowers(COUNTS).item_vectors()], axis=1)
    np.testing.assert_allclose(beside @ beside.T, np.eye(5), atol=1e-5)


def test_the_exported_tower_computes_the_same(tmp_path: Path) -> None:
    tower = PopularityTowers(COUNTS).query_tower()
    export_saved_model(tmp_path / "tower", tower, [history_feature(3)])
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    np.testing.assert_allclose(LiteRtTower(tmp_path / "tower.tflite").vectors(QUERIES), tower.vectors(QUERIES))


def test_new_items_cannot_be_placed() -> None:
    assert PopularityTowers(COUNTS).item_tower() is None
