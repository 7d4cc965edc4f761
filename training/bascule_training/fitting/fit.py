"""Trains one tower epoch by epoch until it no longer gets better, and says at every step how it goes."""

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule_server.scoring.encoder import QueryEncoder
from bascule_server.scoring.query import FeatureValue, Query
from bascule_training.evaluation.evaluated import BATCH_SIZE, Cases
from bascule_training.evaluation.metrics import Ranks, ndcg, ranks_in_scores, without
from bascule_training.fitting.checkpoint import Progress, restore, save
from bascule_training.towers.two_towers import TwoTowers

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
    loss: float
    """The mean over the steps."""
    quality: float | None
    """NDCG@10 on the validation part; None where that is trained on too."""


class Subject(NamedTuple):
    """Whom the query tower reads; see ``bascule_server.scoring.encoder.Encodable``."""

    history: NDArray[np.int64]
    features: Mapping[str, FeatureValue]

    @classmethod
    def of(cls, history: NDArray[np.int32], query: Query) -> "Subject":
        """The one whom a query is for, with the rows of the query's history."""
        return cls(history.astype(np.int64), query.features)


class Validation(NamedTuple):
    """What tells how good a model is while it is trained."""

    cases: Cases
    encoder: QueryEncoder

    def quality(self, model: TwoTowers) -> float:
        """Mean NDCG@10 over the cases, each ranking the whole catalogue."""
        items, tower = model.item_vectors().T, model.query_tower()
        ranks = []
        for start in range(0, len(self.cases), BATCH_SIZE):
            scores = tower.vectors(self.encoder.encode(self.subjects(start))) @ items
            ranks.append(self.ranks(scores, start))
        return float(ndcg(Ranks.joined(ranks), QUALITY_CUTOFF).mean())

    def subjects(self, start: int) -> list[Subject]:
        """Those of a block of cases."""
        histories = self.cases.histories.part(start, start + BATCH_SIZE)
        queries = self.cases.queries[start : start + BATCH_SIZE]
        return [Subject.of(history, query) for history, query in zip(histories, queries, strict=True)]

    def ranks(self, scores: NDArray[np.float32], start: int) -> Ranks:
        """The ranks of what was relevant to a block of cases, by the scores [cases, items]."""
        if self.cases.rules.exclude_history:
            scores = without(scores, self.cases.histories.part(start, start + BATCH_SIZE))
        return ranks_in_scores(scores, self.cases.relevant.part(start, start + BATCH_SIZE))


class Batch(Protocol):
    """What one step learns from."""

    @property
    def weights(self) -> Any:  # noqa: ANN401 - an array or a tensor
        """0 where there is no example."""


class Batches(Protocol):
    """The data of a run."""

    def epoch(self, number: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0."""


class Trainable(TwoTowers, Protocol):
    """Two towers that can be improved."""

    @property
    def variables(self) -> list[Any]:
        """All that a step changes, in a fixed order."""

    def step(self, batch: Any) -> tf.Tensor:  # noqa: ANN401 - as its own batches make them
        """Improves the towers on one batch; returns its loss, float32 []."""


class Run(NamedTuple):
    """What a run trains, on what, and where it keeps its state."""

    model: Trainable
    feed: Batches
    validation: Validation | None
    """None: all epochs are trained, and the last one counts."""
    epochs: int
    patience: int
    checkpoint: Path
    identity: str
    """Tells runs apart; see ``checkpoint.save``."""


def fit(run: Run, *, resume: bool) -> Generator[Step | Epoch, None, Progress]:
    """Trains; at the end the model is the one of the best epoch. What the generator returns is how it went.

    After each epoch the state is saved, so that a run that was stopped goes on from there with ``resume``; a run that
    had come to its end is then only restored.

    Raises:
        CheckpointError: the run is resumed from a checkpoint that is not its own, or the state cannot be saved.
    """
    progress = Progress(0, 0, -1.0, [])
    if resume and (restored := restore(run.checkpoint, run.identity)) is not None:
        progress, variables = restored
        _assign(run.model, variables)
    while progress.epoch < run.epochs and progress.epoch - progress.best_epoch < run.patience:
        loss = yield from _train_epoch(run, progress.epoch)
        progress, epoch = _judged(run, progress, loss)
        save(run.checkpoint, run.identity, progress, _values(run.model))
        yield epoch
    _assign(run.model, progress.best)
    return progress


def _train_epoch(run: Run, epoch: int) -> Generator[Step, None, float]:
    total, count = 0.0, 0
    for count, batch in enumerate(run.feed.epoch(epoch), 1):
        loss = run.model.step(batch)
        total += loss
        yield Step(int(np.count_nonzero(batch.weights)), float(loss) if count % _LOSS_EVERY == 1 else None)
    return float(total) / max(count, 1)


def _judged(run: Run, progress: Progress, loss: float) -> tuple[Progress, Epoch]:
    number = progress.epoch + 1
    quality = None if run.validation is None else run.validation.quality(run.model)
    curve = [*progress.curve, (loss, np.nan if quality is None else quality)]
    progress = replace(progress, epoch=number, curve=curve)
    if quality is None or quality > progress.best_quality:
        best_quality = progress.best_quality if quality is None else quality
        progress = replace(progress, best_epoch=number, best_quality=best_quality, best=_values(run.model))
    return progress, Epoch(number, loss, quality)


def _values(model: Trainable) -> list[NDArray[Any]]:
    return [variable.numpy() for variable in model.variables]


def _assign(model: Trainable, values: Sequence[NDArray[Any]]) -> None:
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
