from collections.abc import Sequence

import numpy as np
import pytest
import tensorflow as tf

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, MultiValuedFeature
from bascule_training.config import ItemConfig
from bascule_training.towers.item_tower import ItemTower, unit

FEATURES = [
    Feature(name="maker", categorical=CategoricalFeature(size=3)),
    Feature(name="tags", multi_valued=MultiValuedFeature(size=4, max_count=3)),
]
CONTENTS = {"maker": tf.constant([1, 1, 3]), "tags": tf.constant([[1, 2, 0], [1, 2, 0], [4, 0, 0]])}
"""Of three items; the first two look alike."""
CODES = tf.constant([1, 2, 3])
NOBODY = tf.zeros(3, tf.int32)


def item_tower(features: Sequence[Feature] = FEATURES, *, id_dropout: float = 0.0, bias: bool = True) -> ItemTower:
    """With all weights drawn, so that nothing that begins at zero hides what it does."""
    tower = ItemTower(3, features, 8, ItemConfig(id_dropout=id_dropout, bias=bias))
    tower(CODES, CONTENTS)
    random = np.random.default_rng(1)
    for variable in tower.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return tower


def weight(tower: ItemTower, name: str) -> tf.Variable:
    return next(variable.value for variable in tower.trainable_variables if variable.name == name)


def test_an_item_tower_begins_as_one_without_features() -> None:
    tower = ItemTower(3, FEATURES, 8, ItemConfig())
    vectors = tower(tf.constant([1, 1, 1]), CONTENTS).numpy()
    np.testing.assert_array_equal(vectors[0], vectors[2])


def test_a_vector_is_that_of_the_id_and_what_the_features_add() -> None:
    tower = item_tower()
    of_features = tower(NOBODY, CONTENTS) - weight(tower, "ids")[:1]
    np.testing.assert_allclose(tower(CODES, CONTENTS), weight(tower, "ids")[1:] + of_features, atol=1e-6)
    assert np.abs(of_features[0] - of_features[2]).max() > 1e-3


def test_items_whose_id_is_not_known_are_placed_by_their_features() -> None:
    vectors = item_tower()(NOBODY, CONTENTS).numpy()
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_a_hidden_id_leaves_the_features_alone() -> None:
    tower = item_tower(id_dropout=0.999_999)
    np.testing.assert_array_equal(tower(CODES, CONTENTS, training=True), tower(NOBODY, CONTENTS))
    assert np.abs(tower(CODES, CONTENTS) - tower(NOBODY, CONTENTS)).max() > 1e-3


def test_ids_are_hidden_as_often_as_said() -> None:
    tower = item_tower(id_dropout=0.25)
    alike = {name: tf.repeat(tensor[:1], 2_000, axis=0) for name, tensor in CONTENTS.items()}
    vectors = tower(tf.ones(2_000, tf.int32), alike, training=True).numpy()
    hidden = tower(NOBODY, CONTENTS)[0].numpy()
    # Four deviations of a share of 2,000 draws.
    assert np.mean(np.abs(vectors - hidden).max(axis=1) < 1e-5) == pytest.approx(0.25, abs=0.04)


def test_without_features_no_id_is_hidden() -> None:
    tower = item_tower([], id_dropout=0.999_999)
    np.testing.assert_array_equal(tower(CODES, {}, training=True), tower(CODES, {}))


def test_what_a_step_reads_alone_has_a_gradient() -> None:
    tower = item_tower([])
    ids, biases = weight(tower, "ids"), weight(tower, "biases")
    codes = tf.constant([3, 1, 3])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tower(codes, {}) ** 2) + tf.reduce_sum(tower.biases(codes) ** 2)
    for gradient in tape.gradient(loss, [ids, biases]):
        assert isinstance(gradient, tf.IndexedSlices)
        changed = np.flatnonzero(np.abs(tf.convert_to_tensor(gradient).numpy()).sum(axis=1))
        assert changed.tolist() == [1, 3]


def test_every_item_has_a_bias_or_none_has() -> None:
    tower = item_tower()
    assert tower.has_bias
    np.testing.assert_array_equal(tower.biases(tf.constant([2, 0])), weight(tower, "biases").numpy()[[2, 0], 0])
    without = item_tower(bias=False)
    assert not without.has_bias
    np.testing.assert_array_equal(without.biases(CODES), [0, 0, 0])


def test_a_unit_vector_keeps_its_direction() -> None:
    np.testing.assert_allclose(unit(tf.constant([[3.0, 4.0]])), [[0.6, 0.8]], atol=1e-6)


def test_the_zero_vector_has_no_direction_and_stays() -> None:
    assert unit(tf.zeros((1, 2))).numpy().tolist() == [[0.0, 0.0]]
