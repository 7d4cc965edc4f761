import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest

from bascule.v1.artifact_pb2 import AttributeKind, Manifest
from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule.v1.recommendation_service_pb2 import Categories, FeatureValue, RankingPath
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import read_manifest
from bascule_server.living.version import LivingVersion
from bascule_server.scoring.golden import read_golden
from bascule_server.scoring.query import Query, Question, Rank, Ranking
from bascule_server.servable import load_servable
from bascule_training.config import TrainingConfig, load_config
from bascule_training.data.generate import generate, write
from bascule_training.data.tables import DataError, fingerprint
from bascule_training.fitting.checkpoint import CheckpointError
from bascule_training.fitting.fit import Epoch, Step
from bascule_training.prepared import prepare
from bascule_training.publishing.publish import PublishError
from bascule_training.train import Trained, train
from bascule_training.trainer import Event, Stage

CONFIG = """
model = "films"
[data]
interactions = "interactions.parquet"
users = "users.parquet"
items = "items.parquet"
[query]
history_length = 10
features = [{ name = "country", kind = "categorical" }]
[item]
features = [{ name = "genres", kind = "multi_valued" }]
attributes = ["title", "genres", "price"]
[tower]
dimension = 16
dropout = 0.1
[fit]
epochs = 8
rows_per_batch = 2
learning_rate = 2e-2
"""

USERS, ITEMS, INTERACTIONS = 120, 80, 2_400


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration beside its data, in which the items ``new-1`` and ``new-2`` are had by nobody."""
    folder = tmp_path_factory.mktemp("films")
    data = generate(USERS, ITEMS, INTERACTIONS, seed=3)
    new = data.items.head(2).with_columns(
        item_id=pl.Series(["new-1", "new-2"]), genres=pl.Series([["Horror"], ["Comedy"]])
    )
    write(replace(data, items=pl.concat([data.items, new])), folder)
    path = folder / "films.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def config(path: Path) -> TrainingConfig:
    return load_config(path)


class Twice(NamedTuple):
    """Two trainings of one configuration, and what the first of them told."""

    first: Trained
    second: Trained
    events: list[Event]
    models: Path


@pytest.fixture(scope="module")
def twice(config: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Twice:
    models, events = tmp_path_factory.mktemp("models"), list[Event]()
    first = train(config, models, resume=False, observe=events.append)
    second = train(config, models, resume=False, observe=ignore, with_baselines=False)
    return Twice(first, second, events, models)


def ignore(_: Event) -> None:
    pass


def vectors(folder: Path) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    loaded: np.ndarray[tuple[int, int], np.dtype[np.float32]] = np.load(folder / file_names.ITEM_VECTORS)
    return loaded


def catalogue(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / file_names.ITEMS)


def test_versions_count_up_and_nothing_else_is_left(twice: Twice) -> None:
    assert (twice.first.folder, twice.second.folder) == (twice.models / "films" / "1", twice.models / "films" / "2")
    assert sorted(path.name for path in (twice.models / "films").iterdir()) == ["1", "2"]
    assert [path.name for path in twice.models.iterdir()] == ["films"]


def test_equal_seeds_give_equal_item_vectors(twice: Twice) -> None:
    np.testing.assert_array_equal(vectors(twice.first.folder), vectors(twice.second.folder))


def test_what_is_published_loads_and_answers(twice: Twice, config: TrainingConfig) -> None:
    servable = load_servable(twice.first.folder)
    (ranking,) = servable.scorer.answer([Question(Query(user_id="u1"), Rank(item_count=5))])
    assert isinstance(ranking, Ranking)
    assert len(ranking.item_ids) == 5
    assert ranking.path == RankingPath.RANKING_PATH_PERSONALISED
    assert file_names.REPORT in [file.path for file in servable.manifest.files]


def test_the_work_is_told_in_its_order(twice: Twice) -> None:
    stages = [event.title for event in twice.events if isinstance(event, Stage)]
    assert stages[:6] == [
        "reading the data",
        "fitting tower 1",
        "solving for popularity",
        "fitting tower 1 again, on the validation part too",
        "writing the artifact",
        "evaluating the artifact",
    ]
    assert stages[6:] == [f"evaluated {evaluation.name}" for evaluation in twice.first.evaluations[1:]]


def test_the_baselines_are_evaluated_beside_the_model_unless_they_are_not_wanted(twice: Twice) -> None:
    names = [evaluation.name for evaluation in twice.first.evaluations]
    assert names[0] == "films"
    assert {"popularity", "item-kNN", "EASE", "PureSVD", "iALS", "BPR"} < set(names)
    assert [evaluation.name for evaluation in twice.second.evaluations] == ["films"]


def test_the_model_learns_more_than_what_is_popular(twice: Twice) -> None:
    quality = {evaluation.name: evaluation.summary["ndcg@10"] for evaluation in twice.first.evaluations}
    assert quality["films"] > 1.2 * quality["popularity"]


def test_the_manifest_says_what_was_trained_on_what(twice: Twice, config: TrainingConfig) -> None:
    manifest = read_manifest(twice.second.folder)
    trained_on = prepare(config).dataset.before_test()
    assert (manifest.schema_version, manifest.model, manifest.version) == (1, "films", 2)
    # One component is the items' bias.
    assert (manifest.dimension, manifest.item_count) == (16 + 1, len(catalogue(twice.second.folder)))
    data = manifest.training_data
    assert data.fingerprint == fingerprint(trained_on)
    # Of each of the users all but the last one, which is to be found in the test.
    assert (data.interaction_count, data.user_count) == (INTERACTIONS - USERS, USERS)
    assert data.item_count == trained_on["item_id"].n_unique()
    assert data.first_time.seconds == trained_on["time"].to_list()[0]
    assert data.last_time.seconds == trained_on["time"].to_list()[-1]
    assert set(manifest.library_versions) == {"bascule", "keras", "numpy", "polars", "tensorflow"}
    assert datetime.now(UTC) - manifest.create_time.ToDatetime(UTC) < timedelta(minutes=10)


def test_the_manifest_declares_features_and_attributes(twice: Twice) -> None:
    manifest: Manifest = read_manifest(twice.first.folder)
    assert [feature.name for feature in manifest.query_features] == ["history", "country"]
    assert manifest.query_features[0].history.max_length == 10
    assert [feature.name for feature in manifest.item_features] == ["genres"]
    assert [(attribute.name, attribute.kind) for attribute in manifest.attributes] == [
        ("title", AttributeKind.ATTRIBUTE_KIND_CATEGORICAL),
        ("genres", AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED),
        ("price", AttributeKind.ATTRIBUTE_KIND_NUMERIC),
    ]


def test_the_metrics_of_the_manifest_are_the_models_own(twice: Twice) -> None:
    metrics = json.loads((twice.first.folder / file_names.METRICS).read_text())
    assert list(metrics) == [evaluation.name for evaluation in twice.first.evaluations]
    assert metrics["films"] == twice.first.evaluations[0].summary
    assert dict(read_manifest(twice.first.folder).metrics) == pytest.approx(metrics["films"])


def test_golden_queries_are_present(twice: Twice) -> None:
    golden = read_golden(twice.first.folder)
    assert len(golden.queries) == 64
    assert all(query.user.history and "country" in query.user.features for query in golden.queries)
    np.testing.assert_allclose(np.linalg.norm(golden.vectors[:, :16], axis=1), 1, atol=1e-5)
    assert golden.rows.shape == golden.scores.shape == (64, 20)


def test_an_item_that_nobody_had_is_placed_by_its_features(twice: Twice) -> None:
    items = catalogue(twice.first.folder).with_row_index("row")
    rows = dict(items.select("item_id", "row").rows())
    new = vectors(twice.first.folder)[[rows["new-1"], rows["new-2"]]]
    np.testing.assert_allclose(np.linalg.norm(new[:, :16], axis=1), 1, atol=1e-6)
    assert items.filter(pl.col("item_id").str.starts_with("new"))["popularity"].to_list() == [0, 0]
    # The horror film lies nearer to films of horror than the comedy does.
    horror = items.filter((pl.col("genres").list.first() == "Horror") & (pl.col("popularity") > 0))["row"].to_list()
    nearness = new[:, :16] @ vectors(twice.first.folder)[horror, :16].mean(axis=0)
    assert nearness[0] > nearness[1]


def test_an_item_that_comes_later_is_placed_where_training_placed_one_like_it(twice: Twice) -> None:
    folder = twice.first.folder
    (known,) = catalogue(folder).with_row_index("row").filter(pl.col("item_id") == "new-1").to_dicts()
    values = {"genres": FeatureValue(categories=Categories(values=known["genres"]))}
    living = LivingVersion(load_servable(folder), folder)
    change = CatalogueChange(upserted=[CatalogueItem(item_id="later", values=values)])
    scorer = living.apply([change], 1).scorer
    placed = scorer.retrievers.ranking.vectors_of(scorer.catalogue.item_ids.rows(["later"]))
    np.testing.assert_allclose(placed[0], vectors(folder)[known["row"]], atol=1e-5)


def test_popularity_counts_what_the_towers_learned_from_and_not_the_test(twice: Twice) -> None:
    # A half-life only moves weight from one to another.
    assert catalogue(twice.first.folder)["popularity"].sum() == pytest.approx(INTERACTIONS - USERS)


def test_known_users_have_the_whole_of_their_history(twice: Twice) -> None:
    users = pl.read_parquet(twice.first.folder / file_names.USERS)
    assert users.columns == ["user_id", "country", "history"]
    assert users["history"].list.len().sum() == INTERACTIONS


def at(title: str, interruption: type[BaseException]) -> Callable[[Event], None]:
    def observe(event: Event) -> None:
        if isinstance(event, Stage) and event.title.startswith(title):
            raise interruption

    return observe


QUICK = ["fit.epochs=1", "fit.rows_per_batch=8", "item.features=[]", "tower.dimension=4"]
"""What is trained in no time."""


@pytest.fixture(scope="module")
def stopped(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the models after a run that was stopped when all but publishing was done."""
    models = tmp_path_factory.mktemp("stopped")
    with pytest.raises(KeyboardInterrupt):
        train(load_config(path, QUICK), models, resume=False, observe=at("evaluating", KeyboardInterrupt))
    return models


@pytest.fixture
def resume(path: Path, stopped: Path, tmp_path: Path) -> Callable[..., Trained]:
    """Goes on with a run that was stopped, in ``tmp_path``, perhaps with other settings."""
    shutil.copytree(stopped, tmp_path, dirs_exist_ok=True)

    def go_on(*settings: str, observe: Callable[[Event], None] = ignore) -> Trained:
        config = load_config(path, [*QUICK, *settings])
        return train(config, tmp_path, resume=True, observe=observe, with_baselines=False)

    return go_on


def test_a_run_that_is_stopped_leaves_a_checkpoint_and_no_version(stopped: Path) -> None:
    left = {path.relative_to(stopped).as_posix() for path in stopped.rglob("*")}
    assert left == {
        "films",
        "films/.checkpoint",
        "films/.checkpoint/first-1.npz",
        "films/.checkpoint/again-1.npz",
    }


def test_a_run_that_fails_while_it_is_fitted_leaves_no_version(path: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError):
        train(load_config(path, QUICK), tmp_path, resume=False, observe=at("fitting", RuntimeError))
    assert list(tmp_path.rglob("*")) == []


def test_a_run_stopped_before_it_published_goes_on_without_training_again(resume: Callable[..., Trained]) -> None:
    events: list[Event] = []
    folder = resume(observe=events.append).folder
    assert not [event for event in events if isinstance(event, Step | Epoch)]
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_a_version_published_meanwhile_is_left_alone(resume: Callable[..., Trained], tmp_path: Path) -> None:
    theirs = tmp_path / "films" / "1" / file_names.MANIFEST

    def publish_another(event: Event) -> None:
        if isinstance(event, Stage) and event.title.startswith("evaluating"):
            theirs.parent.mkdir()
            theirs.write_text("theirs")

    with pytest.raises(PublishError, match="another run published this version first"):
        resume(observe=publish_another)
    assert theirs.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


def test_the_checkpoint_of_another_configuration_is_refused(resume: Callable[..., Trained]) -> None:
    with pytest.raises(CheckpointError, match="another configuration or other data"):
        resume("fit.epochs=2")


def test_a_run_without_resume_begins_anew_and_can_be_resumed_itself(
    path: Path, resume: Callable[..., Trained], tmp_path: Path
) -> None:
    other = load_config(path, [*QUICK, "seed=2"])
    with pytest.raises(KeyboardInterrupt):
        train(other, tmp_path, resume=False, observe=at("fitting tower 1 again", KeyboardInterrupt))
    assert [path.name for path in (tmp_path / "films" / ".checkpoint").iterdir()] == ["first-1.npz"]
    assert resume("seed=2").folder == tmp_path / "films" / "1"


KILLED = """
import os, signal, sys
from pathlib import Path
from bascule_training.config import load_config
from bascule_training.fitting.fit import Step
from bascule_training.train import train
from bascule_training.trainer import Stage
steps = 0
def kill(event):
    global steps
    steps = 0 if isinstance(event, Stage) else steps + isinstance(event, Step)
    if steps == 40:
        os.kill(os.getpid(), signal.SIGKILL)
train(load_config(Path(sys.argv[1]), sys.argv[3:]), Path(sys.argv[2]), resume=False, observe=kill)
"""
"""Dies in the second epoch of 30 steps each."""


def test_a_run_that_was_killed_is_resumed_to_the_same_model(path: Path, tmp_path: Path) -> None:
    settings = [*QUICK, "fit.epochs=2"]
    models = tmp_path / "killed"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(path), str(models), *settings], check=False)
    assert killed.returncode == -signal.SIGKILL
    left = {path.relative_to(models).as_posix() for path in models.rglob("*")}
    assert left == {"films", "films/.checkpoint", "films/.checkpoint/first-1.npz"}
    config = load_config(path, settings)
    resumed = train(config, models, resume=True, observe=ignore, with_baselines=False)
    whole = train(config, tmp_path / "whole", resume=False, observe=ignore, with_baselines=False)
    np.testing.assert_array_equal(vectors(resumed.folder), vectors(whole.folder))
    assert resumed.evaluations[0].summary == whole.evaluations[0].summary


def test_the_checkpoint_of_other_features_is_refused(path: Path, resume: Callable[..., Trained]) -> None:
    users = path.parent / "users.parquet"
    whole = users.read_bytes()
    try:
        pl.read_parquet(users).with_columns(pl.col("country").reverse()).write_parquet(users)
        with pytest.raises(CheckpointError, match="another configuration or other data"):
            resume()
    finally:
        users.write_bytes(whole)


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("query.features=[{ name = 'city', kind = 'categorical' }]", "the query feature 'city' is no column"),
        ("item.features=[{ name = 'colour', kind = 'categorical' }]", "the item feature 'colour' is no column"),
        ("item.attributes=['colour']", "the attribute 'colour' is no column of the items"),
        ("data.columns.user=visitor", "visitor"),
        ("data.interactions=nothing.parquet", "nothing.parquet"),
    ],
)
def test_what_the_data_lacks_is_named_before_anything_is_trained(path: Path, setting: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        prepare(load_config(path, [setting]))
