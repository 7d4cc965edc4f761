from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature, StandardisedFeature
from bascule_server.scoring.encoder import HISTORY, QueryEncoder, encode_histories
from bascule_server.scoring.tower import LiteRtTower
from bascule_training.closed_form.linear_towers import LinearTowers
from bascule_training.data.features import history_feature
from bascule_training.evaluation.cases import cases_of
from bascule_training.fitting.concatenated import ConcatenatedTowers, covariance_root, joined, tuned_weights
from bascule_training.fitting.fit import Validation
from bascule_training.publishing.export import convert_to_litert, export_saved_model
from bascule_training.towers.two_towers import Tower, TwoTowers

ITEMS = 12
LENGTH = 4
QUERIES = {HISTORY: encode_histories([np.array([0]), np.array([3, 7]), np.array([1, 2, 5, 11])], LENGTH)}
CONTENT = [Feature(name="price", standardised=StandardisedFeature(mean=0, deviation=1))]


def random_branch(seed: int, dimension: int, scale: float = 1.0) -> LinearTowers:
    random = np.random.default_rng(seed)
    left, right = random.normal(scale=scale, size=(2, ITEMS, dimension)).astype(np.float32)
    return LinearTowers(left, right)


class PricedTowers(LinearTowers):
    """Places new items: the vector of one is all its price."""

    def item_tower(self) -> Tower | None:
        size = self.item_vectors().shape[1]

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            return tf.tile(inputs["price"][:, None], (1, size))

        return Tower(vectors, [])


def scores(towers: TwoTowers) -> NDArray[np.float32]:
    found: NDArray[np.float32] = towers.query_tower().vectors(QUERIES) @ towers.item_vectors().T
    return found


def joined_scores(branches: Sequence[TwoTowers], weights: Sequence[float]) -> NDArray[np.float32]:
    return scores(ConcatenatedTowers(branches, weights))


def test_a_score_is_the_weighted_sum_of_the_scores_of_the_branches_in_units_of_their_deviation() -> None:
    branches = [random_branch(1, 3), random_branch(2, 5, scale=100.0)]
    one, other = (scores(branch) / scores(branch).std(axis=1, keepdims=True) for branch in branches)
    np.testing.assert_allclose(joined_scores(branches, [1.0, 0.5]), one + 0.5 * other, rtol=1e-4, atol=1e-4)


def test_the_root_of_the_covariance_tells_the_deviation_of_scores() -> None:
    # Scores 1, 1, 3 and 3 of the first direction; of the second all alike.
    items = np.array([[1, 7], [1, 7], [3, 7], [3, 7]], np.float32)
    lengths = np.linalg.norm(np.array([[1, 0], [2, 0], [0, 5]], np.float32) @ covariance_root(items), axis=1)
    np.testing.assert_allclose(lengths, [1, 2, 0], atol=1e-5)


def test_branches_that_count_nothing_are_left_out_and_one_alone_is_as_it_was() -> None:
    kept, dropped, other = random_branch(1, 3), random_branch(2, 5), random_branch(3, 4)
    assert joined([dropped, kept], [0.0, 2.0]) is kept
    towers = joined([kept, dropped, other], [2.0, 0.0, 1.0])
    assert towers.item_vectors().shape == (ITEMS, 7)
    np.testing.assert_array_equal(scores(towers), joined_scores([kept, other], [2.0, 1.0]))


def test_branches_and_weights_are_as_many() -> None:
    with pytest.raises(ValueError, match="longer"):
        joined([random_branch(1, 3)], [1.0, 1.0])


def test_a_branch_with_nothing_to_tell_makes_nothing_infinite() -> None:
    silent = LinearTowers(np.zeros((ITEMS, 2), np.float32), np.ones((ITEMS, 2), np.float32))
    branch = random_branch(1, 3)
    np.testing.assert_array_equal(joined_scores([branch, silent], [1.0, 1.0]), joined_scores([branch], [1.0]))


def test_the_exported_tower_computes_the_same(tmp_path: Path) -> None:
    tower = ConcatenatedTowers([random_branch(1, 3), random_branch(2, 5)], [1.0, 0.5]).query_tower()
    export_saved_model(tmp_path / "tower", tower, [history_feature(LENGTH)])
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    found = LiteRtTower(tmp_path / "tower.tflite").vectors(QUERIES)
    np.testing.assert_allclose(found, tower.vectors(QUERIES), atol=1e-5)


def test_a_branch_that_cannot_place_new_items_says_nothing_of_them(tmp_path: Path) -> None:
    right = np.ones((ITEMS, 2), np.float32)
    tower = ConcatenatedTowers([random_branch(1, 3), PricedTowers(right, right)], [1.0, 1.0]).item_tower()
    assert tower is not None
    prices = {"price": np.array([0.5, -2.0], np.float32)}
    expected = np.array([[0, 0, 0, 0.5, 0.5], [0, 0, 0, -2, -2]], np.float32)
    np.testing.assert_array_equal(tower.vectors(prices), expected)
    export_saved_model(tmp_path / "tower", tower, CONTENT)
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    np.testing.assert_allclose(LiteRtTower(tmp_path / "tower.tflite").vectors(prices), expected, atol=1e-6)


def test_where_no_branch_can_place_new_items_nothing_does() -> None:
    assert ConcatenatedTowers([random_branch(1, 3), random_branch(2, 3)], [1.0, 1.0]).item_tower() is None


@pytest.fixture(scope="module")
def validation() -> Validation:
    """Users who had one item and turn to the next in a ring of 60."""
    ids = [str(row) for row in range(60)]
    before = pl.DataFrame({"user_id": ids, "item_id": ids})
    after = pl.DataFrame({"user_id": ids, "item_id": [*ids[1:], ids[0]]})
    return Validation(cases_of(before, after, ids), QueryEncoder([history_feature(LENGTH)], {}))


def ring(noise: float, seed: int) -> LinearTowers:
    """Knows the next item, as well as the noise lets it."""
    weights = np.roll(np.eye(60), 1, axis=1) + np.random.default_rng(seed).normal(scale=noise, size=(60, 60))
    return LinearTowers(weights.astype(np.float32), np.eye(60, dtype=np.float32))


def test_what_knows_more_counts_and_what_knows_nothing_does_not(validation: Validation) -> None:
    trained, knowing, knowing_nothing = ring(0.5, 1), ring(0.1, 2), ring(1e6, 3)
    own, first, second = tuned_weights([trained], [knowing, knowing_nothing], validation)
    assert own == 1.0
    assert first > 0
    assert second == 0.0


def test_a_branch_that_adds_nothing_is_left_out(validation: Validation) -> None:
    perfect = ring(0.0, 1)
    assert tuned_weights([perfect], [ring(0.5, 2)], validation) == [1.0, 0.0]


def test_the_chosen_weights_are_the_best_that_were_tried(validation: Validation) -> None:
    branches = [ring(0.5, 1), ring(0.5, 2)]
    best = validation.quality(joined(branches, tuned_weights(branches[:1], branches[1:], validation)))
    for weight in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0):
        assert best >= validation.quality(joined(branches, [1.0, weight]))


def test_a_frozen_branch_counts_beside_all_trained_ones_together(validation: Validation) -> None:
    trained, frozen = ring(0.5, 1), ring(0.5, 2)
    _, alone = tuned_weights([trained], [frozen], validation)
    assert tuned_weights([trained, trained], [frozen], validation) == [1.0, 1.0, 2 * alone]
