"""Trains a model epoch by epoch until it no longer gets better, and says at every step how it goes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.encoder import QueryEncoder
from bascule_server.query import FeatureValue, Query
from bascule_training.checkpoint import Progress, restore, save
from bascule_training.config import FitConfig
from bascule_training.evaluation import BATCH_SIZE, Cases
from bascule_training.histories import Histories
from bascule_training.metrics import Ranks, ndcg, ranks_in_scores, without
from bascule_training.model import TwoTowerModel
from bascule_training.packing import packed_batches
from bascule_training.two_towers import TwoTowers

QUALITY_CUTOFF = 10
"""The quality of an epoch is NDCG at this length of the list, on the validation part."""

_LOSS_EVERY = 20
"""Reading a loss waits for its step, so only every so many steps one is read."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step is done."""

    examples: int
    loss: float | None
    """Where it was read."""


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch is done and judged."""

    number: int
    quality: float
    """NDCG@10 on the validation part."""
    is_best: bool


class Subject(NamedTuple):
    """Whom the query tower reads; see ``bascule_server.encoder.Encodable``."""

    history: NDArray[np.int64]
    features: Mapping[str, FeatureValue]

    @classmethod
    def of(cls, history: NDArray[np.int32], query: Query) -> "Subject":
        """The one whom a query is for, with the rows of the query's history."""
        return cls(history.astype(np.int64), query.features)


class Run(NamedTuple):
    """What a run trains, on what, and where it keeps its state."""

    model: TwoTowerModel
    histories: Histories
    """Of the training part."""
    validation: Cases
    encoder: QueryEncoder
    history_length: int
    seed: int
    checkpoint: Path
    identity: str
    """Tells runs apart; see ``checkpoint.save``."""


def fit(run: Run, config: FitConfig, *, resume: bool) -> Iterator[Step | Epoch]:
    """Trains; at the end the model is the one of the best epoch.

    After each epoch the state is saved, so that a run that was stopped goes on from there with ``resume``.

    Raises:
        CheckpointError: the run is resumed from a checkpoint that is not its own, or the state cannot be saved.
    """
    progress = Progress(0, 0, -1.0, [])
    if resume and (restored := restore(run.checkpoint, run.identity)) is not None:
        progress, variables = restored
        _assign(run.model, variables)
    while progress.epoch < config.epochs and progress.epoch - progress.best_epoch < config.patience:
        yield from _train_epoch(run, config, progress.epoch)
        progress, epoch = _judged(run, progress)
        save(run.checkpoint, run.identity, progress, _values(run.model))
        yield epoch
    _assign(run.model, progress.best)


def _train_epoch(run: Run, config: FitConfig, epoch: int) -> Iterator[Step]:
    random = np.random.default_rng([run.seed, epoch])
    batches = packed_batches(run.histories, run.history_length, config.rows_per_batch, random)
    for number, batch in enumerate(batches):
        loss = run.model.step(batch)
        yield Step(int(batch.weights.sum()), float(loss) if number % _LOSS_EVERY == 0 else None)


def _judged(run: Run, progress: Progress) -> tuple[Progress, Epoch]:
    quality = validation_quality(run.model, run.encoder, run.validation)
    number = progress.epoch + 1
    if quality > progress.best_quality:
        return Progress(number, number, quality, _values(run.model)), Epoch(number, quality, is_best=True)
    progress = Progress(number, progress.best_epoch, progress.best_quality, progress.best)
    return progress, Epoch(number, quality, is_best=False)


def validation_quality(model: TwoTowers, encoder: QueryEncoder, cases: Cases) -> float:
    """Mean NDCG@10 over the cases, each ranking the whole catalogue without the items of its history."""
    items, tower = model.item_vectors().T, model.query_tower()
    ranks = []
    for start in range(0, len(cases), BATCH_SIZE):
        histories = cases.histories.part(start, start + BATCH_SIZE)
        queries = cases.queries[start : start + BATCH_SIZE]
        subjects = [Subject.of(history, query) for history, query in zip(histories, queries, strict=True)]
        scores = tower.vectors(encoder.encode(subjects)) @ items
        relevant = cases.relevant.part(start, start + BATCH_SIZE)
        ranks.append(ranks_in_scores(without(scores, histories), relevant))
    return float(ndcg(Ranks.joined(ranks), QUALITY_CUTOFF).mean())


def _values(model: TwoTowerModel) -> list[NDArray[Any]]:
    return [variable.numpy() for variable in model.variables]


def _assign(model: TwoTowerModel, values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
