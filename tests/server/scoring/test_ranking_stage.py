"""The second stage by hand, with a tower that reads what one can do in the head; then of a trained artifact."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf import json_format
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError, sha256
from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_server.scoring.query import FeatureValue, Query, Question, Rank, Ranking
from bascule_server.scoring.ranker_inputs import (
    LARGEST_NUMBER,
    NEWEST,
    NUMBERS,
    RankerInputs,
    RankerItems,
    read_ranker_items,
    write_ranker_items,
)
from bascule_server.scoring.ranking_stage import RankingStage
from bascule_server.servable import load_servable

DIRECTIONS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
ITEMS = RankerItems(
    np.array([[7], [5], [6], [9]], np.float32),
    {"kinds": np.array([[1, 2], [2, 0], [3, 0], [0, 0]], np.int32), "size": np.array([1, 2, 3, 6], np.float32)},
)
"""Of three kinds the first and the last have a quarter of the items each, and the second half of them."""


class Someone(NamedTuple):
    history: NDArray[np.int64]
    features: Mapping[str, FeatureValue]


class ItemNumber:
    """The score of a candidate is the item's number."""

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        return np.asarray(inputs[NUMBERS][:, 4:5], np.float32)


def made(found: Found, *history: int, candidate_count: int = 4) -> NDArray[np.float32]:
    inputs = RankerInputs(ITEMS, candidate_count)
    return inputs.of(found, Someone(np.array(history, np.int64), {}), DIRECTIONS.__getitem__)[NUMBERS]


def within(*values: float) -> list[float]:
    """In deviations from the mean."""
    return pytest.approx(((np.array(values) - np.mean(values)) / np.std(values)).tolist(), abs=1e-5)  # type: ignore[return-value]


def found(rows: list[int], scores: list[float]) -> Found:
    return Found(np.array(rows), np.array(scores, np.float32))


def test_a_candidate_stands_so_many_deviations_below_the_best() -> None:
    numbers = made(found([2, 0], [3, 1]))
    assert numbers[:, 0].tolist() == [0, -2]
    assert np.array_equal(made(found([2, 0], [30, 10])), numbers)


def test_the_deviation_is_that_of_the_candidates_however_many_more_are_asked_for() -> None:
    assert made(found([2, 0, 1], [3, 1, -5]), candidate_count=2)[:, 0].tolist() == [0, -2, -8]


def test_equal_scores_stand_equally() -> None:
    assert made(found([1, 2], [5, 5]))[:, 0].tolist() == [0, 0]


def test_likeness_is_the_largest_and_the_mean_cosine_with_the_history_and_that_with_the_last() -> None:
    numbers = made(found([2, 1, 0], [2, 1, 0]), 0, 3)
    assert numbers[:, 1].tolist() == within(0.8, 1, 1)
    assert numbers[:, 2].tolist() == within(0.7, 0.5, 0.5)
    assert numbers[:, 3].tolist() == within(0.8, 1, 0)
    assert made(found([2, 1], [1, 0]))[:, 1:4].tolist() == [[0, 0, 0], [0, 0, 0]]


def test_only_the_newest_items_of_a_history_are_compared() -> None:
    with_an_old_one = made(found([0, 2], [1, 0]), 0, *[1] * NEWEST)
    assert np.array_equal(with_an_old_one, made(found([0, 2], [1, 0]), *[1] * NEWEST))


def test_numbers_of_items_are_relative_to_the_list() -> None:
    assert made(found([3, 0, 2], [2, 1, 0]))[:, 4].tolist() == within(9, 7, 6)


def test_codes_tell_how_much_more_often_the_history_has_them() -> None:
    # The history is of the second kind alone, which half of the items have.
    assert made(found([0, 1, 2, 3], [3, 2, 1, 0]), 1)[:, 5].tolist() == within((0.5 - 0.25) / 2, 0.5, -0.25, 0)
    assert made(found([0, 1], [1, 0]))[:, 5].tolist() == [0, 0]


def test_a_number_tells_how_near_it_is_to_those_of_the_history() -> None:
    numbers = made(found([0, 1, 3], [2, 1, 0]), 1, 2)
    assert numbers[:, 6].tolist() == within(1, 2, 6)
    assert numbers[:, 7].tolist() == within(-1.5, -0.5, -3.5)


def test_what_is_equal_in_all_candidates_says_nothing_and_what_is_far_off_is_bounded() -> None:
    assert made(found([1], [1]), 0)[0].tolist() == [0] * ITEMS.number_count
    many = RankerItems(np.append(np.zeros(200, np.float32), np.float32(1))[:, None], {})
    rows = np.arange(201)
    numbers = RankerInputs(many, 201).of(
        Found(rows, -rows.astype(np.float32)), Someone(np.empty(0, np.int64), {}), lambda rows: DIRECTIONS[rows % 4]
    )[NUMBERS]
    assert numbers[:, 4].max() == LARGEST_NUMBER


DEVICE = FeaturesEncoder(
    [Feature(name="device", categorical=CategoricalFeature(vocabulary="device.json", size=2))],
    {"device.json": ["phone", "tv"]},
)


def with_device(rows: list[int], **features: str) -> dict[str, NDArray[Any]]:
    subject = Someone(np.empty(0, np.int64), features)
    directions = np.vstack([DIRECTIONS, [[1, 0]]]).astype(np.float32)
    return RankerInputs(ITEMS, 4, DEVICE).of(found(rows, [1.0] * len(rows)), subject, directions.__getitem__)


def test_the_context_is_that_of_all_candidates_and_beside_it_stands_what_each_of_them_is() -> None:
    inputs = with_device([2, 0], device="tv")
    assert set(inputs) == {NUMBERS, "context_device", "item_kinds", "item_size"}
    assert inputs["context_device"].tolist() == [2, 2]
    assert inputs["item_kinds"].tolist() == [[3, 0], [1, 2]]
    assert inputs["item_size"].tolist() == [3, 1]


def test_of_a_context_or_an_item_that_is_not_known_the_tensors_are_zero() -> None:
    # Behind the four items stands one that came later.
    for inputs in (with_device([4]), with_device([4], device="watch", age="of the user")):
        assert inputs["context_device"].tolist() == [0]
        assert (inputs["item_kinds"].tolist(), inputs["item_size"].tolist()) == ([[0, 0]], [0])


def test_without_a_context_only_the_numbers_are_made() -> None:
    nobody = Someone(np.empty(0, np.int64), {})
    assert set(RankerInputs(ITEMS, 4).of(found([1], [1]), nobody, DIRECTIONS.__getitem__)) == {NUMBERS}


def test_an_item_that_came_later_is_taken_as_the_least_popular() -> None:
    directions = np.vstack([DIRECTIONS, [[1, 0]]]).astype(np.float32)
    numbers = RankerInputs(ITEMS, 4).of(found([4, 0], [1, 0]), Someone(np.array([0]), {}), directions.__getitem__)[
        NUMBERS
    ]
    assert numbers[:, 4].tolist() == within(5, 7)


def test_the_stage_orders_by_its_tower_and_at_equal_scores_by_row() -> None:
    stage = RankingStage(RankerInputs(ITEMS, 4), ItemNumber(), 4)
    nobody = Someone(np.empty(0, np.int64), {})
    ranked = stage.ranked(found([1, 2, 3], [3, 2, 1]), nobody, DIRECTIONS.__getitem__)
    assert ranked.rows.tolist() == [3, 2, 1]
    assert ranked.scores.tolist() == within(9, 6, 5)
    assert not len(stage.ranked(found([], []), nobody, DIRECTIONS.__getitem__).rows)


def test_what_is_read_of_items_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_ranker_items(tmp_path / file_names.RANKER_ITEMS, ITEMS)
    read = read_ranker_items(tmp_path, 4)
    assert np.array_equal(read.numbers, ITEMS.numbers)
    for name, tensor in ITEMS.features.items():
        assert np.array_equal(read.features[name], tensor)
        assert read.features[name].dtype == tensor.dtype
    with pytest.raises(ArtifactError, match="expected 5 items"):
        read_ranker_items(tmp_path, 5)


@pytest.fixture
def copy(ranked_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ranked_folder, tmp_path / "tiny" / "1"))


def changed(folder: Path, *names: str) -> None:
    """Writes the manifest for the folder's files as they are now, as if they had been published so."""
    manifest = json_format.Parse((folder / file_names.MANIFEST).read_bytes(), Manifest())
    for file in [file for file in manifest.files if file.path in names]:
        path = folder / file.path
        if path.exists():
            file.size_bytes, file.sha256 = path.stat().st_size, sha256(path)
        else:
            manifest.files.remove(file)
    (folder / file_names.MANIFEST).write_text(json.dumps(json_format.MessageToDict(manifest)))


def test_a_vocabulary_of_the_context_that_is_none_fails_the_load(contextual_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(contextual_folder, tmp_path / "tiny" / "1"))
    path = "vocabularies/context/device.json"
    (copy / path).write_text('["phone"]')
    changed(copy, path)
    with pytest.raises(ArtifactError, match="the manifest says 2"):
        load_servable(copy)


@pytest.mark.parametrize("name", [file_names.RANKER, file_names.RANKER_ITEMS])
def test_a_missing_file_of_the_ranking_tower_fails_the_load(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_servable(copy)
    changed(copy, name)
    with pytest.raises(ArtifactError, match=name):
        load_servable(copy)


@pytest.mark.parametrize("name", [file_names.RANKER, file_names.RANKER_ITEMS])
def test_a_file_of_the_ranking_tower_that_is_none_fails_the_load(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"something else")
    changed(copy, name)
    with pytest.raises(ArtifactError, match=name):
        load_servable(copy)


def test_a_ranking_tower_that_answers_otherwise_than_in_training_fails_the_load(copy: Path) -> None:
    items = read_ranker_items(copy, 120)
    write_ranker_items(copy / file_names.RANKER_ITEMS, RankerItems(items.numbers[::-1], items.features))
    with np.load(copy / file_names.GOLDEN) as arrays:
        golden = dict(arrays)
    golden["ranked_scores"] = golden["ranked_scores"] + np.float32(0.01)
    np.savez(copy / file_names.GOLDEN, allow_pickle=False, **golden)
    changed(copy, file_names.RANKER_ITEMS, file_names.GOLDEN)
    with pytest.raises(ArtifactError, match="order by the ranking tower"):
        load_servable(copy)


def test_golden_queries_that_say_nothing_of_the_ranking_fail_the_load(copy: Path) -> None:
    with np.load(copy / file_names.GOLDEN) as arrays:
        golden = {name: array for name, array in arrays.items() if not name.startswith("ranked")}
    np.savez(copy / file_names.GOLDEN, allow_pickle=False, **golden)
    changed(copy, file_names.GOLDEN)
    with pytest.raises(ArtifactError, match="does not say how the ranking tower"):
        load_servable(copy)


def test_a_model_without_a_ranking_tower_answers_the_same_either_way(artifact_folder: Path) -> None:
    scorer = load_servable(artifact_folder).scorer
    answers = scorer.answer([Question(Query("u0"), Rank(skip_ranking=skip)) for skip in (False, True)])
    assert all(isinstance(answer, Ranking) and not answer.is_ranked for answer in answers)
    assert answers[0].item_ids == answers[1].item_ids  # type: ignore[union-attr]
