"""The ranking tower in training: what it reads by hand, and that it learns what retrieval cannot know."""

import json
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import read_manifest
from bascule_server.scoring.ranker_inputs import NUMBERS, read_ranker_items
from bascule_server.scoring.tower import LiteRtTower
from bascule_server.servable import load_servable
from bascule_training.config import ClosedFormTower, ConfigError, load_config
from bascule_training.data.histories import Histories
from bascule_training.evaluate import evaluate, log_of_config
from bascule_training.evaluation.metrics import OUTSIDE
from bascule_training.prepared import prepare
from bascule_training.publishing.export import convert_to_litert, export_ranker
from bascule_training.ranking.candidates import RankingCase, ranks_of
from bascule_training.ranking.fit import fitted_towers
from bascule_training.ranking.item_numbers import item_numbers
from bascule_training.ranking.tower import RankingTower, mean_tower
from bascule_training.trainer import Trainer

DAY = 86_400
USERS = count()
"""A case each."""


def test_an_item_is_described_by_how_often_it_was_had_of_late_and_for_how_long() -> None:
    histories = Histories(np.array([0, 0, 1], np.int32), np.array([0, 3]), np.array([0, 10, 10]) * DAY)
    numbers = item_numbers(histories, 3)
    assert np.allclose(np.expm1(numbers[:, 0]), [2, 1, 0])
    # Half-life 7 days, 10 days ago: 2^(-10/7).
    assert np.allclose(np.exp(numbers[:, 2]) - 1e-3, [1 + 2 ** (-10 / 7), 1, 0], atol=1e-6)
    # Of late by a half-life of 1 day, over that of 7.
    assert np.allclose(numbers[:, 4], [np.log(1.001 + 2**-10) - np.log(1.001 + 2 ** (-10 / 7)), 0, 0], atol=1e-6)
    assert np.allclose(np.expm1(numbers[:, 6]), [10, 0, 0])


def test_without_times_an_item_is_described_by_its_popularity_alone() -> None:
    numbers = item_numbers(Histories(np.array([1, 1], np.int32), np.array([0, 2])), 2)
    assert np.allclose(np.expm1(numbers), [[0], [2]])


def case(*columns: list[float], relevant: int, more: int = 0) -> RankingCase:
    numbers = np.array(columns, np.float32).T
    gains = (np.arange(len(numbers)) == relevant).astype(np.float32)
    return RankingCase({NUMBERS: numbers}, gains, 1 + more, next(USERS))


def test_what_was_not_retrieved_stands_nowhere_and_ties_count_against_the_model() -> None:
    ranks = ranks_of([case([0, -1, -1], relevant=1, more=1)], [np.array([3, 2, 2], np.float32)])
    assert ranks.values.tolist() == [3, OUTSIDE]


def test_a_ranking_tower_begins_as_retrieval() -> None:
    numbers = np.array([[0, 5], [-1, 9], [-2, 1]], np.float32)
    scores = RankingTower(2, seed=1).scores({NUMBERS: tf.constant(numbers)})
    assert scores.numpy()[:, 0].tolist() == [0, -1, -2]


def cases_where_the_second_number_tells(case_count: int = 80) -> list[RankingCase]:
    """Of four candidates that of the largest second number is the right one, at any place."""
    random = np.random.default_rng(7)
    seconds = [random.permutation(4).astype(float) for _ in range(case_count)]
    return [case([0, -1, -2, -3], second.tolist(), relevant=int(second.argmax())) for second in seconds]


def test_a_ranking_tower_learns_what_retrieval_does_not_know() -> None:
    cases = cases_where_the_second_number_tells(2_000)
    tower = mean_tower(fitted_towers(cases, 2, seed=1))
    best = [int(tower.vectors(each.inputs)[:, 0].argmax()) for each in cases]
    assert np.mean([each.is_relevant[place] for each, place in zip(cases, best, strict=True)]) > 0.95


def test_where_there_is_nothing_to_learn_retrieval_stays_as_it_is() -> None:
    first_is_right = [case([0, -1, -2], [1, 1, 1], relevant=0) for _ in range(12)]
    for cases in (first_is_right, []):
        scores = mean_tower(fitted_towers(cases, 2, seed=1)).vectors(first_is_right[0].inputs)
        assert scores[:, 0].tolist() == [0, -1, -2]


def test_equal_seeds_give_equal_towers() -> None:
    cases = cases_where_the_second_number_tells()
    one, same, other = (mean_tower(fitted_towers(cases, 2, seed=seed)) for seed in (1, 1, 2))
    weights = [np.concatenate([each.numpy().ravel() for each in tower.variables]) for tower in (one, same, other)]
    assert np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[0], weights[2])


def test_the_exported_tower_computes_the_same_row_by_row(tmp_path: Path) -> None:
    numbers = np.random.default_rng(3).normal(size=(40, 9)).astype(np.float32)
    cases = [case(*numbers.T.tolist(), relevant=each) for each in range(9)]
    tower = mean_tower(fitted_towers(cases, 9, seed=1))
    export_ranker(tmp_path / "saved", tower, 9)
    convert_to_litert(tmp_path / "saved", tmp_path / "ranker.tflite")
    exported = LiteRtTower(tmp_path / "ranker.tflite")
    scores = exported.vectors({NUMBERS: numbers})
    assert np.allclose(scores, tower.vectors({NUMBERS: numbers}), atol=1e-5)
    for row in range(40):
        assert exported.vectors({NUMBERS: numbers[row : row + 1]}) == scores[row]


def test_a_ranker_reads_the_features_of_items_that_it_is_told_or_those_of_the_item_tower(
    ranked_folder: Path, tiny_config: Path
) -> None:
    assert set(read_ranker_items(ranked_folder, 120).features) == {"genres", "year"}
    config = load_config(tiny_config, ['ranker.features=[{ name = "price", kind = "standardised" }]'])
    config = config.model_copy(update={"tower": ClosedFormTower(kind="popularity")})
    fitted = Trainer(config, prepare(config), tiny_config.parent / "none", resume=False, observe=lambda _: None).fit()
    assert fitted.ranker is not None
    (price,) = fitted.ranker.items.features.values()
    assert (str(price.dtype), len(price)) == ("float32", 120)


def test_a_ranker_is_none_unless_the_configuration_has_one(tiny_config: Path, artifact_folder: Path) -> None:
    assert load_config(tiny_config).ranker is None
    assert not read_manifest(artifact_folder).HasField("ranker")
    assert not (artifact_folder / file_names.RANKER).exists()
    with pytest.raises(ConfigError, match=r"ranker\.candidate_count"):
        load_config(tiny_config, ["ranker.candidate_count=9"])


def test_retrieval_and_ranking_are_reported_apart_and_together(ranked_folder: Path, tiny_config: Path) -> None:
    metrics = json.loads((ranked_folder / file_names.METRICS).read_text())
    assert {"tiny", "retrieval alone", "ranking"} <= metrics.keys()
    assert 0 < metrics["ranking"]["retrieved@30"] <= 1
    evaluated = evaluate(ranked_folder, log_of_config(load_config(tiny_config)))
    together, alone, _ = evaluated.evaluations
    assert together.summary["ndcg@10"] == metrics["tiny"]["ndcg@10"]
    assert (alone.name, alone.summary["ndcg@10"]) == ("retrieval alone", metrics["retrieval alone"]["ndcg@10"])
    assert load_servable(ranked_folder).manifest.metrics["ndcg@10"] == together.summary["ndcg@10"]
