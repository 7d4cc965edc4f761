"""The model and our own exact search, as every peer runs them: what differs between the servers is what is around it.

The search is that of bascule_server/retrieval/exact.py: rough scores by 8 bits a component in LiteRT's integer kernels,
the best of each group of items, the members of the few groups that can hold one of the best, and these scored in full.
There are no exclusions here, no filters, and every user wants as many items. The layer and what is lost to the 8 bits
come from ``serving_peers``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

GROUP = 16
MOST_TOGETHER = 20
"""Users whose rough scores are computed together."""
FEWEST_COMPARED, COMPARED_PER_ITEM = 256, 8
STEPS = 255
INPUT, OUTPUT = 0, 2

Float32 = np.ndarray[Any, np.dtype[np.float32]]
Int32 = np.ndarray[Any, np.dtype[np.int32]]
Int64 = np.ndarray[Any, np.dtype[np.int64]]


class Recommender:
    """From histories to the best items. Called by one thread at a time, since it keeps its buffers."""

    def __init__(self, weights: Path, item_vectors: Path, item_count: int = 20) -> None:
        """``weights`` is the folder of ``serving_weights``; ``item_count`` how many to return."""
        self._embeddings = np.load(weights / "embeddings.npy")
        names = ("hidden_kernel", "hidden_bias", "output_kernel", "output_bias")
        self._layers = [np.load(weights / f"{name}.npy") for name in names]
        self._vectors = np.load(item_vectors)
        self._longest, self._most_lost = np.load(weights / "lost.npy").tolist()
        layer = (weights / "items.tflite").read_bytes()
        self._interpreter = Interpreter(model_content=layer, num_threads=1)
        self._prepared = 0
        self._count = item_count

    def recommend(self, histories: Int32) -> tuple[Int32, Float32]:
        """The best items of some users.

        Args:
            histories: int32 [users, history], item rows.

        Returns:
            int32 [users, item_count], item rows, best first; and float32 [users, item_count], their scores.
        """
        queries = self._queries(histories)
        wide = queries.astype(np.float64)
        low, high = wide.min(axis=1, keepdims=True).clip(max=0), wide.max(axis=1, keepdims=True).clip(min=0)
        steps = (high - low) / STEPS
        codes = np.floor(wide / steps + 0.5)
        np.copyto(codes, np.floor(low / steps + 0.5) + STEPS, where=wide == high)
        errors = wide - codes * steps
        lost = np.sqrt((errors * errors).sum(axis=1)) * self._longest
        lost += np.sqrt((wide * wide).sum(axis=1)) * self._most_lost
        slack = 2 * lost / steps[:, 0]
        users, rows = [], []
        for start in range(0, len(queries), MOST_TOGETHER):
            part = slice(start, start + MOST_TOGETHER)
            user, row = self._candidates(codes[part].astype(np.float32), slack[part])
            users.append(user + start)
            rows.append(row)
        return self._best(queries, np.concatenate(users), np.concatenate(rows))

    def _candidates(self, codes: Float32, slack: Any) -> tuple[Int64, Int64]:  # noqa: ANN401 - float64
        interpreter = self._interpreter
        if len(codes) != self._prepared:
            interpreter.resize_tensor_input(INPUT, codes.shape)
            interpreter.allocate_tensors()
            self._prepared = len(codes)
        interpreter.set_tensor(INPUT, codes)
        interpreter.invoke()
        rough = interpreter.tensor(OUTPUT)()
        rough[:, len(self._vectors) :] = -np.inf
        best = np.maximum.reduce(rough.reshape(len(rough), GROUP, -1), axis=1)
        width, groups = rough.shape[1], best.shape[1]
        together = max(1, groups // max(FEWEST_COMPARED, COMPARED_PER_ITEM * self._count))
        kept = groups // together
        compared = np.maximum.reduce(best[:, : together * kept].reshape(len(best), together, kept), axis=1)
        threshold = np.partition(compared, kept - self._count, axis=1)[:, kept - self._count]
        lowest = np.nextafter((threshold - slack).astype(np.float32), np.float32(-np.inf))
        hits = np.flatnonzero(best >= lowest[:, None])
        user = hits // groups
        places = (hits + user * (width - groups))[:, None] + np.arange(0, width, groups)
        found = np.flatnonzero(rough.reshape(-1).take(places) >= lowest[user][:, None])
        user = user[found // GROUP]
        return user, places.reshape(-1)[found] - user * width

    def _best(self, queries: Float32, user: Int64, row: Int64) -> tuple[Int32, Float32]:
        scores = np.einsum("ij,ij->i", queries.take(user, axis=0), self._vectors.take(row, axis=0))
        order = np.lexsort((row, -scores, user))
        starts = np.searchsorted(user[order], np.arange(len(queries)))
        chosen = order[starts[:, None] + np.arange(self._count)]
        return row[chosen].astype(np.int32), scores[chosen]

    def _queries(self, histories: Int32) -> Float32:
        """float32 [users, dimension]."""
        hidden_kernel, hidden_bias, output_kernel, output_bias = self._layers
        pooled = np.take(self._embeddings, histories, axis=0, mode="wrap").mean(axis=1)
        queries: Float32 = np.maximum(pooled @ hidden_kernel + hidden_bias, 0) @ output_kernel + output_bias
        return queries
