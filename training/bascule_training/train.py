"""Trains a model from its configuration to its artifact: read, fit, stage, evaluate what was staged, publish."""

import importlib.metadata
import json
import shutil
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
from google.protobuf.timestamp_pb2 import Timestamp

from bascule.v1.artifact_pb2 import ItemIndex, Manifest, Ranker, TrainingData
from bascule_server.artifact import file_names
from bascule_server.artifact.manifest_checks import SCHEMA_VERSION
from bascule_server.artifact.signature import sign
from bascule_server.servable import ServableVersion, load_servable
from bascule_training.baselines import tuned_baselines
from bascule_training.config import TrainingConfig
from bascule_training.config_text import config_text
from bascule_training.data.tables import fingerprint
from bascule_training.dataset import Dataset
from bascule_training.evaluation.evaluated import Evaluation, evaluate_baseline, evaluate_scorer
from bascule_training.prepared import Prepared, prepare
from bascule_training.publishing.artifact_writer import Contents, write_files
from bascule_training.publishing.publish import publish, staged, write_manifest
from bascule_training.publishing.recent_popularity import RecentPopularity, recent_popularity
from bascule_training.ranking.quality import RankingQuality, ranking_quality
from bascule_training.report import ReportContents, write_report
from bascule_training.report.contents import data_facts, examples_of, items_of, scored_items_of
from bascule_training.towers.two_towers import TwoTowers
from bascule_training.trainer import Fitted, Observe, Stage, Trainer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LIBRARIES = ("bascule", "keras", "numpy", "polars", "tensorflow")


class Trained(NamedTuple):
    """What came of a run."""

    folder: Path
    """Of the published artifact."""
    evaluations: list[Evaluation]
    """On the test part: the model's first, then that of its retrieval alone where it has a ranking tower, then the
    baselines'."""
    ranking: RankingQuality | None = None
    """None where it has no ranking tower."""


def train(
    config: TrainingConfig,
    models: Path,
    *,
    resume: bool,
    observe: Observe,
    with_baselines: bool = True,
    private_key: "Ed25519PrivateKey | None" = None,
) -> Trained:
    """Trains, evaluates and publishes one version of a model.

    Args:
        config: what to train on what.
        models: where artifacts lie: ``models/<model>/<version>``.
        resume: whether to go on from the checkpoint of a run that was stopped.
        observe: told how the work goes.
        with_baselines: whether the baselines are fitted and evaluated too.
        private_key: signs what is published; None: nothing does.

    Raises:
        DataError: the data is not what it should be.
        CheckpointError: there is a checkpoint, but of another run; or the state cannot be saved.
        PublishError: the artifact cannot be put into its place.
    """
    observe(Stage("reading the data"))
    prepared = prepare(config)
    checkpoints = models / config.model / ".checkpoint"
    if not resume:
        # What another run left of its later towers would be in the way when this one is resumed.
        shutil.rmtree(checkpoints, ignore_errors=True)
    fitted = Trainer(config, prepared, checkpoints, resume=resume, observe=observe).fit()
    popularity = _popularity(config, prepared)
    with staged(models, config.model) as folder:
        observe(Stage("writing the artifact"))
        contents = Contents(
            fitted.model,
            prepared.dataset,
            prepared.query,
            prepared.item,
            prepared.encoder,
            config.query.publish_users,
            config.index,
            prepared.validation.subjects(0),
            popularity.counts,
            fitted.ranker,
        )
        index = write_files(folder, contents)
        manifest = _manifest(config, prepared, fitted.model, folder, index)
        manifest.popularity_half_life_days = popularity.half_life_days or 0.0
        write_manifest(folder, manifest)
        observe(Stage("evaluating the artifact"))
        servable = load_servable(folder)
        evaluations = [evaluate_scorer(servable.scorer, prepared.test, servable.model)]
        ranking = None
        if fitted.ranker is not None:
            unranked = evaluate_scorer(servable.scorer, prepared.test, "retrieval alone", skip_ranking=True)
            ranking = ranking_quality(servable.scorer, evaluations[0], unranked, fitted.ranker.candidate_count)
            evaluations.append(unranked)
        if with_baselines:
            evaluations += _evaluate_baselines(prepared, observe)
        _write_metrics(folder, evaluations, ranking)
        write_report(folder / file_names.REPORT, _report(config, prepared, fitted, manifest, servable, evaluations))
        manifest.metrics.update(evaluations[0].summary)
        write_manifest(folder, manifest)
        if private_key is not None:
            sign(folder, private_key)
        place = publish(folder, models)
    shutil.rmtree(checkpoints, ignore_errors=True)
    return Trained(place, evaluations, ranking)


def _popularity(config: TrainingConfig, prepared: Prepared) -> RecentPopularity:
    dataset = prepared.dataset
    train, known = dataset.histories(dataset.splits.train), dataset.histories(_trained_on(config, dataset))
    return recent_popularity(train, prepared.validation.cases, known)


def _evaluate_baselines(prepared: Prepared, observe: Observe) -> list[Evaluation]:
    dataset = prepared.dataset
    train, known = dataset.histories(dataset.splits.train), dataset.histories(dataset.before_test())
    evaluations = []
    for baseline in tuned_baselines(train, prepared.validation.cases, known):
        observe(Stage(f"evaluated {baseline.name}"))
        evaluations.append(evaluate_baseline(baseline, prepared.test))
    return evaluations


def _write_metrics(folder: Path, evaluations: Sequence[Evaluation], ranking: RankingQuality | None) -> None:
    summaries = {evaluation.name: dict(evaluation.summary) for evaluation in evaluations}
    if ranking is not None:
        summaries["ranking"] = ranking.figures()
    (folder / file_names.METRICS).write_text(json.dumps(summaries, indent=2) + "\n", encoding="utf-8")


def _report(
    config: TrainingConfig,
    prepared: Prepared,
    fitted: Fitted,
    manifest: Manifest,
    servable: ServableVersion,
    evaluations: Sequence[Evaluation],
) -> ReportContents:
    items = items_of(prepared.dataset, fitted.model.item_vectors(), config.item.attributes)
    return ReportContents(
        model=manifest.model,
        version=manifest.version,
        created=manifest.create_time.ToDatetime(UTC),
        evaluations=evaluations,
        items=items,
        data=data_facts(prepared.dataset, prepared.dataset.duplicates_dropped),
        config=config_text(config, paths=False),
        curves=fitted.curves,
        examples=examples_of(servable.scorer, prepared.test, items.names) if config.query.publish_users else (),
        scored=scored_items_of(servable.scorer, prepared.test),
        libraries=dict(manifest.library_versions),
    )


def _manifest(
    config: TrainingConfig, prepared: Prepared, model: TwoTowers, folder: Path, index: ItemIndex | None
) -> Manifest:
    created = Timestamp()
    created.GetCurrentTime()
    return Manifest(
        schema_version=SCHEMA_VERSION,
        model=config.model,
        version=int(folder.name),
        create_time=created,
        library_versions={name: importlib.metadata.version(name) for name in LIBRARIES},
        training_data=_training_data(_trained_on(config, prepared.dataset)),
        query_features=prepared.query.features,
        item_features=prepared.item.features,
        attributes=prepared.attributes,
        dimension=model.item_vectors().shape[1],
        item_count=len(prepared.dataset.items),
        index=index,
        ranker=None
        if config.ranker is None
        else Ranker(candidate_count=config.ranker.candidate_count, context=prepared.context.features),
    )


def _trained_on(config: TrainingConfig, dataset: Dataset) -> pl.DataFrame:
    return dataset.before_test() if config.fit.refit else dataset.splits.train


def _training_data(interactions: pl.DataFrame) -> TrainingData:
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
