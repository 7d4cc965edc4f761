from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, StandardisedFeature
from bascule_server.scoring.encoder import encode_histories
from bascule_training.config import HistoryTransformer
from bascule_training.data.features import history_feature
from bascule_training.towers.history_transformer import HistoryTransformerTower, readable

LENGTH = 5
ITEMS = 9
FEATURES = [
    history_feature(LENGTH),
    Feature(name="country", categorical=CategoricalFeature(size=3)),
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
]
USERS = {"country": tf.constant([1, 3, 0]), "age": tf.constant([0.5, -1.0, 0.0])}
TABLE = np.random.default_rng(0).normal(size=(1 + ITEMS, 8)).astype(np.float32)
"""What the tower reads for each code; for code 0 it is not to be read."""


def random_tower(blocks: int, features: Sequence[Feature]) -> HistoryTransformerTower:
    """All weights drawn, so that nothing that begins at zero hides what it does."""
    config = HistoryTransformer(dimension=8, blocks=blocks, dropout=0.5)
    tower = HistoryTransformerTower(features, LENGTH, config)
    after_each(tower, [[1] * LENGTH], [[0] * LENGTH])
    random = np.random.default_rng(1)
    for variable in tower.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return tower


@pytest.fixture(scope="module")
def tower() -> HistoryTransformerTower:
    return random_tower(2, FEATURES)


def after_each(
    tower: HistoryTransformerTower, codes: Sequence[Sequence[int]], users: Sequence[Sequence[int]]
) -> NDArray[Any]:
    """float32 [rows, length, dimension], the vectors of training."""
    read = np.array(codes, np.int32)
    vectors = tower(tf.constant(TABLE[read]), tf.constant(read), tf.constant(users, tf.int32), USERS)
    found: NDArray[Any] = vectors.numpy().reshape(*read.shape, -1)
    return found


def served(tower: HistoryTransformerTower, histories: Sequence[Sequence[int]], users: Sequence[int]) -> NDArray[Any]:
    """float32 [rows, dimension], the vectors of serving, of histories of item rows."""
    encoded = tf.constant(encode_histories([np.array(history, np.int64) for history in histories], LENGTH))
    features = {name: tf.gather(tensor, users) for name, tensor in USERS.items()}
    vectors: NDArray[Any] = tower.serve(tf.gather(TABLE, encoded), encoded, features).numpy()
    return vectors


@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("features", [FEATURES, FEATURES[:1]], ids=["features", "history alone"])
def test_serving_computes_what_training_computed(blocks: int, features: Sequence[Feature]) -> None:
    tower = random_tower(blocks, features)
    for user, history in enumerate([[], [4, 0, 8, 1], [4, 0, 8, 1, 4]]):
        # In training a user's positions begin with the start; a whole row of later ones is without it.
        codes = [0, *(row + 1 for row in history)][-LENGTH:]
        trained = after_each(tower, [codes], [[user] * len(codes)])[0, -1]
        np.testing.assert_allclose(served(tower, [history], [user])[0], trained, atol=1e-5)


def test_users_packed_into_one_row_are_read_as_each_alone(tower: HistoryTransformerTower) -> None:
    packed = after_each(tower, [[0, 3, 0, 4, 2], [0, 0, 7, 8, 0]], [[0, 0, 1, 1, 1], [2, 1, 1, 1, -1]])
    expected = served(tower, [[2], [3, 1], [], [6, 7]], [0, 1, 2, 1])
    np.testing.assert_allclose(packed[[0, 0, 1, 1], [1, 4, 0, 3]], expected, atol=1e-5)


def test_another_user_in_the_row_changes_nothing(tower: HistoryTransformerTower) -> None:
    users = [[0, 0, 1, 1, 1]]
    beside = after_each(tower, [[0, 3, 0, 4, 2]], users)
    beside_another = after_each(tower, [[7, 8, 0, 4, 2]], users)
    np.testing.assert_array_equal(beside_another[0, 2:], beside[0, 2:])


def test_what_comes_later_changes_nothing_before_it(tower: HistoryTransformerTower) -> None:
    before = after_each(tower, [[0, 3, 1, 4, 2]], [[0] * LENGTH])
    changed = after_each(tower, [[0, 3, 1, 9, 2]], [[0] * LENGTH])
    np.testing.assert_array_equal(changed[0, :3], before[0, :3])
    assert np.abs(changed[0, 3:] - before[0, 3:]).max(axis=-1).min() > 1e-3


def test_a_history_longer_than_the_tower_reads_counts_by_its_newest_items(tower: HistoryTransformerTower) -> None:
    longer, newest = served(tower, [[7, 7, 4, 0, 8, 1, 2], [4, 0, 8, 1, 2]], [0, 0])
    np.testing.assert_allclose(longer, newest, atol=1e-6)


def test_queries_of_one_batch_change_nothing_for_each_other(tower: HistoryTransformerTower) -> None:
    histories, users = [[], [4, 0], [8, 1, 2, 3, 5]], [0, 1, 2]
    alone = [served(tower, [history], [user])[0] for history, user in zip(histories, users, strict=True)]
    np.testing.assert_allclose(served(tower, histories, users), alone, atol=1e-6)


def test_what_stands_in_the_padding_is_not_read(tower: HistoryTransformerTower) -> None:
    codes = tf.constant(encode_histories([np.array([2, 3]), np.array([], np.int64)], LENGTH))
    features = {name: tensor[:2] for name, tensor in USERS.items()}
    items = tf.gather(TABLE, codes)
    other = tf.where((codes == 0)[..., None], 100.0, items)
    np.testing.assert_array_equal(tower.serve(other, codes, features), tower.serve(items, codes, features))


def test_the_order_of_a_history_matters(tower: HistoryTransformerTower) -> None:
    one, other = served(tower, [[1, 2, 3], [2, 1, 3]], [0, 0])
    assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("name", list(USERS))
def test_each_feature_matters(tower: HistoryTransformerTower, name: str) -> None:
    codes = tf.constant(encode_histories([np.array([1, 2])], LENGTH))
    features = {**{key: value[:1] for key, value in USERS.items()}, name: USERS[name][1:2]}
    changed = tower.serve(tf.gather(TABLE, codes), codes, features)
    assert np.abs(changed - served(tower, [[1, 2]], [0])).max() > 1e-3


def test_all_vectors_have_length_1(tower: HistoryTransformerTower) -> None:
    positions = after_each(tower, [[0, 3, 0, 4, 0]], [[0, 0, 1, 1, -1]])
    np.testing.assert_allclose(np.linalg.norm(positions, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(served(tower, [[], [2]], [0, 2]), axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([0, 0, 0], [False, False, True]),
        ([0, 0, 7], [False, True, True]),
        ([0, 6, 7], [True, True, True]),
        ([5, 6, 7], [True, True, True]),
    ],
)
def test_the_start_stands_before_the_first_item_where_there_is_room(history: list[int], expected: list[bool]) -> None:
    assert readable(tf.constant([history])).numpy().tolist() == [expected]
