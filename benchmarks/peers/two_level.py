"""The model and the exact search that every peer runs, in NumPy alone: as fast as we can write it there.

Exact top-k in two levels. The scores of a user are cut into groups, and the largest of each group is kept; the k groups
with the largest of these hold the k best items, since any item of another group is beaten by one item of each of them.
So only their members are sorted. A group is columns g, g + width, g + 2 width ..., which makes the maxima one pass over
whole rows.
"""

from pathlib import Path
from typing import Any

import numpy as np

GROUP = 32
"""Items a group. Measured on NumPy 1.26: larger ones save in the choice of groups what they cost in their members."""
ROWS = 128
"""Users computed at once at most."""

Float32 = np.ndarray[Any, np.dtype[np.float32]]
Int32 = np.ndarray[Any, np.dtype[np.int32]]


class Recommender:
    """From histories to the best items. Called by one thread at a time, since it keeps its buffers."""

    def __init__(self, weights: Path, item_vectors: Path, item_count: int = 20) -> None:
        """``weights`` is the folder that ``serving_weights.save_weights`` wrote; ``item_count`` how many to return."""
        self._embeddings = np.load(weights / "embeddings.npy")
        names = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
        self._layers = [np.load(weights / f"{name}.npy") for name in names]
        vectors = np.load(item_vectors)
        self._transposed = vectors.T
        self._count = item_count
        self._width = -(-len(vectors) // GROUP)
        # Columns beyond the last item fill up the groups, and are never among the best.
        self._scores = np.full((ROWS, self._width * GROUP), -np.inf, np.float32)
        self._maxima = np.empty((ROWS, self._width), np.float32)
        self._members = (self._width * np.arange(GROUP, dtype=np.int32))[None, None, :]
        self._users = np.arange(ROWS, dtype=np.int32)[:, None]

    def recommend(self, histories: Int32) -> tuple[Int32, Float32]:
        """The best items of some users.

        Args:
            histories: int32 [users, history], item rows.

        Returns:
            int32 [users, item_count], item rows, best first; and float32 [users, item_count], their scores.
        """
        parts = [self._part(histories[start : start + ROWS]) for start in range(0, len(histories), ROWS)]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([scores for _, scores in parts])

    def _part(self, histories: Int32) -> tuple[Int32, Float32]:
        users = len(histories)
        scores, maxima, user = self._scores[:users], self._maxima[:users], self._users[:users]
        np.matmul(self._queries(histories), self._transposed, out=scores[:, : self._transposed.shape[1]])
        np.maximum.reduce(scores.reshape(users, GROUP, self._width), axis=1, out=maxima)
        groups = np.argpartition(maxima, self._width - self._count, axis=1)[:, -self._count :].astype(np.int32)
        members = (groups[:, :, None] + self._members).reshape(users, -1)
        found = scores[user, members]
        best = np.argpartition(found, found.shape[1] - self._count, axis=1)[:, -self._count :]
        found = found[user, best]
        order = np.argsort(-found, axis=1)
        return members[user, best[user, order]], found[user, order]

    def _queries(self, histories: Int32) -> Float32:
        """float32 [users, dimension]."""
        hidden_kernel, hidden_bias, output_kernel, output_bias = self._layers
        pooled = np.take(self._embeddings, histories, axis=0, mode="wrap").mean(axis=1)
        queries: Float32 = np.maximum(pooled @ hidden_kernel + hidden_bias, 0) @ output_kernel + output_bias
        return queries
