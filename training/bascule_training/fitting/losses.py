"""Losses, as pure functions of vectors or of logits.

A logit is a score divided by the temperature. A weight of 0 means that a target does not count; all losses are means
over the targets by weight, and 0 where none counts.
"""

from collections.abc import Callable

import tensorflow as tf

_NO_CANDIDATE = -1e9
"""A logit of probability 0. Finite, so that a target that does not count may be one without making NaN."""


def softmax_loss(
    logits: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, is_candidate: tf.Tensor | None = None
) -> tf.Tensor:
    """Cross-entropy of each of a query's targets under one softmax over all items.

    With weights that sum to 1 for each query it is the multinomial likelihood of Liang et al. 2018, "Variational
    autoencoders for collaborative filtering".

    Args:
        logits: float32 [queries, items].
        targets: int32 [queries, targets], items.
        weights: float32 [queries, targets].
        is_candidate: bool [queries, items], which items are in the softmax, as the query's targets must be; None for
            all.

    Returns:
        float32 [].
    """
    if is_candidate is not None:
        logits = tf.where(is_candidate, logits, _NO_CANDIDATE)
    return _mean(_log_sum_exp(logits) - tf.gather(logits, targets, batch_dims=1), weights)


def sampled_softmax_loss(
    positive: tf.Tensor,
    candidates: tf.Tensor,
    log_q: tf.Tensor,
    positive_log_q: tf.Tensor | None,
    is_masked: tf.Tensor,
    weights: tf.Tensor,
) -> tf.Tensor:
    """Cross-entropy of each target under a softmax over itself and sampled candidates, corrected for the sampling.

        loss = log(exp(s) + sum_j exp(s_j - log q_j)) - s,   s = positive  or  positive - positive_log_q

    Each candidate stands for the 1 / q_j items that were as likely to be drawn: with q_j the number of times that its
    item is expected among the candidates, the sum is on average that over all items that are not masked.

    Without ``positive_log_q``, the target counts as what it is, certain to be there. The gradient is then the one of
    Khrylchenko et al. 2025, "Correcting the LogQ correction": that of

        (1 - p) (log sum_j exp(s_j - log q_j) - s),   p = exp(-loss), taken for a constant

    and, where every candidate that is the target is masked, it comes to that of the full softmax with more candidates.

    With ``positive_log_q``, the target is corrected as if it had been drawn: the logQ correction of Yi et al. 2019,
    "Sampling-bias-corrected neural modeling for large corpus item recommendations", for the targets of a batch that
    compete with each other. It is meant for a mask of the query's own place in the batch alone. Where all places of
    the target are masked, targets of rare items are taught less than by the full softmax, those of common ones more.

    Args:
        positive: float32 [queries, targets], the logits of the targets.
        candidates: float32 [queries, candidates], the logits of the candidates.
        log_q: float32 [candidates], the logarithm of how often a candidate's item is expected among the candidates;
            zeros: no correction.
        positive_log_q: float32 [queries, targets], the same of the targets; None: targets are not corrected.
        is_masked: bool [queries, candidates], which ones are no negatives of the query.
        weights: float32 [queries, targets].

    Returns:
        float32 [].
    """
    if positive_log_q is not None:
        positive -= positive_log_q
    negative = _log_sum_exp(tf.where(is_masked, _NO_CANDIDATE, candidates - log_q))
    return _mean(tf.nn.softplus(negative - positive), weights)


def gbce_loss(
    positive: tf.Tensor,
    candidates: tf.Tensor,
    is_masked: tf.Tensor,
    weights: tf.Tensor,
    *,
    item_count: int,
    calibration: float = 0.75,
) -> tf.Tensor:
    """Generalised binary cross-entropy: targets are told from candidates that were drawn evenly, one by one.

        loss = -(beta log sigmoid(s) + sum_j log(1 - sigmoid(s_j))) / (1 + candidates that are not masked)
        beta = alpha (t (1 - 1 / alpha) + 1 / alpha),   alpha = candidates / (item_count - 1)

    Few negatives make a model sure of too much; beta below 1 takes from the targets what the negatives left out lack.
    Petrov and Macdonald 2023, "gSASRec: reducing overconfidence in sequential recommendation trained with negative
    sampling".

    Args:
        positive: float32 [queries, targets], the logits of the targets.
        candidates: float32 [queries, candidates], the logits of the candidates.
        is_masked: bool [queries, candidates], which ones are no negatives of the query.
        weights: float32 [queries, targets].
        item_count: how many items candidates are drawn from.
        calibration: t, from 0, binary cross-entropy as it is, to 1, probabilities as with all items for negatives.

    Returns:
        float32 [].
    """
    # Candidates are drawn with repetitions and may outnumber the items.
    alpha = min(candidates.shape[1] / max(item_count - 1, 1), 1.0)
    beta = calibration * (alpha - 1.0) + 1.0
    negative = _sum_unmasked(tf.nn.softplus(candidates), is_masked)
    losses = (beta * tf.nn.softplus(-positive) + negative) / (1.0 + _unmasked_count(is_masked))
    return _mean(losses, weights)


def cosine_contrastive_loss(
    positive: tf.Tensor,
    candidates: tf.Tensor,
    is_masked: tf.Tensor,
    weights: tf.Tensor,
    *,
    margin: float,
    negative_weight: float,
) -> tf.Tensor:
    """Targets are drawn to the query; candidates that are nearer to it than a margin are driven off.

        loss = 1 - s + negative_weight mean_j max(0, s_j - margin)

    Mao et al. 2021, "SimpleX: a simple and strong baseline for collaborative filtering".

    Args:
        positive: float32 [queries, targets], the cosines of the targets, not divided by a temperature.
        candidates: float32 [queries, candidates], the cosines of the candidates.
        is_masked: bool [queries, candidates], which ones are no negatives of the query.
        weights: float32 [queries, targets].
        margin: of a cosine, from -1 to 1.
        negative_weight: how much all candidates count together beside one target; above 0.

    Returns:
        float32 [].
    """
    near = _sum_unmasked(tf.nn.relu(candidates - margin), is_masked)
    losses = 1.0 - positive + negative_weight * tf.math.divide_no_nan(near, _unmasked_count(is_masked))
    return _mean(losses, weights)


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _log_sum_exp(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
    """float32 [queries, 1], the logarithm of the sum of the exponentials of logits [queries, items], finite ones.

    Its gradient is the softmax, made from the exponentials that are there already: TensorFlow's own goes over all the
    logits twice more.
    """
    highest = tf.reduce_max(logits, axis=1, keepdims=True)
    exponentials = tf.exp(logits - highest)
    total = tf.reduce_sum(exponentials, axis=1, keepdims=True)
    return tf.math.log(total) + highest, lambda upstream: exponentials * (upstream / total)


def _sum_unmasked(values: tf.Tensor, is_masked: tf.Tensor) -> tf.Tensor:
    """float32 [queries, 1]."""
    return tf.reduce_sum(tf.where(is_masked, 0.0, values), axis=1, keepdims=True)


def _unmasked_count(is_masked: tf.Tensor) -> tf.Tensor:
    """float32 [queries, 1]."""
    return tf.reduce_sum(tf.where(is_masked, 0.0, 1.0), axis=1, keepdims=True)


def _mean(losses: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.math.divide_no_nan(tf.reduce_sum(losses * weights), tf.reduce_sum(weights))
