"""Fits the towers of a configuration: each by itself, weighed on validation, and again on all that may be known."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import tensorflow as tf
from numpy.typing import NDArray

from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_training.classic.config import ClassicConfig
from bascule_training.classic.epochs import with_heads
from bascule_training.classic.feed import ClassicFeed
from bascule_training.classic.model import ClassicModel
from bascule_training.closed_form.solved import FROZEN_DIMENSION, ClosedForms
from bascule_training.closed_form.spectral import UserCodes
from bascule_training.config import (
    ClosedForm,
    ClosedFormTower,
    FitConfig,
    HistoryBag,
    HistoryTransformer,
    TrainedTower,
    TrainingConfig,
)
from bascule_training.data.examples import example_weights
from bascule_training.data.features import declare, feature_names, feature_rows
from bascule_training.data.histories import Histories
from bascule_training.fitting.bags import bag_count, bag_examples
from bascule_training.fitting.checkpoint import Progress
from bascule_training.fitting.competitors import CompetitorSampler
from bascule_training.fitting.concatenated import joined, tuned_weights
from bascule_training.fitting.feed import Feed, MakeExamples
from bascule_training.fitting.fit import Epoch, Run, Step, Validation, fit
from bascule_training.fitting.losses import cosine_contrastive_loss, gbce_loss, sampled_softmax_loss
from bascule_training.fitting.model import Inputs, Loss, StepTensors, TwoTowerModel
from bascule_training.fitting.packing import batch_count, packed_examples
from bascule_training.fitting.row_adam import RowAdam
from bascule_training.prepared import Prepared
from bascule_training.ranking.fit import fit_ranker
from bascule_training.ranking.fitted_ranker import FittedRanker
from bascule_training.towers.two_towers import TwoTowers

FULL_SOFTMAX_SCORES = 2**23
"""Up to so many scores a step, the softmax runs over the whole catalogue unless the configuration says otherwise."""


MARGIN = 0.4
"""Of the contrastive loss: a negative whose cosine is lower costs nothing."""

NEGATIVE_WEIGHT = 100.0
"""Of the contrastive loss: how much the mean over the negatives counts beside the target."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the work begins."""

    title: str
    examples: int = 0
    """Of all its epochs, where towers are trained."""


Event = Stage | Step | Epoch
Observe = Callable[[Event], None]
Curve = Sequence[tuple[float, float]]
"""Mean loss, and NDCG@10 on validation, of every epoch."""


class Fitted(NamedTuple):
    """A trained model, and how it came about."""

    model: TwoTowers
    curves: list[Curve]
    """Of each tower that was trained by gradient."""
    ranker: FittedRanker | None = None


class Trainer:
    """Fits the towers of one configuration."""

    def __init__(
        self, config: TrainingConfig, prepared: Prepared, checkpoints: Path, *, resume: bool, observe: Observe
    ) -> None:
        """``checkpoints`` is the folder of their states; see ``train.train`` for the others."""
        self._config = config
        self._prepared = prepared
        self._checkpoints = checkpoints
        self._resume = resume
        self._observe = observe
        self._length = config.query.history_length
        dataset = prepared.dataset
        self._item_count = len(dataset.items)
        names = feature_names(prepared.query)
        self._user_tensors = prepared.encoder.features.encode(feature_rows(dataset.users, names))
        item_encoder = FeaturesEncoder(prepared.item.features, prepared.item.vocabularies)
        self._item_tensors = item_encoder.encode(feature_rows(dataset.items, feature_names(prepared.item)))

    def fit(self) -> Fitted:
        """Fits all of it.

        Raises:
            DataError: the data is too large for what was chosen.
            CheckpointError: see ``fit.fit``.
        """
        tower = self._config.tower
        if isinstance(tower, ClosedFormTower):
            self._observe(Stage(f"solving for {tower.kind}"))
            first, again = self._solve(tower.kind, tower.dimension)
            return Fitted(again if self._config.fit.refit else first, [], self._ranker(first))
        return self._fit_trained(tower)

    def _fit_trained(self, tower: TrainedTower | ClassicConfig) -> Fitted:
        dataset, fit_config = self._prepared.dataset, self._config.fit
        copies, beside = (1, ()) if isinstance(tower, ClassicConfig) else (tower.copies, tower.beside)
        first = [
            self._train(tower, copy, dataset.splits.train, self._prepared.validation, fit_config.epochs)
            for copy in range(copies)
        ]
        models: list[TwoTowers] = [model for model, _ in first]
        for kind in beside:
            self._observe(Stage(f"solving for {kind}"))
        solved = [self._solve(kind, FROZEN_DIMENSION) for kind in beside]
        frozen = [towers for towers, _ in solved]
        weights = tuned_weights(models, frozen, self._prepared.validation) if frozen else [1.0] * copies
        first_model = again = joined([*models, *frozen], weights)
        if fit_config.refit:
            known, frozen = dataset.before_test(), [towers for _, towers in solved]
            models = [
                self._train(tower, copy, known, None, progress.best_epoch)[0]
                for copy, (_, progress) in enumerate(first)
            ]
            again = joined([*models, *frozen], weights)
        return Fitted(again, [progress.curve for _, progress in first], self._ranker(first_model))

    def _ranker(self, first: TwoTowers) -> FittedRanker | None:
        """Beside towers that have not seen the validation part."""
        config, prepared = self._config, self._prepared
        if config.ranker is None:
            return None
        self._observe(Stage("fitting the ranking tower"))
        features, count = config.ranker.features, config.ranker.candidate_count
        item = declare(features, prepared.dataset.items, "ranker") if features else prepared.item
        return fit_ranker(first, prepared, item, count, refit=config.fit.refit, seed=config.seed)

    def _solve(self, kind: ClosedForm, dimension: int) -> tuple[TwoTowers, TwoTowers]:
        dataset = self._prepared.dataset
        train, known = dataset.histories(dataset.splits.train), dataset.histories(dataset.before_test())
        coded = {name: tensor for name, tensor in self._user_tensors.items() if tensor.dtype == np.int32}
        forms = ClosedForms(self._item_count, UserCodes(self._prepared.query.features, coded))
        return forms.solve(kind, dimension, train.distinct(), self._prepared.validation, known.distinct())

    def _train(
        self,
        tower: TrainedTower | ClassicConfig,
        copy: int,
        interactions: pl.DataFrame,
        validation: Validation | None,
        epochs: int,
    ) -> tuple[TwoTowers, Progress]:
        """Trains one tower, on validation too where that is None."""
        histories = self._prepared.dataset.histories(interactions)
        if not isinstance(tower, HistoryTransformer):
            histories = histories.distinct()
        seed = int(np.random.SeedSequence([self._config.seed, copy]).generate_state(1)[0] >> 1)
        name = f"{'first' if validation else 'again'}-{copy + 1}"
        is_trained = self._prepared.dataset.has_items(interactions)
        identity = f"{name} {self._identity(histories, is_trained)}"
        title = f"fitting tower {copy + 1}" + ("" if validation else " again, on the validation part too")
        self._observe(Stage(title, examples=epochs * len(histories.item_rows)))
        fit_config = self._config.fit
        rows = fit_config.rows_per_batch or tower.default_rows_per_batch
        rate = fit_config.learning_rate or tower.default_learning_rate
        checkpoint = self._checkpoints / f"{name}.npz"
        if isinstance(tower, ClassicConfig):
            features = self._prepared.query.features
            classic = ClassicModel(tower, features, self._item_count, rate, seed=seed)
            feed = ClassicFeed(self._user_tensors, histories, self._item_count, rows, seed)
            run = Run(classic, feed, validation, epochs, fit_config.patience, checkpoint, identity)
            return classic, self._watched(with_heads(fit(run, resume=self._resume), classic))
        batches = self._feed(tower, histories, rows, seed)
        optimiser = RowAdam(rate, max(1, fit_config.epochs * batches.batch_count))
        model = self._model(tower, is_trained, optimiser, batches.sampler is None, seed)
        run = Run(model, batches, validation, epochs, fit_config.patience, checkpoint, identity)
        return model, self._watched(fit(run, resume=self._resume))

    def _model(
        self, tower: TrainedTower, is_trained: NDArray[np.bool_], optimiser: RowAdam, is_full: bool, seed: int
    ) -> TwoTowerModel:
        item = self._config.item
        if self._config.fit.loss == "contrastive":
            # It takes cosines as they are.
            tower = tower.model_copy(update={"temperature": 1.0, "learn_temperature": False})
            item = item.model_copy(update={"bias": False})
        inputs = Inputs(
            query_features=self._prepared.query.features,
            item_features=self._prepared.item.features,
            users=self._user_tensors,
            items=self._item_tensors,
            is_trained=is_trained,
        )
        loss = None if is_full else _loss(self._config.fit, self._item_count)
        competes = not self._config.evaluation.exclude_history
        return TwoTowerModel(tower, item, inputs, optimiser, loss, seed=seed, history_competes=competes)

    def _feed(self, tower: TrainedTower, histories: Histories, rows: int, seed: int) -> Feed:
        weights = example_weights(histories, self._config.fit.half_life_days)
        sampler = self._sampler(tower, histories, rows)
        if isinstance(tower, HistoryTransformer):
            make: MakeExamples = partial(packed_examples, histories, weights, self._length, rows)
            return Feed(make, batch_count(histories, self._length, rows), sampler, seed)
        hides = tower.hides if isinstance(tower, HistoryBag) else "all"
        make = partial(bag_examples, histories, weights, self._length, rows, hides)
        return Feed(make, bag_count(histories, rows, hides), sampler, seed)

    def _sampler(self, tower: TrainedTower, histories: Histories, rows: int) -> CompetitorSampler | None:
        """None where the softmax runs over the whole catalogue."""
        fit_config, negatives = self._config.fit, self._config.fit.negatives
        if negatives == "auto":
            queries = rows * self._length if isinstance(tower, HistoryTransformer) else rows
            is_small = queries * self._item_count <= FULL_SOFTMAX_SCORES
            negatives = "full" if is_small and fit_config.loss == "softmax" else "mixed"
        if negatives == "full":
            return None
        count = 0 if negatives == "in_batch" else fit_config.negative_count
        return CompetitorSampler(
            histories,
            self._item_count,
            in_batch=negatives != "uniform",
            uniform_count=count,
            masks=fit_config.masks or tower.default_masks,
        )

    def _watched(self, events: Iterator[Step | Epoch]) -> Progress:
        while True:
            try:
                self._observe(next(events))
            except StopIteration as end:
                progress: Progress = end.value
                return progress

    def _identity(self, histories: Histories, is_trained: NDArray[np.bool_]) -> str:
        """Differs where a checkpoint must not be continued: in the configuration, the interactions or the features."""
        digest = hashlib.sha256(self._config.model_dump_json(exclude={"data"}).encode())
        tensors: list[NDArray[Any]] = [histories.item_rows, histories.offsets, is_trained]
        for tensor in [*tensors, *self._user_tensors.values(), *self._item_tensors.values()]:
            digest.update(tensor.tobytes())
        return digest.hexdigest()


def _loss(fit: FitConfig, item_count: int) -> Loss:
    """The loss over sampled competitors that a configuration asks for."""

    def loss(positive: tf.Tensor, candidates: tf.Tensor, step: StepTensors) -> tf.Tensor:
        if fit.loss == "gbce":
            return gbce_loss(positive, candidates, step.is_known, step.weights, item_count=item_count)
        if fit.loss == "contrastive":
            return cosine_contrastive_loss(
                positive, candidates, step.is_known, step.weights, margin=MARGIN, negative_weight=NEGATIVE_WEIGHT
            )
        log_q = tf.zeros_like(step.log_q) if fit.correction == "none" else step.log_q
        target_log_q = step.target_log_q if fit.correction == "logq" else None
        return sampled_softmax_loss(positive, candidates, log_q, target_log_q, step.is_known, step.weights)

    return loss
