"""Evaluates a published artifact on the test part of a configuration, or on any log."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from bascule.v1.artifact_pb2 import Feature, Manifest
from bascule_server.scoring.catalogue import read_catalogue
from bascule_server.scoring.encoder import HISTORY
from bascule_server.scoring.query import FeatureValue
from bascule_server.servable import load_servable
from bascule_training.baselines.popularity import Popularity
from bascule_training.config import TrainingConfig
from bascule_training.data.features import feature_rows
from bascule_training.data.histories import of_users
from bascule_training.data.table_file import TYPES
from bascule_training.data.tables import DataError, fingerprint, read_interactions, read_users, split_multi_valued
from bascule_training.dataset import NO_RANKER, read_dataset
from bascule_training.evaluation import groups
from bascule_training.evaluation.cases import cases_of
from bascule_training.evaluation.evaluated import Evaluation, Progress, evaluate_baseline, evaluate_scorer
from bascule_training.evaluation.groups import GroupFigures
from bascule_training.evaluation.intervals import Interval
from bascule_training.evaluation.metrics import UNKNOWN_ROW
from bascule_training.evaluation.protocol import EvaluationConfig

_TYPES: dict[str, type] = {
    "categorical": str,
    "text": str,
    "multi_valued": tuple,
    "standardised": float,
    "bucketed": float,
}
"""What a value of each kind of feature is."""


class Log(NamedTuple):
    """What an artifact is evaluated on."""

    known: pl.DataFrame
    """Canonical interactions, in time order: the histories."""
    asked: pl.DataFrame
    """Canonical interactions: what is to be found, and the columns that are read of the context."""
    users: pl.DataFrame | None = None
    """``user_id`` and features; None: nothing is known of users but their histories."""
    rules: EvaluationConfig = EvaluationConfig()
    trainable: tuple[pl.DataFrame, ...] = ()
    """What a model is trained on that knows nothing of what is asked: one of these. Empty: the log does not say."""


class Evaluated(NamedTuple):
    """How well an artifact did."""

    model: str
    version: int
    evaluations: list[Evaluation]
    """The model's, and that of popularity beside it."""
    groups: list[GroupFigures]
    """Of the model, by who was asked and what was to be found."""
    notes: list[str]
    """Sentences about what may make the figures say less than they seem to."""


def log_of_config(config: TrainingConfig) -> Log:
    """The test part of a configuration, after its training and validation part.

    Raises:
        DataError: the data is not what it should be.
    """
    ranker = config.ranker or NO_RANKER
    dataset = read_dataset(config.data, config.query.features, config.item.features, ranker)
    users = None if config.data.users is None else dataset.users
    known = dataset.before_test()
    return Log(known, dataset.splits.test, users, config.evaluation, (dataset.splits.train, known))


def log_of_files(before: Path, after: Path, users: Path | None, context: Iterable[Feature] = ()) -> Log:
    """What users did after what they did before, each a file of interactions.

    Of the second the features of the context are columns that are read too, where they are there.

    Raises:
        DataError: a file cannot be read, or is not what it should be.
    """
    kinds = {feature.name: str(feature.WhichOneof("kind")) for feature in context}
    asked = read_interactions(after, context=kinds, needs_context=False)
    return Log(read_interactions(before), asked, None if users is None else read_users(users))


def evaluate(folder: Path, log: Log, progress: Progress | None = None) -> Evaluated:
    """Evaluates the artifact in a folder by the server's own scorer, with popularity beside it.

    Raises:
        ArtifactError: the artifact is damaged or incomplete.
        DataError: the log is not one that the artifact can be evaluated on.
    """
    servable = load_servable(folder)
    manifest = servable.manifest
    ids = read_catalogue(folder, manifest).item_ids
    item_ids = ids.of(range(len(ids)))
    try:
        context = _context(log.asked, manifest)
        cases = cases_of(log.known, log.asked, item_ids, _features(log.users, manifest), log.rules, context)
    except ValueError as error:
        raise DataError(f"there is nothing to evaluate on: {error}") from error
    if (cases.relevant.item_rows == UNKNOWN_ROW).all():
        raise DataError(
            f"none of the {len(cases.relevant.item_rows):,} items to find is among the {len(item_ids):,} of"
            f" {servable.model}/{servable.version}; is it a model of other data?"
        )
    user_ids = log.known["user_id"].unique().to_list()
    histories = of_users(log.known, user_ids, {item_id: row for row, item_id in enumerate(item_ids)})
    evaluation = evaluate_scorer(servable.scorer, cases, f"{servable.model}/{servable.version}", progress)
    found = [*groups.by_knowledge(cases), *groups.by_activity(cases), *groups.by_popularity(cases)]
    evaluations = [evaluation]
    if manifest.HasField("ranker"):
        evaluations.append(evaluate_scorer(servable.scorer, cases, "retrieval alone", skip_ranking=True))
    return Evaluated(
        servable.model,
        servable.version,
        [*evaluations, evaluate_baseline(Popularity.fit(histories, len(item_ids)), cases)],
        groups.figures(evaluation, found),
        _notes(manifest, log),
    )


def _context(asked: pl.DataFrame, manifest: Manifest) -> list[str]:
    """The columns that the model reads of the context, where they are there."""
    declared = {feature.name: feature for feature in manifest.ranker.context if feature.name in asked.columns}
    for name, feature in declared.items():
        kind = str(feature.WhichOneof("kind"))
        if asked.schema[name] != TYPES[kind]:
            raise DataError(
                f"column '{name}' of the interactions holds {asked.schema[name]}; the model reads it as {kind}"
            )
    return list(declared)


def _features(users: pl.DataFrame | None, manifest: Manifest) -> dict[str, dict[str, FeatureValue]]:
    """The values of the features that the model reads, by user."""
    features = [feature for feature in manifest.query_features if feature.name != HISTORY]
    if users is None or not features:
        return {}
    for feature in features:
        if feature.name not in users.columns:
            raise DataError(
                f"the model reads the feature '{feature.name}', which is no column of the users;"
                f" there are {', '.join(users.columns)}"
            )
        if feature.WhichOneof("kind") == "multi_valued":
            users = split_multi_valued(users, feature.name)
    rows = feature_rows(users, [feature.name for feature in features])
    for feature in features:
        _refuse_other_types(feature, rows)
    return dict(zip(users["user_id"].to_list(), rows, strict=True))


def _refuse_other_types(feature: Feature, rows: list[dict[str, FeatureValue]]) -> None:
    kind = str(feature.WhichOneof("kind"))
    for values in rows:
        value = values.get(feature.name)
        if value is not None and not isinstance(value, _TYPES[kind]):
            raise DataError(f"column '{feature.name}' of the users: got {value!r}; the model reads it as {kind}")


def _notes(manifest: Manifest, log: Log) -> list[str]:
    notes = []
    unread = [feature.name for feature in manifest.query_features if feature.name != HISTORY]
    if unread and log.users is None:
        notes.append(f"The model also reads {', '.join(unread)} of a user, of which nothing was given.")
    without = [
        feature.name
        for feature in manifest.ranker.context
        if feature.name not in log.asked.columns or log.asked[feature.name].null_count() == len(log.asked)
    ]
    if without:
        notes.append(f"The ranking tower also reads {', '.join(without)} of a query, of which nothing was given.")
    trained = manifest.training_data
    if log.trainable and trained.fingerprint not in map(fingerprint, log.trainable):
        notes.append("The model was not trained on the training part of this configuration; it may know the test part.")
    times = log.asked["time"]
    if not log.trainable and times.null_count() == 0 and trained.HasField("last_time"):
        early = int((times <= trained.last_time.seconds).sum())
        if early:
            notes.append(
                f"{early:,} of the {len(times):,} interactions to find are not later than all that the model was"
                " trained on; it may know them."
            )
    return notes


def as_json(evaluated: Evaluated) -> dict[str, Any]:
    """The same for machines: figures by name, each with its value and, where it has one, its interval."""
    model = evaluated.evaluations[0]
    return {
        "model": evaluated.model,
        "version": evaluated.version,
        "rules": model.cases.rules.model_dump(),
        "users": model.case_count,
        "relevant": model.relevant_count,
        "unknown": model.unknown_count,
        "notes": evaluated.notes,
        "evaluations": [
            {"name": each.name, "figures": _figures(each.summary, each.intervals())} for each in evaluated.evaluations
        ],
        "groups": [
            {
                "name": group.name,
                "users": group.case_count,
                "relevant": group.relevant_count,
                "figures": _figures(group.means(), group.intervals()),
            }
            for group in evaluated.groups
        ],
    }


def _figures(values: dict[str, float], intervals: dict[str, Interval]) -> dict[str, dict[str, float]]:
    return {
        name: {"value": value} | (intervals[name]._asdict() if name in intervals else {})
        for name, value in values.items()
    }
