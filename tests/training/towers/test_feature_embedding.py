import numpy as np
import pytest
import tensorflow as tf

from bascule.v1.artifact_pb2 import (
    BucketedFeature,
    CategoricalFeature,
    Feature,
    MultiValuedFeature,
    StandardisedFeature,
    TextFeature,
)
from bascule_training.data.features import history_feature
from bascule_training.towers.feature_embedding import FeatureEmbedding

COUNTRY = Feature(name="country", categorical=CategoricalFeature(size=2))
AGE = Feature(name="age", bucketed=BucketedFeature(boundaries=[18, 65]))
TAGS = Feature(name="tags", multi_valued=MultiValuedFeature(size=2, max_count=3))
NOTE = Feature(name="note", text=TextFeature(buckets=4, max_count=3))
HEIGHT = Feature(name="height", standardised=StandardisedFeature(mean=0, deviation=1))


def embedding(*features: Feature) -> FeatureEmbedding:
    """Of one component, with 10 times the code for its vector."""
    layer = FeatureEmbedding(features, dimension=1)
    for table in layer.variables:
        table.assign(10.0 * np.arange(table.shape[0], dtype=np.float32)[:, None])
    return layer


@pytest.mark.parametrize(
    ("feature", "codes"),
    [(COUNTRY, [0, 1, 2]), (AGE, [0, 1, 2, 3]), (TAGS, [0, 1, 2]), (NOTE, [0, 1, 2, 3, 4])],
    ids=lambda value: value.name if isinstance(value, Feature) else "",
)
def test_every_code_has_a_vector_that_of_an_absent_value_too(feature: Feature, codes: list[int]) -> None:
    (table,) = FeatureEmbedding([feature], dimension=5).variables
    assert table.shape == (len(codes), 5)


def test_features_stand_beside_each_other_in_their_order() -> None:
    layer = embedding(AGE, COUNTRY, HEIGHT)
    tensors = {"country": tf.constant([2, 0]), "age": tf.constant([3, 1]), "height": tf.constant([-0.5, 1.5])}
    np.testing.assert_array_equal(layer(tensors), [[30, 20, -0.5], [10, 0, 1.5]])


@pytest.mark.parametrize("feature", [TAGS, NOTE], ids=["tags", "note"])
def test_of_several_codes_the_mean_is_taken_and_of_none_it_is_0(feature: Feature) -> None:
    codes = tf.constant([[1, 2, 0], [2, 0, 0], [0, 0, 0]])
    layer = embedding(feature)
    (table,) = layer.variables
    table.assign(table + 1.0)  # so that the vector of code 0 is not 0
    np.testing.assert_array_equal(layer({feature.name: codes}), [[16], [21], [0]])


def test_a_history_is_left_to_others() -> None:
    layer = embedding(history_feature(4), COUNTRY)
    np.testing.assert_array_equal(layer({"country": tf.constant([1]), "history": tf.zeros((1, 4), tf.int32)}), [[10]])
