"""Joins several trained models into one: their vectors side by side, so that the score is still one dot product."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bascule_training.evaluation.evaluated import BATCH_SIZE
from bascule_training.evaluation.metrics import Ranks, ndcg
from bascule_training.fitting.fit import QUALITY_CUTOFF, Validation
from bascule_training.towers.two_towers import Tower, TwoTowers

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""What is tried for a frozen branch, in proportion to all trained branches together."""

_LEAST_DEVIATION = 1e-9


def joined(branches: Sequence[TwoTowers], weights: Sequence[float]) -> TwoTowers:
    """The branches that count something as one model; where only one does, that one as it is."""
    kept = [(branch, weight) for branch, weight in zip(branches, weights, strict=True) if weight > 0]
    return kept[0][0] if len(kept) == 1 else ConcatenatedTowers(*zip(*kept, strict=True))


class ConcatenatedTowers:
    """Several models as one; see ``TwoTowers``.

    The scores of each branch are divided by their standard deviation over the catalogue, which differs from query to
    query, and added with weights. That deviation is the length of the query's vector times a root of the covariance of
    the item vectors, so the query tower itself can tell it.
    """

    def __init__(self, branches: Sequence[TwoTowers], weights: Sequence[float]) -> None:
        """Takes the branches and how much each counts, above 0."""
        self._branches = branches
        self._weights = weights

    def item_vectors(self) -> NDArray[np.float32]:
        """See ``TwoTowers``."""
        return np.concatenate([branch.item_vectors() for branch in self._branches], axis=1)

    def query_tower(self) -> Tower:
        """See ``TwoTowers``."""
        towers = [branch.query_tower() for branch in self._branches]
        roots = [tf.Variable(covariance_root(branch.item_vectors()), trainable=False) for branch in self._branches]

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            parts = []
            for tower, root, weight in zip(towers, roots, self._weights, strict=True):
                part = tower.computation(inputs)
                deviation = tf.norm(tf.matmul(part, root), axis=1, keepdims=True)
                parts.append(part * (weight / tf.maximum(deviation, _LEAST_DEVIATION)))
            return tf.concat(parts, axis=1)

        return Tower(vectors, [*(variable for tower in towers for variable in tower.variables), *roots])

    def item_tower(self) -> Tower | None:
        """See ``TwoTowers``. A branch that cannot place new items says nothing of them: its part is 0."""
        towers = [branch.item_tower() for branch in self._branches]
        if all(tower is None for tower in towers):
            return None
        sizes = [branch.item_vectors().shape[1] for branch in self._branches]

        def vectors(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
            row_count = tf.shape(next(iter(inputs.values())))[0]
            return tf.concat(
                [
                    tf.zeros((row_count, size)) if tower is None else tower.computation(inputs)
                    for tower, size in zip(towers, sizes, strict=True)
                ],
                axis=1,
            )

        return Tower(vectors, [variable for tower in towers if tower is not None for variable in tower.variables])


def covariance_root(item_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [dimension, dimension], R with |q R| the standard deviation of q's scores over the items."""
    centred = item_vectors.astype(np.float64) - item_vectors.mean(axis=0, dtype=np.float64)
    values, directions = np.linalg.eigh(centred.T @ centred / len(item_vectors))
    root: NDArray[np.float32] = (directions * np.sqrt(np.maximum(values, 0.0))).astype(np.float32)
    return root


def tuned_weights(trained: Sequence[TwoTowers], frozen: Sequence[TwoTowers], validation: Validation) -> list[float]:
    """The weights of the branches, trained ones first, that have the highest NDCG@10 on validation.

    Trained branches all count 1.
    """
    grid = list(product(WEIGHTS, repeat=len(frozen)))
    scorers = [_Standardised(branch) for branch in (*trained, *frozen)]
    ranks: list[list[Ranks]] = [[] for _ in grid]
    for start in range(0, len(validation.cases), BATCH_SIZE):
        inputs = validation.encoder.encode(validation.subjects(start))
        parts = [scorer.scores(inputs) for scorer in scorers]
        base = np.mean(parts[: len(trained)], axis=0)
        for weights, found in zip(grid, ranks, strict=True):
            mixed = base + sum(weight * part for weight, part in zip(weights, parts[len(trained) :], strict=True))
            found.append(validation.ranks(mixed.astype(np.float32), start))
    qualities = [ndcg(Ranks.joined(found), QUALITY_CUTOFF).mean() for found in ranks]
    best = grid[int(np.argmax(qualities))]
    return [*(1.0 for _ in trained), *(weight * len(trained) for weight in best)]


class _Standardised:
    """The scores of one branch in units of their deviation."""

    def __init__(self, branch: TwoTowers) -> None:
        self._tower = branch.query_tower()
        self._items = branch.item_vectors()
        self._root = covariance_root(self._items)

    def scores(self, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        queries = self._tower.vectors(inputs)
        deviation = np.linalg.norm(queries @ self._root, axis=1, keepdims=True)
        scores: NDArray[np.float32] = (queries / np.maximum(deviation, _LEAST_DEVIATION)) @ self._items.T
        return scores
