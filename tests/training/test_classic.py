import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf
from pydantic import ValidationError

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, Manifest, MultiValuedFeature, StandardisedFeature
from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.artifact.manifest_checks import SCHEMA_VERSION
from bascule_server.scoring.encoder import QueryEncoder
from bascule_server.scoring.query import FeatureValue, Query, Question, Rank, Ranking
from bascule_server.scoring.tower import LiteRtTower
from bascule_server.servable import load_servable
from bascule_training.baselines.popularity import Popularity
from bascule_training.classic.config import ClassicConfig
from bascule_training.classic.epochs import ClassicEpoch, with_heads
from bascule_training.classic.feed import ClassicFeed
from bascule_training.classic.figures import HeadMeter
from bascule_training.classic.heads import OUTPUTS
from bascule_training.classic.model import ClassicModel
from bascule_training.config import DataConfig, FeatureConfig, IndexConfig
from bascule_training.data.features import Declared, declare, feature_names, feature_rows, history_feature
from bascule_training.data.generate import generate, write
from bascule_training.data.histories import Histories
from bascule_training.dataset import Dataset, cases, read_dataset
from bascule_training.evaluation.evaluated import evaluate_baseline
from bascule_training.fitting.checkpoint import Progress
from bascule_training.fitting.fit import Epoch, Run, Step, Validation, fit
from bascule_training.publishing.artifact_writer import Contents, write_files
from bascule_training.publishing.export import convert_to_litert, export_saved_model
from bascule_training.publishing.publish import write_manifest

COUNTRY = Feature(name="country", categorical=CategoricalFeature(size=3))
TAGS = Feature(name="tags", multi_valued=MultiValuedFeature(size=5, max_count=2))
ITEMS = 6


@pytest.fixture
def model() -> ClassicModel:
    return ClassicModel(ClassicConfig(), [history_feature(4), COUNTRY, TAGS], ITEMS, 5e-3, seed=1)


TENSORS = {"country": np.array([0, 1, 3], np.int32), "tags": np.array([[0, 0], [5, 1], [2, 0]], np.int32)}


def test_each_head_gives_a_distribution_over_the_items(model: ClassicModel) -> None:
    outputs = model.outputs(TENSORS)
    assert tuple(outputs) == ("tower1_output", "tower2_output", "merged_output")
    for output in outputs.values():
        assert output.shape == (3, ITEMS)
        np.testing.assert_allclose(tf.reduce_sum(output, axis=1), 1, atol=1e-6)


def test_the_layers_are_as_large_as_the_configuration_says() -> None:
    config = ClassicConfig(embedding=7, layers=(5, 4), hidden=3)
    made = ClassicModel(config, [COUNTRY], ITEMS, 5e-3, seed=1)
    tower = [(7, 5), (5,), (5, 4), (4,)]
    layers = [(4, 7), *tower, *tower, (8, 3), (3,)]
    assert [tuple(variable.shape) for variable in made.query_tower().variables] == layers
    assert made.item_vectors().shape == (ITEMS, 4)


def test_dot_products_are_the_logits_of_the_merged_output(model: ClassicModel) -> None:
    for _ in range(3):
        model.step(next(small_feed().epoch(0)))  # so that biases are not 0
    queries = model.query_tower().vectors({**TENSORS, "history": np.zeros((3, 4), np.int32)})
    assert queries.shape == (3, 33)
    logits = queries @ model.item_vectors().T
    np.testing.assert_allclose(tf.nn.softmax(logits), model.outputs(TENSORS)["merged_output"], atol=1e-6)


def test_the_exported_tower_computes_the_same(model: ClassicModel, tmp_path: Path) -> None:
    tower = model.query_tower()
    export_saved_model(tmp_path / "tower", tower, [COUNTRY, TAGS])
    convert_to_litert(tmp_path / "tower", tmp_path / "tower.tflite")
    found = LiteRtTower(tmp_path / "tower.tflite").vectors(TENSORS)
    np.testing.assert_allclose(found, tower.vectors(TENSORS), atol=1e-5)


def test_new_items_cannot_be_placed(model: ClassicModel) -> None:
    assert model.item_tower() is None


def test_equal_seeds_learn_equal_weights() -> None:
    learned = []
    for seed in (1, 1, 2):
        made = ClassicModel(ClassicConfig(), [COUNTRY, TAGS], ITEMS, 5e-3, seed=seed)
        for batch in small_feed().epoch(0):
            made.step(batch)
        learned.append(made.item_vectors())
    np.testing.assert_array_equal(learned[0], learned[1])
    assert np.abs(learned[0] - learned[2]).max() > 1e-3


def test_rows_that_only_fill_a_batch_teach_nothing() -> None:
    learned, losses = [], []
    for filling in (0, 1):
        made = ClassicModel(ClassicConfig(), [COUNTRY, TAGS], ITEMS, 5e-3, seed=1)
        batch = next(small_feed().epoch(0))
        weights = np.array([1, 0], np.float32)
        targets = np.where(weights[:, None] > 0, batch.targets, np.eye(2, ITEMS, filling, dtype=np.float32))
        losses.append(float(made.step(batch._replace(targets=targets, weights=weights))))
        learned.append((made.item_vectors(), made.take_figures()))
    assert losses[0] == losses[1]
    np.testing.assert_array_equal(learned[0][0], learned[1][0])
    assert learned[0][1] == learned[1][1]


def small_feed() -> ClassicFeed:
    """Two users: one had item 0, the other items 1 and 2."""
    users = {name: codes[1:] for name, codes in TENSORS.items()}
    return ClassicFeed(users, Histories(np.array([0, 1, 2], np.int32), np.array([0, 1, 3])), ITEMS, 2, seed=1)


def test_figures_are_means_over_the_users_that_count() -> None:
    """The first user had the likelier of two items, the second both; the third only fills the batch."""
    outputs = dict.fromkeys(OUTPUTS, tf.constant([[0.75, 0.25], [0.25, 0.75], [0.5, 0.5]]))
    targets, weights = tf.constant([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), tf.constant([1.0, 1.0, 0.0])
    meter = HeadMeter()
    loss = (-math.log(0.75) - (math.log(0.75) + math.log(0.25)) / 2) / 2
    for found in meter.losses(outputs, targets, weights).values():
        assert float(found) == pytest.approx(loss)
    meter.losses(outputs, tf.constant([[0.0, 1.0]] * 3), tf.constant([1.0, 0.0, 0.0]))
    figures = meter.take()
    assert set(figures) == set(OUTPUTS)
    for head in figures.values():
        assert head == pytest.approx((2 / 3 * loss - math.log(0.25) / 3, 2 / 3))
    meter.losses(outputs, targets, weights)
    assert meter.take()["merged_output"].accuracy == 1  # nothing of before


def test_a_number_without_a_code_is_refused() -> None:
    age = Feature(name="age", standardised=StandardisedFeature(mean=40, deviation=10))
    with pytest.raises(ValueError, match="the feature 'age' is standardised, a number without a code; expected buck"):
        ClassicModel(ClassicConfig(), [COUNTRY, age], ITEMS, 5e-3, seed=1)


def test_a_history_alone_is_refused() -> None:
    with pytest.raises(ValueError, match="features alone; expected at least one, got none"):
        ClassicModel(ClassicConfig(), [history_feature(4)], ITEMS, 5e-3, seed=1)


@pytest.mark.parametrize("wrong", [{"layers": ()}, {"layers": (64, 0)}, {"hidden": 4_096}, {"towers": (64, 32)}])
def test_wrong_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ClassicConfig.model_validate(wrong)


class Generated(NamedTuple):
    """A generated log whose users' age and country hint at their taste, read for the classic model."""

    dataset: Dataset
    query: Declared
    encoder: QueryEncoder
    validation: Validation

    def model(self) -> ClassicModel:
        return ClassicModel(ClassicConfig(), self.query.features, len(self.dataset.items), 5e-3, seed=1)

    def run(self, model: ClassicModel, folder: Path, epochs: int) -> Run:
        users = self.encoder.features.encode(feature_rows(self.dataset.users, feature_names(self.query)))
        histories = self.dataset.histories(self.dataset.splits.train)
        feed = ClassicFeed(users, histories, len(self.dataset.items), 32, seed=1)
        return Run(model, feed, self.validation, epochs, 5, folder / "checkpoint.npz", "generated")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    folder = tmp_path_factory.mktemp("generated")
    write(generate(users=400, items=80, interactions=6_000, seed=1), folder)
    features = [FeatureConfig(name="age", kind="bucketed"), FeatureConfig(name="country", kind="categorical")]
    data = DataConfig(interactions=folder / "interactions.parquet", users=folder / "users.parquet")
    dataset = read_dataset(data, features, ())
    query = declare(features, dataset.users, "query")
    encoder = QueryEncoder(query.features, query.vocabularies)
    splits, names = dataset.splits, [feature.name for feature in features]
    return Generated(
        dataset, query, encoder, Validation(cases(dataset, splits.train, splits.validation, names), encoder)
    )


class Learned(NamedTuple):
    """A run that came to its end."""

    model: ClassicModel
    events: list[Step | ClassicEpoch]
    progress: Progress

    @property
    def epochs(self) -> list[ClassicEpoch]:
        return [event for event in self.events if isinstance(event, ClassicEpoch)]


def learn(generated: Generated, folder: Path, epochs: int, *, resume: bool = False) -> Learned:
    model = generated.model()
    learned = Learned(model, [], Progress(0, 0, -1.0, []))
    events = with_heads(fit(generated.run(model, folder, epochs), resume=resume), model)
    while True:
        try:
            learned.events.append(next(events))
        except StopIteration as end:
            return learned._replace(progress=end.value)


@pytest.fixture(scope="module")
def learned(generated: Generated, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learn(generated, tmp_path_factory.mktemp("learned"), 12)


def test_every_head_learns(learned: Learned) -> None:
    first, last = learned.epochs[0].heads, learned.epochs[-1].heads
    assert set(first) == set(OUTPUTS)
    for name in OUTPUTS:
        assert last[name].loss < first[name].loss - 0.2
        assert last[name].accuracy > first[name].accuracy + 0.2


def test_the_loss_is_the_sum_of_the_heads(learned: Learned) -> None:
    for epoch in learned.epochs:
        assert epoch.loss == pytest.approx(sum(head.loss for head in epoch.heads.values()))


def test_features_alone_beat_popularity(generated: Generated, learned: Learned) -> None:
    train = generated.dataset.histories(generated.dataset.splits.train)
    popularity = Popularity.fit(train, len(generated.dataset.items))
    expected = evaluate_baseline(popularity, generated.validation.cases).summary["ndcg@10"]
    assert generated.validation.quality(learned.model) == learned.progress.best_quality > 1.3 * expected


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(
    generated: Generated, learned: Learned, tmp_path: Path
) -> None:
    stopped = generated.model()
    events = with_heads(fit(generated.run(stopped, tmp_path, 12), resume=False), stopped)
    first = next(event for event in events if isinstance(event, Epoch))
    next(events)
    events.close()
    resumed = learn(generated, tmp_path, 12, resume=True)
    assert [first, *resumed.epochs] == learned.epochs
    np.testing.assert_array_equal(resumed.model.item_vectors(), learned.model.item_vectors())


@pytest.fixture(scope="module")
def published(generated: Generated, learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "classic" / "1"
    folder.mkdir(parents=True)
    dataset, nothing = generated.dataset, Declared([], {})
    write_files(
        folder,
        Contents(
            learned.model,
            dataset,
            generated.query,
            nothing,
            generated.encoder,
            False,
            IndexConfig(),
            asked=[],
            popularity=np.ones(len(dataset.items)),
        ),
    )
    manifest = Manifest(schema_version=SCHEMA_VERSION, model="classic", version=1, dimension=33)
    manifest.item_count = len(dataset.items)
    manifest.query_features.extend(generated.query.features)
    write_manifest(folder, manifest)
    return folder


def test_an_artifact_answers_by_named_features_alone(published: Path, learned: Learned, generated: Generated) -> None:
    servable = load_servable(published)
    values: list[Mapping[str, FeatureValue]] = [{"age": 22.0, "country": "AR"}, {"country": "US"}, {"age": 60.0}]
    answers = servable.scorer.answer([Question(Query(features=each), Rank(item_count=5)) for each in values])
    probabilities = learned.model.outputs(generated.encoder.features.encode(values))["merged_output"].numpy()
    item_ids = np.array(generated.dataset.items["item_id"].to_list())
    for answer, row in zip(answers, probabilities, strict=True):
        assert isinstance(answer, Ranking)
        assert answer.path == RankingPath.RANKING_PATH_COLD
        assert answer.item_ids == item_ids[np.argsort(-row)[:5]].tolist()
