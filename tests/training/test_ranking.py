"""The ranking tower in training: what it reads by hand, and that it learns what retrieval cannot know."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bascule_server import artifact
from bascule_server.artifact import read_manifest
from bascule_server.ranker_inputs import NUMBERS
from bascule_server.servable import load_servable
from bascule_server.tower import LiteRtTower
from bascule_training.config import ConfigError, load_config
from bascule_training.evaluate import evaluate, log_of_config
from bascule_training.export import convert_to_litert, export_saved_model
from bascule_training.histories import Histories
from bascule_training.metrics import OUTSIDE
from bascule_training.ranking.candidates import RankingCase, ranks_of
from bascule_training.ranking.fit import best_epochs, fitted_tower
from bascule_training.ranking.item_numbers import item_numbers
from bascule_training.ranking.tower import RankingTower, ranker_features

DAY = 86_400


def test_an_item_is_described_by_how_often_it_was_had_of_late_and_for_how_long() -> None:
    histories = Histories(np.array([0, 0, 1], np.int32), np.array([0, 3]), np.array([0, 10, 10]) * DAY)
    numbers = item_numbers(histories, 3)
    assert np.allclose(np.expm1(numbers[:, 0]), [2, 1, 0])
    # Half-life 10 days: the item 0 has 1/2 + 1, the item 1 has 1; the mean of the three is 2.5 / 3.
    assert np.allclose(np.exp(numbers[:, 3]) - 1e-3, [1.8, 1.2, 0], atol=1e-6)
    assert np.allclose(np.expm1(numbers[:, 5]), [10, 0, 0])


def test_without_times_an_item_is_described_by_its_popularity_alone() -> None:
    numbers = item_numbers(Histories(np.array([1, 1], np.int32), np.array([0, 2])), 2)
    assert np.allclose(np.expm1(numbers), [[0], [2]])


def case(*columns: list[float], relevant: int, more: int = 0) -> RankingCase:
    numbers = np.array(columns, np.float32).T
    return RankingCase({NUMBERS: numbers}, np.arange(len(numbers)) == relevant, 1 + more)


def test_what_was_not_retrieved_stands_nowhere_and_ties_count_against_the_model() -> None:
    ranks = ranks_of([case([0, -1, -1], relevant=1, more=1)], [np.array([3, 2, 2], np.float32)])
    assert ranks.values.tolist() == [3, OUTSIDE]


def test_a_ranking_tower_begins_as_retrieval() -> None:
    numbers = np.array([[0, 5], [-1, 9], [-2, 1]], np.float32)
    scores = RankingTower([], numbers, seed=1).scores({NUMBERS: tf.constant(numbers)})
    assert scores.numpy()[:, 0].tolist() == [0, -1, -2]


def cases_where_the_second_number_tells(count: int = 80) -> list[RankingCase]:
    """Of four candidates that of the largest second number is the right one, at any place."""
    random = np.random.default_rng(7)
    seconds = [random.permutation(4).astype(float) for _ in range(count)]
    return [case([0, -1, -2, -3], second.tolist(), relevant=int(second.argmax())) for second in seconds]


def test_a_ranking_tower_learns_what_retrieval_does_not_know() -> None:
    cases = cases_where_the_second_number_tells()
    epochs = best_epochs(cases, [], seed=1)
    assert epochs > 0
    scores = fitted_tower(cases, [], epochs, seed=1).scores
    best = [int(scores({NUMBERS: tf.constant(each.inputs[NUMBERS])}).numpy()[:, 0].argmax()) for each in cases]
    assert np.mean([each.is_relevant[place] for each, place in zip(cases, best, strict=True)]) > 0.95


def test_where_there_is_nothing_to_learn_retrieval_stays_as_it_is() -> None:
    first_is_right = [case([0, -1, -2], [1, 1, 1], relevant=0) for _ in range(12)]
    assert best_epochs(first_is_right, [], seed=1) == 0
    assert best_epochs([], [], seed=1) == 0


def test_equal_seeds_give_equal_towers() -> None:
    cases = cases_where_the_second_number_tells()
    one, same, other = (fitted_tower(cases, [], 2, seed=seed) for seed in (1, 1, 2))
    weights = [np.concatenate([each.numpy().ravel() for each in tower.variables]) for tower in (one, same, other)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_the_exported_tower_computes_the_same_row_by_row(ranked_folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(ranked_folder)
    features = ranker_features(manifest.query_features, manifest.item_features)
    assert [each.name for each in features] == ["query_country", "query_age", "item_genres", "item_year"]
    random = np.random.default_rng(3)
    numbers = random.normal(size=(40, 9)).astype(np.float32)
    inputs = {
        NUMBERS: numbers,
        "query_country": random.integers(0, 3, 40).astype(np.int32),
        "query_age": random.normal(size=40).astype(np.float32),
        "item_genres": random.integers(0, 4, (40, 8)).astype(np.int32),
        "item_year": random.integers(0, 9, 40).astype(np.int32),
    }
    tower = RankingTower(features, numbers, seed=1).tower()
    export_saved_model(tmp_path / "saved", tower, features, 9)
    convert_to_litert(tmp_path / "saved", tmp_path / "ranker.tflite")
    exported = LiteRtTower(tmp_path / "ranker.tflite")
    scores = exported.vectors(inputs)
    assert np.allclose(scores, tower.vectors(inputs), atol=1e-5)
    for row in range(40):
        assert exported.vectors({name: tensor[row : row + 1] for name, tensor in inputs.items()}) == scores[row]


def test_a_ranker_is_none_unless_the_configuration_has_one(tiny_config: Path, artifact_folder: Path) -> None:
    assert load_config(tiny_config).ranker is None
    assert not read_manifest(artifact_folder).HasField("ranker")
    assert not (artifact_folder / artifact.RANKER).exists()
    with pytest.raises(ConfigError, match=r"ranker\.candidate_count"):
        load_config(tiny_config, ["ranker.candidate_count=9"])


def test_retrieval_and_ranking_are_reported_apart_and_together(ranked_folder: Path, tiny_config: Path) -> None:
    metrics = json.loads((ranked_folder / artifact.METRICS).read_text())
    assert {"tiny", "retrieval alone", "ranking"} <= metrics.keys()
    assert 0 < metrics["ranking"]["retrieved@30"] <= 1
    evaluated = evaluate(ranked_folder, log_of_config(load_config(tiny_config)))
    together, alone, _ = evaluated.evaluations
    assert together.summary["ndcg@10"] == metrics["tiny"]["ndcg@10"]
    assert (alone.name, alone.summary["ndcg@10"]) == ("retrieval alone", metrics["retrieval alone"]["ndcg@10"])
    assert load_servable(ranked_folder).manifest.metrics["ndcg@10"] == together.summary["ndcg@10"]
