"""Fits a ranking tower on logged outcomes, or else on the validation part, beside towers that have not seen them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_server.scoring.ranker_inputs import CONTEXT, RankerInputs, RankerItems
from bascule_training.data.features import Declared, feature_names, feature_rows
from bascule_training.data.histories import Histories
from bascule_training.evaluation.metrics import ndcg
from bascule_training.fitting.fit import QUALITY_CUTOFF
from bascule_training.prepared import Prepared
from bascule_training.ranking.candidates import RankingCase, ranking_cases, ranks_of
from bascule_training.ranking.fitted_ranker import FittedRanker
from bascule_training.ranking.item_numbers import item_numbers
from bascule_training.ranking.shown import shown_cases
from bascule_training.ranking.tower import RankingTower, mean_tower
from bascule_training.towers.two_towers import TwoTowers

MAX_EPOCHS = 60
PATIENCE = 6
FOLDS = 3
CASES_PER_STEP = 32
LEARNING_RATE = 3e-3
PENALTY = 1e-4
NO_CONTEXT = 0.1
"""How often the context of a case is hidden, so that the tower also learns to do without."""


def fit_ranker(
    first: TwoTowers,
    prepared: Prepared,
    item: Declared,
    candidate_count: int,
    *,
    refit: bool,
    seed: int,
) -> FittedRanker:
    """Trains on what users turned to: among what they were shown, where there are logged outcomes.

    Else among the items that ``first`` retrieves for the users of the validation part. Three towers, each on two thirds
    of the users and until it no longer gets better on the other third, score together.

    Args:
        first: towers that saw the training part alone.
        prepared: the data.
        item: the features of items that it reads.
        candidate_count: how many items are ranked.
        refit: whether the published towers saw the validation part too, which the items' numbers are then of as well.
        seed: of the weights and of the order of the cases.

    Raises:
        DataError: there are outcomes, and nothing is to be learned from them.
    """
    dataset = prepared.dataset
    item_count = len(dataset.items)
    tensors = FeaturesEncoder(*item).encode(feature_rows(dataset.items, feature_names(item)))

    def items(histories: Histories) -> RankerItems:
        return RankerItems(item_numbers(histories, item_count), tensors)

    train = items(dataset.histories(dataset.splits.train))
    context = prepared.context
    inputs = RankerInputs(train, candidate_count, context.encoder())
    if prepared.shown is None:
        cases = ranking_cases(first, prepared.validation, inputs, candidate_count)
    else:
        cases = shown_cases(first, prepared, prepared.shown, inputs, candidate_count)
    towers = fitted_towers(cases, train.number_count, context.features, item.features, seed=seed)
    served = items(dataset.histories(dataset.before_test())) if refit else train
    return FittedRanker(mean_tower(towers), served, candidate_count, context, item.features)


def fitted_towers(
    cases: Sequence[RankingCase],
    number_count: int,
    context: Sequence[Feature] = (),
    item: Sequence[Feature] = (),
    *,
    seed: int,
) -> list[RankingTower]:
    """A tower for each fold of the users, by NDCG@10 on it.

    Of fewer users than folds one that orders as retrieval does. The features are those of ``RankingTower``.
    """
    users, user_of = np.unique([case.user for case in cases], return_inverse=True)
    if len(users) < FOLDS:
        return [RankingTower(number_count, context, item, seed=seed)]
    folds = (np.random.default_rng(seed).permutation(len(users)) % FOLDS)[user_of]
    towers = []
    for fold in range(FOLDS):
        held_out = [case for case, of in zip(cases, folds, strict=True) if of == fold]
        others = [case for case, of in zip(cases, folds, strict=True) if of != fold]
        tower = RankingTower(number_count, context, item, seed=seed + fold)
        towers.append(_Fit(tower, others, seed + fold).best_tower(held_out))
    return towers


class _Fit:
    """A ranking tower in training."""

    def __init__(self, tower: RankingTower, cases: Sequence[RankingCase], seed: int) -> None:
        # A case without a relevant candidate says nothing about their order.
        self._cases = [case for case in cases if case.is_relevant.any()]
        self._mean_gain = float(np.mean([case.gains.sum() for case in self._cases])) if self._cases else 1.0
        self.ranking_tower = tower
        self._random = np.random.default_rng(seed)
        self._optimiser = keras.optimizers.Adam(LEARNING_RATE)
        self._optimiser.build(self.ranking_tower.variables)
        self._step = tf.function(self._improve, reduce_retracing=True)
        self._scores = tf.function(self.ranking_tower.scores, reduce_retracing=True)

    def best_tower(self, held_out: Sequence[RankingCase]) -> RankingTower:
        """The tower after the epoch that was best on other cases: before the first where none was better."""
        joined = _joined(held_out, np.zeros(len(held_out), bool))
        best, quality, waited = self._weights(), self._quality(held_out, joined), 0
        for _ in range(MAX_EPOCHS if self._cases else 0):
            self.epoch()
            reached = self._quality(held_out, joined)
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
            shares = [case.gains / (self._mean_gain * len(chosen)) for case in chosen]
            hides = np.zeros(len(chosen), bool)
            if self.ranking_tower.reads_context:
                hides = self._random.random(len(chosen)) < NO_CONTEXT
            self._step(
                _joined(chosen, hides),
                tf.constant(np.concatenate(shares), tf.float32),
                tf.constant(np.repeat(np.arange(len(chosen)), [len(case.gains) for case in chosen])),
                tf.constant(len(chosen)),
            )

    def _quality(self, cases: Sequence[RankingCase], joined: Mapping[str, tf.Tensor]) -> float:
        """Mean NDCG@10, in which each case counts as much as its gains together."""
        scores = self._scores(joined).numpy()[:, 0]
        ends = np.cumsum([len(case.gains) for case in cases])[:-1]
        gains = np.array([case.gains.sum() for case in cases])
        values = ndcg(ranks_of(cases, np.split(scores, ends)), QUALITY_CUTOFF)
        return float(np.average(values, weights=gains)) if gains.any() else 0.0

    def _improve(
        self, inputs: Mapping[str, tf.Tensor], shares: tf.Tensor, case_of: tf.Tensor, case_count: tf.Tensor
    ) -> None:
        """One step on the softmax over the candidates of each case (Cao and others, Learning to rank, 2007).

        Args:
            inputs: of the candidates of all cases, [candidates, ...].
            shares: float32 [candidates], how much each counts as a target; their sum is 1 on average.
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


def _joined(cases: Sequence[RankingCase], hides_context: NDArray[np.bool_]) -> dict[str, tf.Tensor]:
    """The inputs of all candidates, [candidates, ...]; of some cases the context is as if nothing were known of it."""

    def of(case: RankingCase, name: str, is_hidden: bool) -> NDArray[Any]:
        return np.zeros_like(case.inputs[name]) if is_hidden and name.startswith(CONTEXT) else case.inputs[name]

    return {
        name: tf.constant(
            np.concatenate([of(case, name, hidden) for case, hidden in zip(cases, hides_context.tolist(), strict=True)])
        )
        for name in cases[0].inputs
    }
