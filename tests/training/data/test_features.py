import math

import polars as pl
import pytest

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_training.config import FeatureConfig
from bascule_training.data.features import FeaturesByUser, declare, feature_rows, history_feature
from bascule_training.data.tables import DataError

TABLE = pl.DataFrame(
    {
        "user_id": ["a", "b", "c", "d"],
        "country": ["SE", "FR", None, "SE"],
        "tags": [["x", "y"], [], None, ["y", "z"]],
        "age": [10, 20, None, 30],
        "is_member": [True, False, None, True],
    }
)


def declared(table: pl.DataFrame, **config: object) -> tuple[Feature, dict[str, list[str]]]:
    features, vocabularies = declare([FeatureConfig.model_validate(config)], table, "query")
    return features[0], vocabularies


def test_a_category_has_a_vocabulary_in_alphabetical_order() -> None:
    feature, vocabularies = declared(TABLE, name="country", kind="categorical")
    assert vocabularies == {"vocabularies/query/country.json": ["FR", "SE"]}
    assert feature.name == "country"
    assert feature.categorical.vocabulary == "vocabularies/query/country.json"
    assert feature.categorical.size == 2


def test_truth_values_are_categories() -> None:
    _, vocabularies = declared(TABLE, name="is_member", kind="categorical")
    assert list(vocabularies.values()) == [["false", "true"]]


def test_several_categories_share_one_vocabulary() -> None:
    feature, vocabularies = declared(TABLE, name="tags", kind="multi_valued", max_count=3)
    assert vocabularies == {"vocabularies/query/tags.json": ["x", "y", "z"]}
    assert (feature.multi_valued.size, feature.multi_valued.max_count) == (3, 3)


def test_a_number_is_standardised_by_mean_and_deviation_of_what_is_there() -> None:
    feature, vocabularies = declared(TABLE, name="age", kind="standardised")
    assert feature.standardised.mean == 20
    assert feature.standardised.deviation == pytest.approx(math.sqrt(200 / 3))
    assert vocabularies == {}


def test_equal_numbers_are_not_divided_by_zero() -> None:
    feature, _ = declared(pl.DataFrame({"age": [7, 7]}), name="age", kind="standardised")
    assert (feature.standardised.mean, feature.standardised.deviation) == (7, 1)


def test_buckets_hold_about_equal_numbers_of_rows() -> None:
    feature, _ = declared(pl.DataFrame({"age": range(1, 101)}), name="age", kind="bucketed", buckets=4)
    assert list(feature.bucketed.boundaries) == [25.75, 50.5, 75.25]


def test_buckets_that_would_be_the_same_are_one() -> None:
    feature, _ = declared(pl.DataFrame({"age": [1, 1, 1, 1, 9]}), name="age", kind="bucketed", buckets=4)
    assert list(feature.bucketed.boundaries) == [1.0]


def test_a_text_needs_no_vocabulary() -> None:
    feature, vocabularies = declared(TABLE, name="country", kind="text", buckets=100, max_count=7)
    assert (feature.text.buckets, feature.text.max_count) == (100, 7)
    assert vocabularies == {}


def test_what_a_configuration_leaves_open_depends_on_the_kind() -> None:
    numbers, _ = declared(pl.DataFrame({"age": range(1, 101)}), name="age", kind="bucketed")
    several, _ = declared(TABLE, name="tags", kind="multi_valued")
    text, _ = declared(TABLE, name="country", kind="text")
    assert len(numbers.bucketed.boundaries) == 9  # of 10 buckets
    assert several.multi_valued.max_count == 8
    assert (text.text.buckets, text.text.max_count) == (16_384, 32)


@pytest.mark.parametrize("kind", ["categorical", "multi_valued", "standardised", "bucketed", "text"])
def test_a_column_that_is_empty_throughout_can_be_declared_and_encoded(kind: str) -> None:
    features, vocabularies = declare(
        [FeatureConfig.model_validate({"name": "age", "kind": kind})], pl.DataFrame({"age": [None, None]}), "query"
    )
    encoded = FeaturesEncoder(features, vocabularies).encode([{}, {}])
    assert not encoded["age"].any()


def test_a_missing_column_is_named_with_those_that_there_are() -> None:
    with pytest.raises(DataError, match=r"the query feature 'city' is no column; there are 'user_id', 'country'"):
        declared(TABLE, name="city", kind="categorical")


@pytest.mark.parametrize(
    ("name", "kind", "complaint"),
    [
        ("age", "text", "the feature 'age' is text, but its column holds 10.0; expected text"),
        ("tags", "text", "the feature 'tags' is text, but its column holds .*; expected text"),
        ("age", "categorical", "the feature 'age' is categorical, but its column holds 10.0; expected text"),
        (
            "country",
            "multi_valued",
            "the feature 'country' is multi_valued, but its column holds 'SE'; expected a list",
        ),
        ("country", "standardised", "the feature 'country' is standardised, but its column holds 'SE'; expected a num"),
        ("tags", "bucketed", "the feature 'tags' is bucketed, but its column holds .*; expected a number"),
    ],
)
def test_a_column_of_another_kind_is_refused(name: str, kind: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        declared(TABLE, name=name, kind=kind)


def test_features_keep_the_order_of_the_configuration() -> None:
    configs = [FeatureConfig(name="age", kind="standardised"), FeatureConfig(name="country", kind="categorical")]
    assert [feature.name for feature in declare(configs, TABLE, "query").features] == ["age", "country"]


def test_the_history_is_a_feature_of_a_length() -> None:
    feature = history_feature(12)
    assert (feature.name, feature.history.max_length, feature.history.distinct) == ("history", 12, False)
    assert history_feature(12, distinct=True).history.distinct


def test_a_row_leaves_out_what_is_absent() -> None:
    assert feature_rows(TABLE, ["country", "tags", "age"]) == [
        {"country": "SE", "tags": ("x", "y"), "age": 10.0},
        {"country": "FR", "tags": (), "age": 20.0},
        {},
        {"country": "SE", "tags": ("y", "z"), "age": 30.0},
    ]


def test_rows_without_features_are_as_many_as_the_table_has() -> None:
    assert feature_rows(TABLE, []) == [{}, {}, {}, {}]


def test_the_features_of_a_user_are_those_of_their_row() -> None:
    names = ["country", "tags", "age", "is_member"]
    features = FeaturesByUser(TABLE, names)
    assert [features[user_id] for user_id in features] == feature_rows(TABLE, names)
    assert list(features) == ["a", "b", "c", "d"]
    assert "e" not in features
