"""What a tower reads is what the manifest declares: one code or number for each value, 0 for what is not known."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import (
    BucketedFeature,
    CategoricalFeature,
    Feature,
    HistoryFeature,
    MultiValuedFeature,
    StandardisedFeature,
    TextFeature,
)
from bascule_server.artifact.reading import ArtifactError
from bascule_server.scoring.encoder import (
    MAX_DEVIATIONS,
    BucketedEncoder,
    CategoricalEncoder,
    FeaturesEncoder,
    MultiValuedEncoder,
    QueryEncoder,
    StandardisedEncoder,
    TextEncoder,
    encode_histories,
    feature_encoder,
    history_length,
    read_vocabularies,
)
from bascule_server.scoring.query import FeatureValue

COUNTRY = Feature(name="country", categorical=CategoricalFeature(vocabulary="c.json", size=2))
AGE = Feature(name="age", standardised=StandardisedFeature(mean=40, deviation=10))
PRICE = Feature(name="price", bucketed=BucketedFeature(boundaries=[1, 2]))
TAGS = Feature(name="tags", multi_valued=MultiValuedFeature(vocabulary="t.json", size=3, max_count=2))
TITLE = Feature(name="title", text=TextFeature(buckets=2**14, max_count=4))
TITLE_CODES = [14255, 6752, 941, 4434]
"""Of `Red car`: 1 + the CRC-32 of ` red `, ` car `, ` red car ` and ` re`, modulo 16,384. They may never change."""
HISTORY = Feature(name="history", history=HistoryFeature(max_length=3))
VOCABULARIES = {"c.json": ["DE", "FR"], "t.json": ["new", "old", "sad"]}


@dataclass
class Somebody:
    """One whom the encoder is to read."""

    history: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    features: Mapping[str, FeatureValue] = field(default_factory=dict)


def test_a_category_becomes_one_more_than_its_place_and_an_unknown_one_0() -> None:
    codes = CategoricalEncoder(["DE", "FR"]).encode(["FR", "DE", "XX", None])
    assert codes.tolist() == [2, 1, 0, 0]
    assert codes.dtype == np.int32


def test_several_categories_keep_their_order_and_leave_out_what_is_unknown() -> None:
    codes = MultiValuedEncoder(["new", "old", "sad"], 2).encode([("sad", "new"), ("XX", "old"), (), None])
    assert codes.tolist() == [[3, 1], [2, 0], [0, 0], [0, 0]]
    assert codes.dtype == np.int32


def test_categories_beyond_the_count_are_ignored_after_unknown_ones_are_left_out() -> None:
    codes = MultiValuedEncoder(["new", "old", "sad"], 2).encode([("XX", "old", "sad", "new")])
    assert codes.tolist() == [[2, 3]]


def test_the_n_grams_of_a_text_become_codes_in_their_order_the_same_on_every_machine() -> None:
    codes = TextEncoder(2**14, 4).encode(["Red car", "RED: car!", "", None])
    assert codes.tolist() == [TITLE_CODES, TITLE_CODES, [0, 0, 0, 0], [0, 0, 0, 0]]
    assert codes.dtype == np.int32


def test_a_bucket_that_several_n_grams_share_is_read_once() -> None:
    assert TextEncoder(1, 3).encode(["red car"]).tolist() == [[1, 0, 0]]


def test_what_is_no_text_has_no_n_grams() -> None:
    assert TextEncoder(16, 2).encode([3.0, ("red", "car")]).tolist() == [[0, 0], [0, 0]]


@given(st.text(st.characters(codec=None)), st.integers(1, 2**20), st.integers(1, 12))
def test_any_text_becomes_distinct_codes_and_then_zeros(text: str, buckets: int, max_count: int) -> None:
    encoder = TextEncoder(buckets, max_count)
    (row,) = encoder.encode([text]).tolist()
    codes = [code for code in row if code]
    assert row == codes + [0] * (max_count - len(codes))
    assert len(set(codes)) == len(codes)
    assert all(1 <= code <= buckets for code in codes)
    assert encoder.knows(text) == bool(codes)


@given(st.text(), st.integers(1, 12))
def test_a_text_of_which_less_is_read_begins_alike(text: str, max_count: int) -> None:
    shorter, longer = (TextEncoder(2**14, count).encode([text])[0] for count in (max_count, 2 * max_count))
    assert longer[:max_count].tolist() == shorter.tolist()


def test_a_number_is_standardised_and_an_absent_one_is_0() -> None:
    numbers = StandardisedEncoder(40, 10).encode([40.0, 50.0, 25.0, None])
    assert numbers.tolist() == [0.0, 1.0, -1.5, 0.0]
    assert numbers.dtype == np.float32


@given(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(min_value=1e-300, allow_infinity=False),
)
def test_no_number_however_large_overflows(value: float, mean: float, deviation: float) -> None:
    (number,) = StandardisedEncoder(mean, deviation).encode([value])
    assert abs(number) <= MAX_DEVIATIONS


def test_a_number_falls_into_the_bucket_after_the_boundaries_that_it_is_not_below() -> None:
    buckets = BucketedEncoder([1.0, 2.0]).encode([0.5, 1.0, 1.5, 2.0, 9.0, None])
    assert buckets.tolist() == [1, 2, 2, 3, 3, 0]
    assert buckets.dtype == np.int32


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), unique=True, max_size=5).map(sorted),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_bucket_is_one_more_than_the_number_of_boundaries_reached(boundaries: list[float], value: float) -> None:
    assert BucketedEncoder(boundaries).encode([value]).tolist() == [1 + sum(value >= each for each in boundaries)]


def test_the_newest_items_of_a_history_stand_last_and_zeros_in_front() -> None:
    histories = [np.array([4, 5, 6, 7]), np.array([0]), np.empty(0, np.int64)]
    tensor = encode_histories(histories, 3)
    assert tensor.tolist() == [[6, 7, 8], [0, 0, 1], [0, 0, 0]]
    assert tensor.dtype == np.int32


@given(st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=5), st.integers(1, 6))
def test_a_history_loses_only_its_oldest_items(histories: list[list[int]], max_length: int) -> None:
    tensor = encode_histories([np.array(history, np.int64) for history in histories], max_length)
    assert tensor.shape == (len(histories), max_length)
    for row, history in zip(tensor.tolist(), histories, strict=True):
        newest = [1 + item for item in history][-max_length:]
        assert row == [0] * (max_length - len(newest)) + newest


def test_a_history_that_is_read_as_a_set_has_each_item_at_its_newest_place() -> None:
    histories = [np.array([4, 5, 4, 6, 6]), np.array([1, 2, 1]), np.array([3, 3]), np.empty(0, np.int64)]
    tensor = encode_histories(histories, 2, distinct=True)
    assert tensor.tolist() == [[5, 7], [3, 2], [0, 4], [0, 0]]
    assert tensor.dtype == np.int32


@given(st.lists(st.lists(st.integers(0, 9), max_size=20), max_size=5), st.integers(1, 12))
def test_a_set_of_items_is_the_newest_of_those_that_stand_nowhere_later(
    histories: list[list[int]], max_length: int
) -> None:
    tensor = encode_histories([np.array(history, np.int64) for history in histories], max_length, distinct=True)
    for row, history in zip(tensor.tolist(), histories, strict=True):
        last = [1 + item for place, item in enumerate(history) if item not in history[place + 1 :]][-max_length:]
        assert row == [0] * (max_length - len(last)) + last


@given(st.lists(st.lists(st.integers(0, 9), max_size=9, unique=True), max_size=5), st.integers(1, 6))
def test_a_history_without_repeats_is_the_same_as_a_set(histories: list[list[int]], max_length: int) -> None:
    arrays = [np.array(history, np.int64) for history in histories]
    np.testing.assert_array_equal(
        encode_histories(arrays, max_length, distinct=True), encode_histories(arrays, max_length)
    )


def test_only_what_the_tower_can_tell_from_nothing_counts_as_known() -> None:
    features = FeaturesEncoder([COUNTRY, AGE, PRICE, TAGS, TITLE, HISTORY], VOCABULARIES)
    known: Sequence[dict[str, FeatureValue]] = [
        {"country": "DE"},
        {"age": 0.0},
        {"price": 0.0},
        {"tags": ("XX", "old")},
        {"title": "never seen"},
    ]
    unknown: Sequence[dict[str, FeatureValue]] = [
        {},
        {"country": "XX"},
        {"tags": ("XX",)},
        {"tags": ()},
        {"title": "?"},
        {"shoe": 42.0},
    ]
    assert all(features.knows_any(values) for values in known)
    assert not any(features.knows_any(values) for values in unknown)
    assert features.knows_any({"country": "XX", "age": 30.0})


def test_each_declared_feature_has_its_tensor_whoever_has_it() -> None:
    encoder = QueryEncoder([COUNTRY, AGE, PRICE, TAGS, TITLE, HISTORY], VOCABULARIES)
    features: dict[str, FeatureValue] = {
        "country": "FR",
        "age": 50.0,
        "price": 1.5,
        "tags": ("old",),
        "title": "Red car",
    }
    tensors = encoder.encode([Somebody(), Somebody(np.array([1]), features)])
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {
        "country": [0, 2],
        "age": [0.0, 1.0],
        "price": [0, 2],
        "tags": [[0, 0], [2, 0]],
        "title": [[0, 0, 0, 0], TITLE_CODES],
        "history": [[0, 0, 0], [0, 0, 2]],
    }


def test_a_declared_set_of_items_is_encoded_as_one() -> None:
    somebody = Somebody(np.array([7, 8, 7]))
    as_set = Feature(name="history", history=HistoryFeature(max_length=3, distinct=True))
    assert QueryEncoder([as_set], {}).encode([somebody])["history"].tolist() == [[0, 9, 8]]
    assert QueryEncoder([HISTORY], {}).encode([somebody])["history"].tolist() == [[8, 9, 8]]


def test_a_tower_without_a_history_gets_no_tensor_of_it() -> None:
    assert history_length([COUNTRY]) == 0
    assert history_length([COUNTRY, HISTORY]) == 3
    assert list(QueryEncoder([AGE], {}).encode([Somebody(np.array([1]))])) == ["age"]


@given(
    st.lists(st.fixed_dictionaries({}, optional={"country": st.sampled_from(["DE", "XX"]), "age": st.integers(0, 99)}))
)
def test_a_row_is_encoded_alike_in_whatever_company(rows: list[dict[str, FeatureValue]]) -> None:
    encoder = FeaturesEncoder([COUNTRY, AGE], VOCABULARIES)
    together = encoder.encode(rows)
    for index, row in enumerate(rows):
        alone = encoder.encode([row])
        assert all(np.array_equal(alone[name][0], together[name][index]) for name in alone)


def test_a_kind_of_a_later_release_is_refused() -> None:
    with pytest.raises(ArtifactError, match="feature 'odd': got kind None"):
        feature_encoder(Feature(name="odd"), {})


def test_the_vocabularies_of_the_features_are_read_by_their_path(tmp_path: Path) -> None:
    for name, values in VOCABULARIES.items():
        (tmp_path / name).write_text(json.dumps(values), encoding="utf-8")
    assert read_vocabularies(tmp_path, [COUNTRY, AGE, PRICE, TAGS, HISTORY]) == VOCABULARIES


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not a vocabulary"),
        ('{"DE": 1}', "expected one JSON array of strings"),
        ('["DE", 1]', "expected one JSON array of strings"),
        ('["DE"]', "got 1 distinct values; the manifest says 2"),
        ('["DE", "DE"]', "got 1 distinct values; the manifest says 2"),
    ],
)
def test_a_file_that_is_not_the_vocabulary_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(ArtifactError, match=complaint):
        read_vocabularies(tmp_path, [COUNTRY])


def test_a_missing_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="not a vocabulary"):
        read_vocabularies(tmp_path, [COUNTRY])


@given(st.binary(max_size=64))
def test_any_bytes_are_a_vocabulary_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "c.json").write_bytes(content)
    try:
        vocabularies = read_vocabularies(folder, [COUNTRY])
    except ArtifactError:
        return
    assert len(vocabularies["c.json"]) == 2
