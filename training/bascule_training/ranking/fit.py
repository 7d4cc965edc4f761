"""Fits a ranking tower on the validation part, beside towers that have not seen it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_server.ranker_inputs import NUMBERS, RankerInputs, RankerItems
from bascule_training.fit import QUALITY_CUTOFF
from bascule_training.histories import Histories
from bascule_training.metrics import ndcg
from bascule_training.prepared import Prepared
from bascule_training.ranking.candidates import RankingCase, ranking_cases, ranks_of
from bascule_training.ranking.fitted_ranker import FittedRanker
from bascule_training.ranking.item_numbers import item_numbers
from bascule_training.ranking.tower import RankingTower, ranker_features
from bascule_training.two_towers import TwoTowers

EPOCHS = 60
FOLDS = 4
CASES_PER_STEP = 64
LEARNING_RATE = 1e-2
PENALTY = 1e-4


def fit_ranker(
    first: TwoTowers,
    prepared: Prepared,
    item_tensors: Mapping[str, NDArray[Any]],
    candidate_count: int,
    *,
    refit: bool,
    seed: int,
) -> FittedRanker:
    """Trains on what the users of the validation part turned to among the items that ``first`` retrieves for them.

    For how many epochs is decided by NDCG@10 on held-out cases, over four folds; then it is trained on all of them.

    Args:
        first: towers that saw the training part alone.
        prepared: the data.
        item_tensors: the item features as ``bascule_server.encoder`` makes them, by name.
        candidate_count: how many items are ranked.
        refit: whether the published towers saw the validation part too, which the items' numbers are then of as well.
        seed: of the weights and of the order of the cases.
    """
    dataset = prepared.dataset
    item_count = len(dataset.items)

    def items(histories: Histories) -> RankerItems:
        return RankerItems(item_numbers(histories, item_count), item_tensors)

    train = items(dataset.histories(dataset.splits.train))
    inputs = RankerInputs(train, prepared.encoder.features, candidate_count)
    cases = ranking_cases(first, prepared.validation, inputs, candidate_count)
    features = ranker_features(prepared.query.features, prepared.item.features)
    epochs = best_epochs(cases, features, seed=seed)
    tower = fitted_tower(cases, features, epochs, seed=seed).tower()
    served = items(dataset.histories(dataset.before_test())) if refit else train
    return FittedRanker(tower, features, served, candidate_count, epochs)


def fitted_tower(cases: Sequence[RankingCase], features: Sequence[Feature], epochs: int, *, seed: int) -> RankingTower:
    """A ranking tower that is trained on at least one case for so many epochs."""
    fit = _Fit(cases, features, seed)
    for _ in range(epochs):
        fit.epoch()
    return fit.ranking_tower


def best_epochs(cases: Sequence[RankingCase], features: Sequence[Feature], *, seed: int) -> int:
    """The number of epochs after which the mean quality over the folds is best: of equals the least, of few cases 0."""
    folds = np.random.default_rng(seed).permutation(len(cases)) % FOLDS
    curves = []
    for fold in range(FOLDS if len(cases) >= FOLDS else 0):
        held_out = [case for case, of in zip(cases, folds, strict=True) if of == fold]
        fit = _Fit([case for case, of in zip(cases, folds, strict=True) if of != fold], features, seed)
        curve = [fit.quality(held_out)]
        for _ in range(EPOCHS):
            fit.epoch()
            curve.append(fit.quality(held_out))
        curves.append(curve)
    return int(np.argmax(np.mean(curves, axis=0))) if curves else 0


class _Fit:
    """A ranking tower in training."""

    def __init__(self, cases: Sequence[RankingCase], features: Sequence[Feature], seed: int) -> None:
        # A case without a relevant candidate says nothing about their order.
        self._cases = [case for case in cases if case.is_relevant.any()]
        numbers = np.concatenate([case.inputs[NUMBERS] for case in cases])
        self.ranking_tower = RankingTower(features, numbers, seed=seed)
        self._random = np.random.default_rng(seed)
        self._optimiser = keras.optimizers.Adam(LEARNING_RATE)
        self._optimiser.build(self.ranking_tower.variables)
        self._step = tf.function(self._improve, reduce_retracing=True)
        self._scores = tf.function(self.ranking_tower.scores, reduce_retracing=True)

    def epoch(self) -> None:
        """Sees each case once."""
        order = self._random.permutation(len(self._cases))
        for start in range(0, len(order), CASES_PER_STEP):
            chosen = [self._cases[place] for place in order[start : start + CASES_PER_STEP]]
            shares = [case.is_relevant / (case.is_relevant.sum() * len(chosen)) for case in chosen]
            self._step(
                _joined(chosen),
                tf.constant(np.concatenate(shares), tf.float32),
                tf.constant(np.repeat(np.arange(len(chosen)), [len(case.is_relevant) for case in chosen])),
                tf.constant(len(chosen)),
            )

    def quality(self, cases: Sequence[RankingCase]) -> float:
        """Mean NDCG@10."""
        scores = self._scores(_joined(cases)).numpy()[:, 0]
        ends = np.cumsum([len(case.is_relevant) for case in cases])[:-1]
        return float(ndcg(ranks_of(cases, np.split(scores, ends)), QUALITY_CUTOFF).mean())

    def _improve(
        self, inputs: Mapping[str, tf.Tensor], shares: tf.Tensor, case_of: tf.Tensor, case_count: tf.Tensor
    ) -> None:
        """One step on the softmax over the candidates of each case (Cao and others, Learning to rank, 2007).

        Args:
            inputs: of the candidates of all cases, [candidates, ...].
            shares: float32 [candidates], how much each counts as a target; the sum is 1.
            case_of: int64 [candidates], ascending.
            case_count: int32 [].
        """
        tower = self.ranking_tower
        with tf.GradientTape() as tape:
            scores = tower.scores(inputs)[:, 0]
            highest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, case_of, case_count))
            exponentials = tf.exp(scores - tf.gather(highest, case_of))
            log_sums = highest + tf.math.log(tf.math.unsorted_segment_sum(exponentials, case_of, case_count))
            loss = -tf.reduce_sum(shares * (scores - tf.gather(log_sums, case_of))) + PENALTY * tower.penalty()
        self._optimiser.apply(tape.gradient(loss, tower.variables), tower.variables)


def _joined(cases: Sequence[RankingCase]) -> dict[str, tf.Tensor]:
    """The inputs of all candidates, [candidates, ...]."""
    return {name: tf.constant(np.concatenate([case.inputs[name] for case in cases])) for name in cases[0].inputs}
