from collections.abc import Sequence
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
)
from bascule_server.encoder import encode_histories
from bascule_training.config import ItemConfig, TowerConfig
from bascule_training.towers import ItemTower, QueryTower, readable, unit

LENGTH = 5
ITEMS = 9
TOWER = TowerConfig(dimension=8, blocks=2, dropout=0.5)
FEATURES = [
    Feature(name="country", categorical=CategoricalFeature(size=3)),
    Feature(name="tags", multi_valued=MultiValuedFeature(size=4, max_count=3)),
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
    Feature(name="height", bucketed=BucketedFeature(boundaries=[1.5, 1.8])),
]
"""Every kind; the tensors below are as the encoder makes them."""
USERS = {
    "country": tf.constant([1, 3, 0]),
    "tags": tf.constant([[1, 2, 0], [0, 0, 0], [4, 0, 0]]),
    "age": tf.constant([0.5, -1.0, 0.0]),
    "height": tf.constant([1, 3, 0]),
}
TABLE = np.random.default_rng(0).normal(size=(1 + ITEMS, 8)).astype(np.float32)
"""What the query tower reads for each code; code 0 is the start."""


def with_random_weights(tower: Any) -> None:
    """So that nothing that begins at zero hides what it does."""
    random = np.random.default_rng(1)
    for variable in tower.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))


@pytest.fixture(scope="module")
def tower() -> QueryTower:
    tower = QueryTower([Feature(name="history", history=HistoryFeature(max_length=LENGTH)), *FEATURES], LENGTH, TOWER)
    after_each(tower, [[1] * LENGTH], [[0] * LENGTH])
    with_random_weights(tower)
    return tower


def after_each(tower: QueryTower, codes: Sequence[Sequence[int]], users: Sequence[Sequence[int]]) -> NDArray[Any]:
    """float32 [rows, length, dimension], the vectors of training."""
    owners = np.array(users, np.int32)
    visible = (owners[:, :, None] == owners[:, None, :]) & np.tril(np.ones((owners.shape[1],) * 2, bool))
    vectors: NDArray[Any] = tower(tf.constant(TABLE[np.array(codes)]), tf.constant(visible), USERS, owners).numpy()
    return vectors


def served(tower: QueryTower, histories: Sequence[Sequence[int]], users: Sequence[int]) -> NDArray[Any]:
    """float32 [rows, dimension], the vectors of serving, of histories of item rows."""
    encoded = tf.constant(encode_histories([np.array(history, np.int64) for history in histories], LENGTH))
    features = {name: tf.gather(tensor, users) for name, tensor in USERS.items()}
    vectors: NDArray[Any] = tower.last(tf.gather(TABLE, encoded), readable(encoded), features).numpy()
    return vectors


@pytest.mark.parametrize("user", [0, 1, 2])
@pytest.mark.parametrize("history", [[], [4], [4, 0, 8], [4, 0, 8, 1], [4, 0, 8, 1, 4]])
def test_serving_computes_what_training_computed(tower: QueryTower, history: list[int], user: int) -> None:
    # In training a user's positions begin with the start; a whole row of later ones is without it.
    codes = [0, *(row + 1 for row in history)][-LENGTH:]
    trained = after_each(tower, [codes], [[user] * len(codes)])[0, -1]
    np.testing.assert_allclose(served(tower, [history], [user])[0], trained, atol=1e-5)


def test_a_history_longer_than_the_tower_reads_counts_by_its_newest_items(tower: QueryTower) -> None:
    longer, newest = served(tower, [[7, 7, 4, 0, 8, 1, 2], [4, 0, 8, 1, 2]], [0, 0])
    np.testing.assert_allclose(longer, newest, atol=1e-6)


def test_queries_of_one_batch_change_nothing_for_each_other(tower: QueryTower) -> None:
    histories, users = [[], [4, 0], [8, 1, 2, 3, 5]], [0, 1, 2]
    alone = [served(tower, [history], [user])[0] for history, user in zip(histories, users, strict=True)]
    np.testing.assert_allclose(served(tower, histories, users), alone, atol=1e-6)


def test_what_comes_later_changes_nothing_before_it(tower: QueryTower) -> None:
    before = after_each(tower, [[0, 3, 1, 4, 2]], [[0] * LENGTH])
    changed = after_each(tower, [[0, 3, 1, 9, 2]], [[0] * LENGTH])
    np.testing.assert_array_equal(changed[0, :3], before[0, :3])
    assert np.abs(changed[0, 3:] - before[0, 3:]).max(axis=-1).min() > 1e-3


def test_another_user_in_the_row_changes_nothing(tower: QueryTower) -> None:
    users = [[0, 0, 1, 1, 1]]
    beside = after_each(tower, [[0, 3, 0, 4, 2]], users)
    beside_another = after_each(tower, [[7, 8, 0, 4, 2]], users)
    alone = after_each(tower, [[0, 4, 2]], [[1, 1, 1]])
    np.testing.assert_array_equal(beside_another[0, 2:], beside[0, 2:])
    np.testing.assert_allclose(beside[0, 2:], alone[0], atol=1e-6)


def test_the_order_of_a_history_matters(tower: QueryTower) -> None:
    one, other = served(tower, [[1, 2, 3], [2, 1, 3]], [0, 0])
    assert np.abs(one - other).max() > 1e-3


def test_each_feature_matters(tower: QueryTower) -> None:
    vectors = served(tower, [[1, 2]], [0])
    for name, tensor in USERS.items():
        other = {**{key: value[:1] for key, value in USERS.items()}, name: tensor[1:2]}
        encoded = tf.constant(encode_histories([np.array([1, 2])], LENGTH))
        changed = tower.last(tf.gather(TABLE, encoded), readable(encoded), other)
        assert np.abs(changed - vectors).max() > 1e-3, name


def test_all_vectors_have_length_1(tower: QueryTower) -> None:
    positions = after_each(tower, [[0, 3, 0, 4, 0]], [[0, 0, 1, 1, -1]])
    np.testing.assert_allclose(np.linalg.norm(positions, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(served(tower, [[], [2]], [0, 2]), axis=-1), 1, atol=1e-5)


def test_a_tower_of_one_block_serves_what_it_learned_too() -> None:
    tower = QueryTower([], LENGTH, TowerConfig(dimension=8, blocks=1))
    after_each(tower, [[0] * LENGTH], [[0] * LENGTH])
    with_random_weights(tower)
    trained = after_each(tower, [[0, 3, 9]], [[0, 0, 0]])[0, -1]
    np.testing.assert_allclose(served(tower, [[2, 8]], [0])[0], trained, atol=1e-5)


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


def test_a_unit_vector_keeps_its_direction() -> None:
    np.testing.assert_allclose(unit(tf.constant([[3.0, 4.0]])), [[0.6, 0.8]], atol=1e-6)


def test_the_zero_vector_has_no_direction_and_stays() -> None:
    assert unit(tf.zeros((1, 2))).numpy().tolist() == [[0.0, 0.0]]


CONTENTS = {name: tf.gather(tensor, [0, 0, 1]) for name, tensor in USERS.items()}
"""Of three items; the first two look alike."""


def item_tower(id_dropout: float = 0.0, features: Sequence[Feature] = FEATURES) -> ItemTower:
    tower = ItemTower(3, features, TOWER, ItemConfig(id_dropout=id_dropout))
    tower(tf.constant([1, 2, 3]), CONTENTS)
    return tower


def test_an_item_tower_begins_as_one_without_features() -> None:
    tower = item_tower()
    vectors = tower(tf.constant([1, 1, 1]), CONTENTS).numpy()
    np.testing.assert_array_equal(vectors[0], vectors[2])
    with_random_weights(tower)
    vectors = tower(tf.constant([1, 1, 1]), CONTENTS).numpy()
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_the_order_of_several_categories_and_what_fills_up_after_them_do_not_matter() -> None:
    tower = item_tower()
    with_random_weights(tower)
    alike = {**CONTENTS, "tags": tf.constant([[1, 2, 0], [2, 1, 0], [0, 2, 1]])}
    alike = {name: tensor if name == "tags" else tf.gather(tensor, [0, 0, 0]) for name, tensor in alike.items()}
    vectors = tower(tf.constant([0, 0, 0]), alike).numpy()
    np.testing.assert_allclose(vectors, vectors[[1, 2, 0]], atol=1e-6)


def test_a_hidden_id_leaves_the_features_alone() -> None:
    tower = item_tower(id_dropout=0.999_999)
    with_random_weights(tower)
    codes, unknown = tf.constant([1, 2, 3]), tf.zeros(3, tf.int32)
    np.testing.assert_array_equal(tower(codes, CONTENTS, training=True), tower(unknown, CONTENTS))
    assert np.abs(tower(codes, CONTENTS) - tower(unknown, CONTENTS)).max() > 1e-3


def test_without_features_no_id_is_hidden() -> None:
    tower = item_tower(id_dropout=0.999_999, features=[])
    codes = tf.constant([1, 2, 3])
    np.testing.assert_array_equal(tower(codes, {}, training=True), tower(codes, {}))
