import numpy as np
import pytest
import tensorflow as tf

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, StandardisedFeature
from bascule_training.config import UserFeatures
from bascule_training.towers.features_tower import FeaturesTower

FEATURES = [
    Feature(name="country", categorical=CategoricalFeature(size=3)),
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
]
USERS = {"country": tf.constant([1, 3, 0]), "age": tf.constant([0.5, -1.0, 0.0])}
CODES = tf.zeros((3, 1), tf.int32)
ITEMS = tf.zeros((3, 1, 8))


@pytest.fixture(scope="module")
def tower() -> FeaturesTower:
    tower = FeaturesTower(FEATURES, UserFeatures(dimension=8, dropout=0.5))
    tower.serve(ITEMS, CODES, USERS)
    random = np.random.default_rng(1)
    for variable in tower.trainable_variables:
        variable.assign(random.normal(scale=0.5, size=variable.shape))
    return tower


def test_it_begins_as_one_vector_for_all() -> None:
    tower = FeaturesTower(FEATURES, UserFeatures(dimension=8))
    vectors = tower.serve(ITEMS, CODES, USERS).numpy()
    np.testing.assert_array_equal(vectors[0], vectors[1])


def test_users_with_other_features_have_other_vectors_of_length_1(tower: FeaturesTower) -> None:
    vectors = tower.serve(ITEMS, CODES, USERS).numpy()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3


def test_no_history_is_read(tower: FeaturesTower) -> None:
    expected = tower.serve(ITEMS, CODES, USERS)
    np.testing.assert_array_equal(tower.serve(ITEMS + 1.0, CODES + 1, USERS), expected)


def test_serving_computes_what_training_computed(tower: FeaturesTower) -> None:
    trained = tower(ITEMS, CODES, tf.constant([2, 0, 1]), USERS).numpy()
    np.testing.assert_allclose(trained, tower.serve(ITEMS, CODES, USERS).numpy()[[2, 0, 1]], atol=1e-6)


def test_a_row_of_nobody_is_finite(tower: FeaturesTower) -> None:
    assert np.isfinite(tower(ITEMS, CODES, tf.constant([-1, -1, 0]), USERS, training=True)).all()
