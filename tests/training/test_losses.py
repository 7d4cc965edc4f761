"""Scores are chosen so that exp(score) is a whole number: the softmax is then a fraction that one can read off."""

from math import log

import numpy as np
import pytest
import tensorflow as tf

from bascule_training.losses import sampled_softmax_loss, softmax_loss

IDENTITY = [[1.0, 0.0], [0.0, 1.0]]


def full(scores: list[list[float]], targets: list[int], weights: list[float], temperature: float = 1.0) -> float:
    """The loss for a matrix of scores [2, 2]: with these queries and an identity of items, scores are the queries."""
    arguments = (tf.constant(scores), tf.constant(IDENTITY), tf.constant(targets), tf.constant(weights))
    return float(softmax_loss(*arguments, temperature))


def sampled(
    scores: list[list[float]],
    positives: list[list[float]],
    is_hit: list[list[bool]],
    weights: list[float],
    temperature: float = 1.0,
) -> float:
    """The loss where the negatives are an identity, so that the queries are the scores of the negatives."""
    arguments = (tf.constant(scores), tf.constant(positives), tf.constant(IDENTITY), tf.constant(is_hit))
    return float(sampled_softmax_loss(*arguments, tf.constant(weights), temperature))


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


def test_the_sampled_loss_is_that_of_the_positive_among_itself_and_the_negatives() -> None:
    # The positive scores ln 3 x 1; the negatives ln 3 and 0. exp: 3, 3 and 1, and the share 3/7.
    scores, positives, nothing = [[log(3), 0.0]] * 2, [[1.0, 0.0]] * 2, [[False, False]] * 2
    assert sampled(scores, positives, nothing, [1.0, 1.0]) == pytest.approx(log(7 / 3))


def test_a_negative_that_is_the_target_is_left_out() -> None:
    # Without the first negative: exp 3 and 1, and the share 3/4.
    scores, positives, first = [[log(3), 0.0]] * 2, [[1.0, 0.0]] * 2, [[True, False]] * 2
    assert sampled(scores, positives, first, [1.0, 1.0]) == pytest.approx(log(4 / 3))


def test_where_all_negatives_are_the_target_nothing_is_left_to_learn() -> None:
    queries = tf.Variable([[1.0, 0.0], [0.0, 1.0]])
    with tf.GradientTape() as tape:
        hits = tf.constant([[True, True]] * 2)
        loss = sampled_softmax_loss(queries, tf.constant(IDENTITY), tf.constant(IDENTITY), hits, tf.ones(2), 0.07)
    assert float(loss) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, queries), 0, atol=1e-6)


def test_the_sampled_loss_with_every_other_item_is_the_full_loss() -> None:
    scores = [[0.3, -0.2], [1.0, 0.4]]
    hits = [[True, False], [False, True]]  # the targets are 0 and 1, and both items are drawn
    assert sampled(scores, IDENTITY, hits, [1.0, 1.0], 0.5) == pytest.approx(full(scores, [0, 1], [1.0, 1.0], 0.5))


def test_a_sampled_query_of_weight_zero_does_not_count() -> None:
    nothing = [[False, False]] * 2
    assert sampled([[0.0, 0.0], [9.0, -9.0]], [[1.0, 0.0]] * 2, nothing, [1.0, 0.0]) == pytest.approx(log(3))
