"""Losses, as pure functions of vectors."""

import tensorflow as tf


def softmax_loss(
    queries: tf.Tensor, items: tf.Tensor, targets: tf.Tensor, weights: tf.Tensor, temperature: float
) -> tf.Tensor:
    """Cross-entropy of the target under a softmax over all given items, averaged over the queries.

        loss = sum_i w_i (log sum_j exp(q_i v_j / t) - q_i v_target(i) / t) / sum_i w_i

    Args:
        queries: float32 [queries, dimension].
        items: float32 [items, dimension].
        targets: int32 [queries], the place among ``items`` of each query's target.
        weights: float32 [queries], 0 for a query that does not count.
        temperature: above 0.

    Returns:
        float32 [].
    """
    logits = tf.matmul(queries, items, transpose_b=True) / temperature
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    return _mean(losses, weights)


def sampled_softmax_loss(
    queries: tf.Tensor,
    positives: tf.Tensor,
    negatives: tf.Tensor,
    is_hit: tf.Tensor,
    weights: tf.Tensor,
    temperature: float,
) -> tf.Tensor:
    """The same with a few negatives drawn evenly from the catalogue and shared by all queries.

    Drawn evenly, every negative has the same probability; the correction by its logarithm (Jean et al. 2015, "On using
    very large target vocabulary") is then one constant, and left out.

    Args:
        queries: float32 [queries, dimension].
        positives: float32 [queries, dimension], the vector of each query's target.
        negatives: float32 [negatives, dimension].
        is_hit: bool [queries, negatives], whether a negative is the query's own target: it is left out.
        weights: float32 [queries].
        temperature: above 0.
    """
    positive = tf.reduce_sum(queries * positives, axis=-1, keepdims=True)
    negative = tf.where(is_hit, float("-inf"), tf.matmul(queries, negatives, transpose_b=True))
    logits = tf.concat([positive, negative], axis=-1) / temperature
    losses = tf.reduce_logsumexp(logits, axis=-1) - logits[:, 0]
    return _mean(losses, weights)


def _mean(losses: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(losses * weights) / tf.maximum(tf.reduce_sum(weights), 1.0)
