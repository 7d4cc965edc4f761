from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature
from bascule_training.config import HistoryBag
from bascule_training.data.features import history_feature
from bascule_training.towers.history_bag import HistoryBagTower

FEATURES = [history_feature(5, distinct=True), Feature(name="country", categorical=CategoricalFeature(size=3))]
USERS = {"country": tf.constant([1, 3, 0])}
TABLE = np.random.default_rng(0).normal(size=(10, 8)).astype(np.float32)
"""What the tower reads for each code; for code 0 it is not to be read."""


def random_tower(features: Sequence[Feature]) -> HistoryBagTower:
    """All weights drawn, so that nothing that begins at zero hides what it does."""
    tower = HistoryBagTower(features, HistoryBag(dimension=8, dropout=0.5))
    served(tower, [[1]])
    random = np.random.default_rng(1)
    for variable in tower.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return tower


@pytest.fixture(scope="module")
def tower() -> HistoryBagTower:
    return random_tower(FEATURES)


@pytest.fixture(scope="module")
def plain() -> HistoryBagTower:
    """Without features."""
    return random_tower(FEATURES[:1])


def served(tower: HistoryBagTower, codes: Sequence[Sequence[int]], users: Sequence[int] = (0,)) -> NDArray[Any]:
    """float32 [rows, dimension]."""
    features = {name: tf.gather(tensor, users) for name, tensor in USERS.items()}
    vectors: NDArray[Any] = tower.serve(tf.gather(TABLE, codes), tf.constant(codes), features).numpy()
    return vectors


def test_a_vector_is_the_direction_of_the_sum_of_the_items(plain: HistoryBagTower) -> None:
    total = TABLE[3] + TABLE[5]
    np.testing.assert_allclose(served(plain, [[0, 3, 5]])[0], total / np.linalg.norm(total), atol=1e-6)


@given(st.lists(st.integers(1, 9), max_size=5, unique=True), st.integers(0, 3), st.randoms(use_true_random=False))
def test_neither_order_nor_padding_matters(tower: HistoryBagTower, items: list[int], padding: int, random: Any) -> None:
    other = [*items, *[0] * padding]
    random.shuffle(other)
    np.testing.assert_allclose(served(tower, [other or [0]]), served(tower, [[0, *items]]), atol=1e-5)


def test_an_empty_history_is_read_as_the_start(tower: HistoryBagTower, plain: HistoryBagTower) -> None:
    start = next(variable for variable in plain.trainable_variables if variable.name == "start").numpy()
    np.testing.assert_allclose(served(plain, [[0, 0]])[0], start / np.linalg.norm(start), atol=1e-6)
    # Features still count, and items put the start aside.
    one, other = served(tower, [[0], [0]], [0, 1])
    assert np.abs(one - other).max() > 1e-3
    assert np.abs(served(plain, [[4]]) - served(plain, [[0]])).max() > 1e-3


def test_serving_computes_what_training_computed(tower: HistoryBagTower) -> None:
    codes, users = [[0, 3, 5], [0, 0, 0], [9, 8, 7]], [2, 0, 1]
    trained = tower(tf.gather(TABLE, codes), tf.constant(codes), tf.constant(users), USERS).numpy()
    np.testing.assert_allclose(served(tower, codes, users), trained, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(trained, axis=1), 1, atol=1e-5)


def test_training_drops_out_and_a_row_of_nobody_is_finite(tower: HistoryBagTower) -> None:
    codes, users = tf.zeros((200, 1), tf.int32), tf.fill([200], -1)
    vectors = tower(tf.gather(TABLE, codes), codes, users, USERS, training=True).numpy()
    assert np.isfinite(vectors).all()
    assert 0.4 < np.mean(vectors == 0) < 0.6
