"""The second stage by hand, with a tower that reads what one can do in the head; then of a trained artifact."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature, Manifest, StandardisedFeature
from bascule_server import artifact
from bascule_server.artifact import ArtifactError
from bascule_server.encoder import FeaturesEncoder
from bascule_server.query import FeatureValue, Query, Question, Rank, Ranking
from bascule_server.ranker_inputs import NUMBERS, RankerInputs, RankerItems, read_ranker_items, write_ranker_items
from bascule_server.ranking_stage import RankingStage
from bascule_server.retrieval import Found
from bascule_server.servable import load_servable

DIRECTIONS = np.array([[1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
ITEMS = RankerItems(np.array([[7], [5], [6], [9]], np.float32), {"kind": np.array([1, 2, 3, 4], np.int32)})


class Someone(NamedTuple):
    history: NDArray[np.int64]
    features: Mapping[str, FeatureValue]


class LastNumber:
    """The score of a candidate is the last of its numbers, that of the item."""

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        return np.asarray(inputs[NUMBERS][:, -1:], np.float32)


def made(found: Found, *history: int, candidate_count: int = 4) -> dict[str, NDArray[Any]]:
    age = Feature(name="age", standardised=StandardisedFeature(mean=30, deviation=10))
    inputs = RankerInputs(ITEMS, FeaturesEncoder([age], {}), candidate_count)
    return inputs.of(found, Someone(np.array(history, np.int64), {"age": 40.0}), DIRECTIONS.__getitem__)


def found(rows: list[int], scores: list[float]) -> Found:
    return Found(np.array(rows), np.array(scores, np.float32))


def test_a_candidate_stands_so_many_deviations_below_the_best() -> None:
    numbers = made(found([2, 0], [3, 1]))[NUMBERS]
    assert numbers[:, 0].tolist() == [0, -2]
    assert np.array_equal(made(found([2, 0], [30, 10]))[NUMBERS], numbers)


def test_the_deviation_is_that_of_the_candidates_however_many_more_are_asked_for() -> None:
    standing = made(found([2, 0, 1], [3, 1, -5]), candidate_count=2)[NUMBERS][:, 0]
    assert standing.tolist() == [0, -2, -8]


def test_equal_scores_stand_equally() -> None:
    assert made(found([1, 2], [5, 5]))[NUMBERS][:, 0].tolist() == [0, 0]


def test_likeness_is_the_largest_and_the_mean_cosine_with_the_history() -> None:
    numbers = made(found([2, 1], [1, 0]), 0, 3)[NUMBERS]
    assert np.allclose(numbers[:, 1:3], [[0.8, 0.7], [1.0, 0.5]])
    assert made(found([2, 1], [1, 0]))[NUMBERS][:, 1:3].tolist() == [[0, 0], [0, 0]]


def test_only_the_newest_items_of_a_history_are_compared() -> None:
    assert made(found([0], [1]), 0, *[1] * 10)[NUMBERS][0, 1] == 0


def test_features_of_items_and_of_the_query_stand_beside_each_candidate() -> None:
    inputs = made(found([3, 0], [1, 0]))
    assert inputs[NUMBERS][:, 3].tolist() == [9, 7]
    assert inputs["item_kind"].tolist() == [4, 1]
    assert inputs["query_age"].tolist() == [1, 1]


def test_the_stage_orders_by_its_tower_and_at_equal_scores_by_row() -> None:
    inputs = RankerInputs(ITEMS, FeaturesEncoder([], {}), 4)
    stage = RankingStage(inputs, LastNumber(), 4)
    nobody = Someone(np.empty(0, np.int64), {})
    ranked = stage.ranked(found([1, 2, 3], [3, 2, 1]), nobody, DIRECTIONS.__getitem__)
    assert (ranked.rows.tolist(), ranked.scores.tolist()) == ([3, 2, 1], [9, 6, 5])
    assert not len(stage.ranked(found([], []), nobody, DIRECTIONS.__getitem__).rows)


def test_what_is_read_of_items_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_ranker_items(tmp_path / artifact.RANKER_ITEMS, ITEMS)
    read = read_ranker_items(tmp_path, 4)
    assert np.array_equal(read.numbers, ITEMS.numbers)
    assert {name: tensor.tolist() for name, tensor in read.features.items()} == {"kind": [1, 2, 3, 4]}
    with pytest.raises(ArtifactError, match="expected 5 items"):
        read_ranker_items(tmp_path, 5)


@pytest.fixture
def copy(ranked_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ranked_folder, tmp_path / "tiny" / "1"))


def changed(folder: Path, *names: str) -> None:
    """Writes the manifest for the folder's files as they are now, as if they had been published so."""
    manifest = json_format.Parse((folder / artifact.MANIFEST).read_bytes(), Manifest())
    for file in [file for file in manifest.files if file.path in names]:
        path = folder / file.path
        if path.exists():
            file.size_bytes, file.sha256 = path.stat().st_size, artifact.sha256(path)
        else:
            manifest.files.remove(file)
    (folder / artifact.MANIFEST).write_text(json.dumps(json_format.MessageToDict(manifest)))


@pytest.mark.parametrize("name", [artifact.RANKER, artifact.RANKER_ITEMS])
def test_a_missing_file_of_the_ranking_tower_fails_the_load(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        load_servable(copy)
    changed(copy, name)
    with pytest.raises(ArtifactError, match=name):
        load_servable(copy)


@pytest.mark.parametrize("name", [artifact.RANKER, artifact.RANKER_ITEMS])
def test_a_file_of_the_ranking_tower_that_is_none_fails_the_load(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"something else")
    changed(copy, name)
    with pytest.raises(ArtifactError, match=name):
        load_servable(copy)


def test_a_ranking_tower_that_answers_otherwise_than_in_training_fails_the_load(copy: Path) -> None:
    items = read_ranker_items(copy, 120)
    write_ranker_items(copy / artifact.RANKER_ITEMS, RankerItems(items.numbers[::-1], items.features))
    with np.load(copy / artifact.GOLDEN) as arrays:
        golden = dict(arrays)
    golden["ranked_scores"] = golden["ranked_scores"] + np.float32(0.01)
    np.savez(copy / artifact.GOLDEN, allow_pickle=False, **golden)
    changed(copy, artifact.RANKER_ITEMS, artifact.GOLDEN)
    with pytest.raises(ArtifactError, match="order by the ranking tower"):
        load_servable(copy)


def test_golden_queries_that_say_nothing_of_the_ranking_fail_the_load(copy: Path) -> None:
    with np.load(copy / artifact.GOLDEN) as arrays:
        golden = {name: array for name, array in arrays.items() if not name.startswith("ranked")}
    np.savez(copy / artifact.GOLDEN, allow_pickle=False, **golden)
    changed(copy, artifact.GOLDEN)
    with pytest.raises(ArtifactError, match="does not say how the ranking tower"):
        load_servable(copy)


def test_a_model_without_a_ranking_tower_answers_the_same_either_way(artifact_folder: Path) -> None:
    scorer = load_servable(artifact_folder).scorer
    answers = scorer.answer([Question(Query("u0"), Rank(skip_ranking=skip)) for skip in (False, True)])
    assert all(isinstance(answer, Ranking) and not answer.is_ranked for answer in answers)
    assert answers[0].item_ids == answers[1].item_ids  # type: ignore[union-attr]


@settings(max_examples=50, derandomize=True, deadline=None)
@given(users=st.lists(st.integers(0, 149), min_size=1, max_size=12), count=st.integers(1, 130))
def test_a_ranked_answer_is_the_same_alone_and_in_any_batch(ranked_folder: Path, users: list[int], count: int) -> None:
    scorer = load_ranked(ranked_folder)
    questions = [Question(Query(f"u{user}"), Rank(count)) for user in users]
    for question, together in zip(questions, scorer.answer(questions), strict=True):
        (alone,) = scorer.answer([question])
        assert isinstance(alone, Ranking)
        assert isinstance(together, Ranking)
        assert alone.is_ranked
        assert (alone.item_ids, alone.scores.tobytes()) == (together.item_ids, together.scores.tobytes())


_LOADED: dict[Path, Any] = {}


def load_ranked(folder: Path) -> Any:
    if folder not in _LOADED:
        _LOADED[folder] = load_servable(folder).scorer
    return _LOADED[folder]
