"""Scores are chosen so that exp(score) is a whole number: the softmax is then a fraction that one can read off."""

from collections.abc import Callable
from itertools import product
from math import exp, log, prod
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray

from bascule_training.fitting.losses import (
    cosine_contrastive_loss,
    gbce_loss,
    sampled_softmax_loss,
    softmax_loss,
)


def gradient(loss: Callable[[tf.Tensor], tf.Tensor], at: Any) -> NDArray[np.float32]:
    point = tf.constant(at)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = loss(point)
    found: NDArray[np.float32] = tf.convert_to_tensor(tape.gradient(value, point)).numpy()
    return found


def full(scores: list[list[float]], targets: list[int], weights: list[float], temperature: float = 1.0) -> float:
    """The loss for a matrix of scores [2, 2]."""
    logits = tf.constant(scores) / temperature
    return float(softmax_loss(logits, tf.constant(targets)[:, None], tf.constant(weights)[:, None]))


def full_of_row(logits: tf.Tensor, target: int) -> tf.Tensor:
    """The full softmax of one query with one target."""
    return softmax_loss(logits[None], tf.constant([[target]]), tf.constant([[1.0]]))


def sampled(
    positive: float,
    candidates: list[float],
    log_q: list[float] | None = None,
    positive_log_q: float | None = None,
    is_masked: list[bool] | None = None,
) -> float:
    """The loss of one query with one target."""
    return float(
        sampled_softmax_loss(
            tf.constant([[positive]]),
            tf.constant([candidates]),
            tf.constant(log_q or [0.0] * len(candidates)),
            None if positive_log_q is None else tf.constant([[positive_log_q]]),
            tf.constant([is_masked or [False] * len(candidates)]),
            tf.constant([[1.0]]),
        )
    )


def sampled_of_row(
    logits: tf.Tensor,
    target: int,
    drawn: list[int],
    expected: list[float],
    *,
    is_masked: list[bool],
    target_is_corrected: bool,
) -> tf.Tensor:
    """The loss of one query, whose logits of all items are given, with the candidates ``drawn``.

    ``expected`` is how often each item is expected among them.
    """
    log_q = tf.math.log(tf.constant(expected))
    return sampled_softmax_loss(
        logits[None, target : target + 1],
        tf.gather(logits, drawn)[None],
        tf.gather(log_q, drawn),
        log_q[None, target : target + 1] if target_is_corrected else None,
        tf.constant([is_masked]),
        tf.constant([[1.0]]),
    )


def test_two_equal_scores_cost_the_logarithm_of_two() -> None:
    assert full([[0.0, 0.0], [5.0, 5.0]], [0, 1], [1.0, 1.0]) == pytest.approx(log(2))


def test_the_loss_is_that_of_the_target_among_all_items() -> None:
    # exp: 3 and 1, so the targets have the shares 3/4 and 1/4.
    assert full([[log(3), 0.0], [log(3), 0.0]], [0, 1], [1.0, 1.0]) == pytest.approx((log(4 / 3) + log(4)) / 2)


def test_a_lower_temperature_sharpens_the_softmax() -> None:
    # At 1/2, scores double: exp is 9 and 1, and the share 9/10.
    assert full([[log(3), 0.0], [log(3), 0.0]], [0, 0], [1.0, 1.0], temperature=0.5) == pytest.approx(log(10 / 9))


def test_a_query_of_weight_zero_does_not_count() -> None:
    scores = [[log(3), 0.0], [0.0, 100.0]]
    assert full(scores, [0, 0], [1.0, 0.0]) == pytest.approx(log(4 / 3))


def test_no_query_at_all_costs_nothing() -> None:
    assert full([[0.0, 0.0], [0.0, 0.0]], [0, 0], [0.0, 0.0]) == 0


def test_weights_are_shares_of_a_mean_whatever_they_sum_to() -> None:
    scores = [[log(3), 0.0], [log(3), 0.0]]
    assert full(scores, [0, 1], [0.25, 0.25]) == pytest.approx(full(scores, [0, 1], [1.0, 1.0]))


class TestMultiTarget:
    # exp: 2, 1 and 1, so the items have the shares 1/2, 1/4 and 1/4.
    LOGITS = ((log(2), 0.0, 0.0),)

    def loss(self, targets: list[int], weights: list[float], is_candidate: list[bool] | None = None) -> float:
        candidate = None if is_candidate is None else tf.constant([is_candidate])
        return float(softmax_loss(tf.constant(self.LOGITS), tf.constant([targets]), tf.constant([weights]), candidate))

    def test_it_is_the_mean_over_the_targets(self) -> None:
        assert self.loss([0, 2], [1.0, 1.0]) == pytest.approx((log(2) + log(4)) / 2)

    def test_targets_count_by_weight(self) -> None:
        assert self.loss([0, 2], [3.0, 1.0]) == pytest.approx((3 * log(2) + log(4)) / 4)

    def test_a_target_that_only_fills_does_not_count(self) -> None:
        assert self.loss([0, 2], [1.0, 0.0]) == pytest.approx(log(2))

    def test_an_item_that_is_no_candidate_has_no_share(self) -> None:
        # exp: 2 and 1 are left.
        assert self.loss([0], [1.0], [True, True, False]) == pytest.approx(log(3 / 2))

    def test_what_only_fills_may_be_no_candidate(self) -> None:
        assert self.loss([0, 2], [1.0, 0.0], [True, True, False]) == pytest.approx(log(3 / 2))

    def test_an_item_that_is_no_candidate_is_not_moved(self) -> None:
        arguments = (tf.constant([[0]]), tf.constant([[1.0]]), tf.constant([[True, True, False]]))
        moved = gradient(lambda logits: softmax_loss(logits, *arguments), self.LOGITS)
        np.testing.assert_allclose(moved, [[2 / 3 - 1, 1 / 3, 0]], atol=1e-6)


class TestSampled:
    def test_it_is_that_of_the_target_among_itself_and_the_candidates(self) -> None:
        # exp: 3; 3 and 1. The share is 3/7.
        assert sampled(log(3), [log(3), 0.0]) == pytest.approx(log(7 / 3))

    def test_a_masked_candidate_has_no_share(self) -> None:
        assert sampled(log(3), [log(3), 0.0], is_masked=[True, False]) == pytest.approx(log(4 / 3))

    def test_where_all_are_masked_nothing_is_left_to_learn(self) -> None:
        assert sampled(0.5, [9.0, 9.0], is_masked=[True, True]) == 0
        moved = gradient(
            lambda logits: sampled_of_row(
                logits, 0, [0, 1], [1.0, 1.0], is_masked=[True, True], target_is_corrected=False
            ),
            [0.5, 9.0],
        )
        np.testing.assert_array_equal(moved, [0, 0])

    def test_a_candidate_expected_half_a_time_stands_for_two_items(self) -> None:
        # exp: 3; and twice 1.
        assert sampled(log(3), [0.0], log_q=[log(0.5)]) == pytest.approx(log(5 / 3))

    def test_a_corrected_target_does_so_too(self) -> None:
        # exp: twice 3; and twice 1.
        assert sampled(log(3), [0.0], log_q=[log(0.5)], positive_log_q=log(0.5)) == pytest.approx(log(8 / 6))

    def test_targets_of_a_query_share_its_candidates_but_do_not_compete(self) -> None:
        loss = sampled_softmax_loss(
            tf.constant([[log(3), 0.0, 50.0]]),
            tf.constant([[0.0]]),
            tf.zeros(1),
            None,
            tf.constant([[False]]),
            tf.constant([[1.0, 1.0, 0.0]]),
        )
        assert float(loss) == pytest.approx((log(4 / 3) + log(2)) / 2)

    def test_it_draws_the_target_on_and_drives_candidates_off(self) -> None:
        moved = gradient(
            lambda logits: sampled_of_row(logits, 0, [1], [1.0] * 3, is_masked=[False], target_is_corrected=False),
            [0.0, 0.0, 0.0],
        )
        np.testing.assert_allclose(moved, [-0.5, 0.5, 0])

    def test_with_every_item_once_it_is_the_full_loss(self) -> None:
        logits = tf.constant([0.3, -0.2, 1.0])
        loss = sampled_of_row(
            logits, 0, [0, 1, 2], [1.0] * 3, is_masked=[True, False, False], target_is_corrected=False
        )
        assert float(loss) == pytest.approx(float(full_of_row(logits, 0)))

    def test_over_all_draws_candidates_stand_for_all_items(self) -> None:
        """exp(loss) is 1 by the share of the target. Its mean over everything that may be drawn is that of the full
        softmax: exp is 1, 2 and 5 and the target 0, so 8."""
        logits, q, count = [0.0, log(2), log(5)], [0.5, 0.25, 0.25], 2
        mean = 0.0
        for drawn in product(range(3), repeat=count):
            candidates, log_q = [logits[item] for item in drawn], [log(count * q[item]) for item in drawn]
            loss = sampled(logits[0], candidates, log_q, is_masked=[item == 0 for item in drawn])
            mean += prod(q[item] for item in drawn) * exp(loss)
        assert mean == pytest.approx(8, rel=1e-5)

    def test_in_a_batch_where_items_are_as_frequent_as_they_are_logq_gives_the_gradient_of_the_full_softmax(
        self,
    ) -> None:
        """The target is one of the batch, at place 0, where it is itself and thus masked."""
        batch, expected, logits = [0, 0, 0, 1], [3.0, 1.0], [0.4, -0.3]

        def loss(logits: tf.Tensor) -> tf.Tensor:
            return sampled_of_row(
                logits, 0, batch, expected, is_masked=[True, False, False, False], target_is_corrected=True
            )

        np.testing.assert_allclose(
            gradient(loss, logits), gradient(lambda logits: full_of_row(logits, 0), logits), rtol=1e-5
        )

    @pytest.mark.parametrize(("expected", "left_to_learn"), [(3.0, 3 / 4), (1.0, 1 / 2), (0.5, 1 / 3)])
    def test_with_all_its_places_masked_a_corrected_target_is_taught_by_how_common_it_is(
        self, expected: float, left_to_learn: float
    ) -> None:
        """Equal logits of two items: in the full softmax half is left to learn, and without correction too."""

        def left(*, target_is_corrected: bool) -> float:
            mask = [True, False]
            moved = gradient(
                lambda logits: sampled_of_row(
                    logits, 0, [0, 1], [expected, 1.0], is_masked=mask, target_is_corrected=target_is_corrected
                ),
                [0.0, 0.0],
            )
            return float(moved[1])

        assert left(target_is_corrected=True) == pytest.approx(left_to_learn)
        assert left(target_is_corrected=False) == pytest.approx(1 / 2)

    def test_without_correction_popular_items_are_driven_off_as_often_as_they_are_drawn(self) -> None:
        drawn, mask = [1, 1, 1, 2], [False] * 4

        def moved(expected: list[float]) -> NDArray[np.float32]:
            return gradient(
                lambda logits: sampled_of_row(logits, 0, drawn, expected, is_masked=mask, target_is_corrected=False),
                [0.0, 0.0, 0.0],
            )

        np.testing.assert_allclose(moved([1.0, 1.0, 1.0]), [-4 / 5, 3 / 5, 1 / 5], rtol=1e-6)
        np.testing.assert_allclose(moved([1.0, 3.0, 1.0]), [-2 / 3, 1 / 3, 1 / 3], rtol=1e-6)

    def test_an_uncorrected_target_gives_the_refined_gradient(self) -> None:
        """The formula as it is published: the target is in no sum, and what is left to learn of it is the weight."""
        positive, candidates, log_q = [[0.7]], tf.constant([[0.1, -0.4, 0.9]]), tf.math.log([0.5, 2.0, 0.1])
        negative = tf.reduce_logsumexp(candidates - log_q, axis=1, keepdims=True)

        def published(positive: tf.Tensor) -> tf.Tensor:
            share = tf.exp(positive) / (tf.exp(positive) + tf.exp(negative))
            return tf.reduce_mean(tf.stop_gradient(1.0 - share) * (negative - positive))

        def ours(positive: tf.Tensor) -> tf.Tensor:
            mask = tf.constant([[False] * 3])
            return sampled_softmax_loss(positive, candidates, log_q, None, mask, tf.constant([[1.0]]))

        np.testing.assert_allclose(gradient(ours, positive), gradient(published, positive), rtol=1e-5)

    @pytest.mark.parametrize("logits", [[0.0, log(2), log(5)], [3.0, -1.0, 0.5]])
    def test_the_refined_gradient_is_that_of_the_full_softmax_where_items_are_as_frequent_as_expected(
        self, logits: list[float]
    ) -> None:
        drawn, expected = [0, 1, 1, 1, 2, 2], [1.0, 3.0, 2.0]

        def loss(logits: tf.Tensor) -> tf.Tensor:
            mask = [item == 0 for item in drawn]
            return sampled_of_row(logits, 0, drawn, expected, is_masked=mask, target_is_corrected=False)

        np.testing.assert_allclose(
            gradient(loss, logits), gradient(lambda logits: full_of_row(logits, 0), logits), rtol=1e-5, atol=1e-7
        )


class TestGbce:
    # sigmoid(ln 3) is 3/4, sigmoid(0) is 1/2.

    def loss(self, item_count: int, calibration: float, is_masked: tuple[bool, bool] = (False, False)) -> float:
        arguments = (tf.constant([[log(3)]]), tf.constant([[0.0, log(3)]]), tf.constant([is_masked]))
        return float(gbce_loss(*arguments, tf.constant([[1.0]]), item_count=item_count, calibration=calibration))

    def test_uncalibrated_it_is_binary_cross_entropy(self) -> None:
        assert self.loss(101, 0.0) == pytest.approx((log(4 / 3) + log(2) + log(4)) / 3)

    def test_calibrated_the_target_counts_by_the_share_of_items_that_are_drawn(self) -> None:
        # 2 of 4 other items, so beta is 1/2.
        assert self.loss(5, 1.0) == pytest.approx((log(4 / 3) / 2 + log(2) + log(4)) / 3)

    def test_in_between_beta_is_too(self) -> None:
        # 1/2 (1/2 (1 - 2) + 2) = 3/4.
        assert self.loss(5, 0.5) == pytest.approx((log(4 / 3) * 3 / 4 + log(2) + log(4)) / 3)

    @pytest.mark.parametrize("item_count", [1, 2, 3])
    def test_with_all_items_drawn_there_is_nothing_to_calibrate(self, item_count: int) -> None:
        assert self.loss(item_count, 1.0) == pytest.approx((log(4 / 3) + log(2) + log(4)) / 3)

    def test_a_masked_candidate_does_not_count(self) -> None:
        assert self.loss(101, 0.0, (False, True)) == pytest.approx((log(4 / 3) + log(2)) / 2)

    def test_logits_may_be_large(self) -> None:
        arguments = (tf.constant([[-500.0]]), tf.constant([[500.0]]), tf.constant([[False]]), tf.constant([[1.0]]))
        assert float(gbce_loss(*arguments, item_count=2)) == pytest.approx(500)

    def test_it_draws_the_target_on_and_drives_candidates_off(self) -> None:
        mask, weights = tf.constant([[False]]), tf.constant([[1.0]])

        def loss(logits: tf.Tensor) -> tf.Tensor:
            return gbce_loss(logits[None, :1], logits[None, 1:], mask, weights, item_count=2)

        np.testing.assert_allclose(gradient(loss, [0.0, 0.0]), [-1 / 4, 1 / 4])


class TestCosineContrastive:
    def loss(self, is_masked: tuple[bool, bool, bool] = (False, False, False), weight: float = 1.0) -> float:
        arguments = (tf.constant([[0.75]]), tf.constant([[0.5, 1.0, -1.0]]), tf.constant([is_masked]))
        return float(cosine_contrastive_loss(*arguments, tf.constant([[weight]]), margin=0.25, negative_weight=2.0))

    def test_it_is_what_the_target_lacks_and_what_candidates_have_beyond_the_margin(self) -> None:
        # 1 - 3/4, and twice the mean of 1/4, 3/4 and nothing.
        assert self.loss() == pytest.approx(1 / 4 + 2 * (1 / 4 + 3 / 4) / 3)

    def test_a_masked_candidate_does_not_count(self) -> None:
        assert self.loss((False, True, True)) == pytest.approx(1 / 4 + 2 * 1 / 4)

    def test_with_all_candidates_masked_the_target_is_left(self) -> None:
        assert self.loss((True, True, True)) == pytest.approx(1 / 4)

    def test_no_target_costs_nothing(self) -> None:
        assert self.loss(weight=0.0) == 0

    def test_a_candidate_within_the_margin_is_left_alone(self) -> None:
        mask, weights = tf.constant([[False, False]]), tf.constant([[1.0]])

        def loss(cosines: tf.Tensor) -> tf.Tensor:
            return cosine_contrastive_loss(
                cosines[None, :1], cosines[None, 1:], mask, weights, margin=0.25, negative_weight=2.0
            )

        np.testing.assert_allclose(gradient(loss, [0.0, 0.5, 0.0]), [-1, 1, 0])
