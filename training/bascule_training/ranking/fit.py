"""Fits a ranking tower on the validation part, beside towers that have not seen it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule_server.ranker_inputs import NUMBERS, RankerInputs, RankerItems
from bascule_training.fit import QUALITY_CUTOFF
from bascule_training.histories import Histories
from bascule_training.metrics import ndcg
from bascule_training.prepared import Prepared
from bascule_training.ranking.candidates import RankingCase, ranking_cases, ranks_of
from bascule_training.ranking.fitted_ranker import FittedRanker
from bascule_training.ranking.item_numbers import item_numbers
from bascule_training.ranking.tower import RankingTower, mean_tower
from bascule_training.two_towers import TwoTowers

MAX_EPOCHS = 60
PATIENCE = 6
FOLDS = 3
CASES_PER_STEP = 32
LEARNING_RATE = 3e-3
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

    Three towers, each on two thirds of the users and until it no longer gets better on the other third, score together.

    Args:
        first: towers that saw the training part alone.
        prepared: the data.
        item_tensors: the features of items that it reads, as ``bascule_server.encoder`` makes them, by name.
        candidate_count: how many items are ranked.
        refit: whether the published towers saw the validation part too, which the items' numbers are then of as well.
        seed: of the weights and of the order of the cases.
    """
    dataset = prepared.dataset
    item_count = len(dataset.items)

    def items(histories: Histories) -> RankerItems:
        return RankerItems(item_numbers(histories, item_count), item_tensors)

    train = items(dataset.histories(dataset.splits.train))
    inputs = RankerInputs(train, candidate_count)
    cases = ranking_cases(first, prepared.validation, inputs, candidate_count)
    towers = fitted_towers(cases, train.number_count, seed=seed)
    served = items(dataset.histories(dataset.before_test())) if refit else train
    return FittedRanker(mean_tower(towers), served, candidate_count)


def fitted_towers(cases: Sequence[RankingCase], number_count: int, *, seed: int) -> list[RankingTower]:
    """A tower for each fold, by NDCG@10 on it; of fewer cases than folds one that orders as retrieval does."""
    if len(cases) < FOLDS:
        return [RankingTower(number_count, seed=seed)]
    folds = np.random.default_rng(seed).permutation(len(cases)) % FOLDS
    towers = []
    for fold in range(FOLDS):
        held_out = [case for case, of in zip(cases, folds, strict=True) if of == fold]
        fit = _Fit([case for case, of in zip(cases, folds, strict=True) if of != fold], number_count, seed + fold)
        towers.append(fit.best_tower(held_out))
    return towers


class _Fit:
    """A ranking tower in training."""

    def __init__(self, cases: Sequence[RankingCase], number_count: int, seed: int) -> None:
        # A case without a relevant candidate says nothing about their order.
        self._cases = [case for case in cases if case.is_relevant.any()]
        self.ranking_tower = RankingTower(number_count, seed=seed)
        self._random = np.random.default_rng(seed)
        self._optimiser = keras.optimizers.Adam(LEARNING_RATE)
        self._optimiser.build(self.ranking_tower.variables)
        self._step = tf.function(self._improve, reduce_retracing=True)
        self._scores = tf.function(self.ranking_tower.scores, reduce_retracing=True)

    def best_tower(self, held_out: Sequence[RankingCase]) -> RankingTower:
        """The tower after the epoch that was best on other cases: before the first where none was better."""
        best, quality, waited = self._weights(), self.quality(held_out), 0
        for _ in range(MAX_EPOCHS if self._cases else 0):
            self.epoch()
            reached = self.quality(held_out)
            waited = 0 if reached > quality else waited + 1
            if reached > quality:
                best, quality = self._weights(), reached
            elif waited == PATIENCE:
                break
        for variable, weights in zip(self.ranking_tower.variables, best, strict=True):
            variable.assign(weights)
        return self.ranking_tower

    def _weights(self) -> list[NDArray[np.float32]]:
        return [variable.numpy() for variable in self.ranking_tower.variables]

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
            scores = tower.scores(inputs, training=True)[:, 0]
            highest = tf.stop_gradient(tf.math.unsorted_segment_max(scores, case_of, case_count))
            exponentials = tf.exp(scores - tf.gather(highest, case_of))
            log_sums = highest + tf.math.log(tf.math.unsorted_segment_sum(exponentials, case_of, case_count))
            loss = -tf.reduce_sum(shares * (scores - tf.gather(log_sums, case_of))) + PENALTY * tower.penalty()
        self._optimiser.apply(tape.gradient(loss, tower.variables), tower.variables)


def _joined(cases: Sequence[RankingCase]) -> dict[str, tf.Tensor]:
    """The numbers of all candidates, [candidates, numbers]."""
    return {NUMBERS: tf.constant(np.concatenate([case.inputs[NUMBERS] for case in cases]))}
