"""Trains a model from its configuration to its artifact: read, fit, stage, evaluate what was staged, publish."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp

from bascule.v1.artifact_pb2 import Attribute, Manifest, TrainingData
from bascule_server import artifact
from bascule_server.encoder import FeaturesEncoder, QueryEncoder
from bascule_server.servable import load_servable
from bascule_training.artifact_writer import Contents, declare_attributes, write_files
from bascule_training.baselines import tuned_baselines
from bascule_training.config import TrainingConfig
from bascule_training.dataset import Dataset, cases, read_dataset
from bascule_training.evaluation import Cases, Evaluation, evaluate_baseline, evaluate_scorer
from bascule_training.features import Declared, declare, feature_names, feature_rows, history_feature
from bascule_training.fit import Epoch, Run, Step, fit
from bascule_training.model import Inputs, TwoTowerModel
from bascule_training.packing import batch_count
from bascule_training.publish import publish, staged, write_manifest
from bascule_training.tables import fingerprint

LIBRARIES = ("bascule", "keras", "numpy", "polars", "tensorflow")


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the work begins."""

    title: str
    examples: int = 0
    """Of an epoch, where the stage is the fitting."""


Event = Stage | Step | Epoch


class Trained(NamedTuple):
    """What came of a run."""

    folder: Path
    """Of the published artifact."""
    evaluations: list[Evaluation]
    """The model's first, then the baselines'; on the test part."""


class Prepared(NamedTuple):
    """Data and features, ready for the towers."""

    dataset: Dataset
    query: Declared
    item: Declared
    attributes: list[Attribute]
    encoder: QueryEncoder
    validation: Cases
    test: Cases


def train(config: TrainingConfig, models: Path, *, resume: bool, observe: Callable[[Event], None]) -> Trained:
    """Trains, evaluates and publishes one version of a model.

    Args:
        config: what to train on what.
        models: where artifacts lie: ``models/<model>/<version>``.
        resume: whether to go on from the checkpoint of a run that was stopped.
        observe: told how the work goes.

    Raises:
        DataError: the data is not what it should be.
        CheckpointError: there is a checkpoint, but of another run; or the state cannot be saved.
        PublishError: the artifact cannot be put into its place.
    """
    observe(Stage("reading the data"))
    prepared = prepare(config)
    checkpoint = models / config.model / ".checkpoint.npz"
    model = _fit(config, prepared, checkpoint, resume, observe)
    with staged(models, config.model) as folder:
        observe(Stage("writing the artifact"))
        contents = Contents(
            model, prepared.dataset, prepared.query, prepared.item, prepared.encoder, config.query.publish_users
        )
        write_files(folder, contents)
        manifest = _manifest(config, prepared, folder)
        write_manifest(folder, manifest)
        observe(Stage("evaluating the artifact and the baselines"))
        evaluations = _evaluate(folder, prepared)
        _write_metrics(folder, manifest, evaluations)
        place = publish(folder, models)
    checkpoint.unlink(missing_ok=True)
    return Trained(place, evaluations)


def prepare(config: TrainingConfig) -> Prepared:
    """Reads the data and declares the features.

    Raises:
        DataError: the data is not what it should be.
    """
    dataset = read_dataset(config.data, config.query.features, config.item.features)
    query = declare(config.query.features, dataset.users, "query")
    query.features.insert(0, history_feature(config.query.history_length))
    names = tuple(feature.name for feature in config.query.features)
    splits = dataset.splits
    return Prepared(
        dataset,
        query,
        declare(config.item.features, dataset.items, "item"),
        declare_attributes(dataset.items, config.item.attributes),
        QueryEncoder(query.features, query.vocabularies),
        cases(dataset, splits.train, splits.validation, names),
        cases(dataset, dataset.before_test(), splits.test, names),
    )


def _fit(
    config: TrainingConfig, prepared: Prepared, checkpoint: Path, resume: bool, observe: Callable[[Event], None]
) -> TwoTowerModel:
    dataset = prepared.dataset
    histories = dataset.histories(dataset.splits.train)
    item_encoder = FeaturesEncoder(prepared.item.features, prepared.item.vocabularies)
    inputs = Inputs(
        query_features=prepared.query.features,
        item_features=prepared.item.features,
        users=prepared.encoder.features.encode(feature_rows(dataset.users, feature_names(prepared.query))),
        items=item_encoder.encode(feature_rows(dataset.items, feature_names(prepared.item))),
        is_trained=dataset.is_trained(),
    )
    length = config.query.history_length
    steps = config.fit.epochs * batch_count(histories, length, config.fit.rows_per_batch)
    model = TwoTowerModel(config, inputs, steps)
    identity = _identity(config, dataset, inputs)
    run = Run(model, histories, prepared.validation, prepared.encoder, length, config.seed, checkpoint, identity)
    observe(Stage("fitting", examples=len(histories.item_rows)))
    for event in fit(run, config.fit, resume=resume):
        observe(event)
    return model


def _evaluate(folder: Path, prepared: Prepared) -> list[Evaluation]:
    dataset = prepared.dataset
    train = dataset.histories(dataset.splits.train)
    known = dataset.histories(dataset.before_test())
    servable = load_servable(folder)
    return [
        evaluate_scorer(servable.scorer, prepared.test, servable.model),
        *(evaluate_baseline(each, prepared.test) for each in tuned_baselines(train, prepared.validation, known)),
    ]


def _write_metrics(folder: Path, manifest: Manifest, evaluations: Sequence[Evaluation]) -> None:
    summaries = {evaluation.name: dict(evaluation.summary) for evaluation in evaluations}
    (folder / artifact.METRICS).write_text(json.dumps(summaries, indent=2) + "\n", encoding="utf-8")
    manifest.metrics.update(evaluations[0].summary)
    write_manifest(folder, manifest)


def _manifest(config: TrainingConfig, prepared: Prepared, folder: Path) -> Manifest:
    created = Timestamp()
    created.GetCurrentTime()
    return Manifest(
        schema_version=artifact.SCHEMA_VERSION,
        model=config.model,
        version=int(folder.name),
        create_time=created,
        library_versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        training_data=_training_data(prepared.dataset),
        query_features=prepared.query.features,
        item_features=prepared.item.features,
        attributes=prepared.attributes,
        dimension=config.tower.dimension,
        item_count=len(prepared.dataset.items),
    )


def _training_data(dataset: Dataset) -> TrainingData:
    interactions = dataset.splits.train
    data = TrainingData(
        fingerprint=fingerprint(interactions),
        interaction_count=len(interactions),
        user_count=interactions["user_id"].n_unique(),
        item_count=interactions["item_id"].n_unique(),
    )
    if interactions["time"].null_count() == 0:
        data.first_time.seconds = int(interactions["time"].min())  # type: ignore[arg-type]
        data.last_time.seconds = int(interactions["time"].max())  # type: ignore[arg-type]
    return data


def _identity(config: TrainingConfig, dataset: Dataset, inputs: Inputs) -> str:
    """Differs where a checkpoint must not be continued: in the configuration, the interactions or the features."""
    digest = hashlib.sha256((config.model_dump_json() + fingerprint(dataset.interactions)).encode())
    for tensor in (*inputs.users.values(), *inputs.items.values(), inputs.is_trained):
        digest.update(tensor.tobytes())
    return digest.hexdigest()
