"""What a ranking tower reads of the context: declared once, learned, exported, and asked for in evaluation alike."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, MultiValuedFeature, StandardisedFeature
from bascule_server.artifact.reading import read_manifest
from bascule_server.scoring.golden import read_golden
from bascule_server.scoring.ranker_inputs import NUMBERS
from bascule_server.scoring.tower import LiteRtTower
from bascule_training.config import FeatureConfig, load_config
from bascule_training.data.tables import DataError
from bascule_training.evaluate import evaluate, log_of_config, log_of_files
from bascule_training.publishing.export import convert_to_litert, export_ranker
from bascule_training.ranking.candidates import RankingCase
from bascule_training.ranking.context import Context
from bascule_training.ranking.fit import fitted_towers
from bascule_training.ranking.tower import RankingTower, mean_tower
from bascule_training.towers.two_towers import Tower

DEVICE = Feature(name="device", categorical=CategoricalFeature(size=2))
KIND = Feature(name="kind", categorical=CategoricalFeature(size=2))
CONTEXT = 'ranker.context=[{ name = "device", kind = "categorical" }, { name = "hour", kind = "bucketed" }]'


def on(device: int, kinds: list[int], relevant: int, user: int = 0) -> RankingCase:
    """Candidates of kinds, on a device, of which one is right; retrieval has them in their order."""
    numbers = -np.arange(len(kinds), dtype=np.float32)[:, None]
    inputs = {
        NUMBERS: numbers,
        "context_device": np.full(len(kinds), device, np.int32),
        "item_kind": np.array(kinds, np.int32),
    }
    return RankingCase(inputs, (np.arange(len(kinds)) == relevant).astype(np.float32), 1, user)


def best(tower: Tower, case: RankingCase) -> int:
    return int(tower.vectors(case.inputs)[:, 0].argmax())


def test_the_tower_learns_what_goes_with_which_context() -> None:
    random = np.random.default_rng(5)
    cases = []
    for user in range(400):
        device, kinds = int(random.integers(1, 3)), random.permutation([1, 1, 2, 2]).tolist()
        cases.append(on(device, kinds, relevant=kinds.index(device), user=user))
    tower = mean_tower(fitted_towers(cases, 1, [DEVICE], [KIND], seed=1))
    assert [best(tower, on(device, [1, 2], 0)) for device in (1, 2)] == [0, 1]
    assert [best(tower, on(device, [2, 1], 0)) for device in (1, 2)] == [1, 0]


def test_the_tower_learns_in_which_context_a_number_counts() -> None:
    random, cases = np.random.default_rng(6), []
    for user in range(400):
        device, second = int(random.integers(1, 3)), random.permutation(4).astype(np.float32)
        case = on(device, [1] * 4, relevant=int(second.argmax()) if device == 2 else 0, user=user)
        cases.append(case._replace(inputs={**case.inputs, NUMBERS: np.column_stack([case.inputs[NUMBERS], second])}))
    tower = mean_tower(fitted_towers(cases, 2, [DEVICE], seed=1))
    assert np.mean([case.is_relevant[best(tower, case)] for case in cases]) > 0.9


def test_a_tower_that_reads_the_context_begins_as_retrieval() -> None:
    tower = mean_tower([RankingTower(1, [DEVICE], [KIND], seed=1)])
    assert tower.vectors(on(1, [2, 1, 1], 0).inputs)[:, 0].tolist() == [0, -1, -2]


def test_the_exported_tower_computes_the_same_for_every_kind_of_feature(tmp_path: Path) -> None:
    tags = Feature(name="tags", multi_valued=MultiValuedFeature(size=3, max_count=2))
    warmth = Feature(name="warmth", standardised=StandardisedFeature(deviation=1))
    ranking_tower = RankingTower(2, [DEVICE, tags, warmth], [KIND, tags], seed=1)
    random = np.random.default_rng(2)
    for variable in ranking_tower.variables:
        variable.assign(random.normal(size=variable.shape))
    tower = mean_tower([ranking_tower])
    export_ranker(tmp_path / "saved", tower, 2, [DEVICE, tags, warmth], [KIND, tags])
    convert_to_litert(tmp_path / "saved", tmp_path / "ranker.tflite")
    exported = LiteRtTower(tmp_path / "ranker.tflite")
    inputs: dict[str, NDArray[np.generic]] = {
        NUMBERS: random.normal(size=(40, 2)).astype(np.float32),
        "context_device": random.integers(0, 3, 40).astype(np.int32),
        "context_tags": random.integers(0, 4, (40, 2)).astype(np.int32),
        "context_warmth": random.normal(size=40).astype(np.float32),
        "item_kind": random.integers(0, 3, 40).astype(np.int32),
        "item_tags": random.integers(0, 4, (40, 2)).astype(np.int32),
    }
    scores = exported.vectors(inputs)
    assert np.allclose(scores, tower.vectors(inputs), atol=1e-4)
    for row in range(40):
        assert exported.vectors({name: tensor[row : row + 1] for name, tensor in inputs.items()}) == scores[row]


def test_the_context_is_declared_from_what_the_tower_learns_from() -> None:
    rows = pl.DataFrame({"device": ["tv", "phone", None], "hour": [1.0, 2.0, 3.0], "user_id": ["a", "b", "c"]})
    context = Context.of([FeatureConfig(name="device", kind="categorical")], rows)
    assert context.declared.vocabularies == {"vocabularies/context/device.json": ["phone", "tv"]}
    assert (context.names, context.rows.columns) == (["device"], ["device"])
    assert Context.of([], rows).encoder() is None


def test_the_manifest_declares_the_context_and_golden_queries_have_one(contextual_folder: Path) -> None:
    manifest = read_manifest(contextual_folder)
    assert [feature.name for feature in manifest.ranker.context] == ["device", "hour"]
    assert "vocabularies/context/device.json" in [file.path for file in manifest.files]
    assert all({"device", "hour"} <= set(query.user.features) for query in read_golden(contextual_folder).queries)


def test_who_is_evaluated_asks_with_the_context_of_what_they_turned_to(
    contextual_folder: Path, tiny_config: Path, tmp_path: Path
) -> None:
    interactions = contextual_folder.parents[2] / "interactions.parquet"
    config = load_config(tiny_config, [f"data.interactions={interactions}", CONTEXT])
    log = log_of_config(config)
    evaluated = evaluate(contextual_folder, log)
    first = evaluated.evaluations[0]
    assert {str(query.features["device"]) for query in first.cases.queries} == {"phone", "tv"}
    assert first.summary["ndcg@10"] == pytest.approx(read_manifest(contextual_folder).metrics["ndcg@10"])
    assert evaluated.notes == []

    log.known.write_parquet(tmp_path / "before.parquet")
    log.asked.write_parquet(tmp_path / "after.parquet")
    files = tmp_path / "before.parquet", tmp_path / "after.parquet", config.data.users
    read = log_of_files(*files, read_manifest(contextual_folder).ranker.context)
    assert evaluate(contextual_folder, read).evaluations[0].summary == pytest.approx(first.summary)
    without = evaluate(contextual_folder, log_of_files(*files))
    assert "device, hour of a query, of which nothing was given" in without.notes[0]
    assert without.evaluations[0].summary["ndcg@10"] < first.summary["ndcg@10"]


def test_a_context_of_another_kind_than_the_model_reads_is_refused(contextual_folder: Path, tiny_config: Path) -> None:
    log = log_of_config(load_config(tiny_config))
    with pytest.raises(DataError, match="column 'device' of the interactions holds Int32; the model reads it as cat"):
        evaluate(contextual_folder, log._replace(asked=log.asked.with_columns(device=1)))
