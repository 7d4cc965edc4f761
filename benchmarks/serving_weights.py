"""The model of the serving benchmarks, as arrays: a small query tower, items, histories, and the right answers.

    history -> mean of its embeddings -> dense, ReLU -> dense -> query vector -> the 20 items with the largest products

It is drawn, not trained: item vectors and embeddings lie in clusters, and the two dense layers undo each other as far
as the ReLU lets them, so that a query lands among the items of its history, as a trained model's does.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DIMENSION = 64
HISTORY_LENGTH = 20
ITEM_COUNT = 20
"""How many items every server is asked for."""
CLUSTERS = 1_000
SPREAD = 0.7
"""Standard deviation within a cluster; that of the clusters' centres is 1."""
LARGEST_TABLE = 1_000_000
"""Rows of the table of embeddings at most, which must fit into a LiteRT file; beyond, items share rows."""
CHECKED = 64
"""How many histories have known answers."""
STREAMED = 1_024
LEAST_GAP = 1e-5
"""Between two neighbouring scores of a known answer, so that rounding cannot swap the items."""
SEED = 4
BLOCK = 100_000


class Ranked(NamedTuple):
    """The best items of some users, best first."""

    rows: NDArray[np.int64]
    """int64 [users, items], rows of the catalogue."""
    scores: NDArray[np.float32]
    """float32 [users, items]."""


class Dense(NamedTuple):
    """A dense layer."""

    kernel: NDArray[np.float32]
    """float32 [inputs, outputs]."""
    bias: NDArray[np.float32]
    """float32 [outputs]."""


class Weights(NamedTuple):
    """All of the model."""

    item_vectors: NDArray[np.float32]
    """float32 [items, dimension], of length 1."""
    embeddings: NDArray[np.float32]
    """float32 [at most LARGEST_TABLE, dimension]; an item's row is taken modulo their number."""
    hidden: Dense
    output: Dense

    def query_vectors(self, histories: NDArray[np.int32]) -> NDArray[np.float32]:
        """float32 [users, dimension], of full histories [users, HISTORY_LENGTH]."""
        pooled = np.take(self.embeddings, histories, axis=0, mode="wrap").mean(axis=1)
        hidden = np.maximum(pooled @ self.hidden.kernel + self.hidden.bias, 0)
        vectors: NDArray[np.float32] = hidden @ self.output.kernel + self.output.bias
        return vectors

    def ranked(self, histories: NDArray[np.int32], count: int) -> Ranked:
        """The best items by the plainest way: every product, then the largest."""
        rows, scores = [], []
        for query in self.query_vectors(histories):
            products = self.item_vectors @ query
            largest = np.argpartition(products, -count)[-count:]
            rows.append(largest[np.argsort(-products[largest], kind="stable")])
            scores.append(products[rows[-1]])
        return Ranked(np.stack(rows), np.stack(scores))


def draw_weights(item_count: int) -> Weights:
    """The same ones at every call with the same count."""
    random = np.random.default_rng(SEED)
    centres = random.standard_normal((CLUSTERS, DIMENSION), np.float32)
    vectors = np.empty((item_count, DIMENSION), np.float32)
    for start in range(0, item_count, BLOCK):
        block = vectors[start : start + BLOCK]
        cluster = np.arange(start, start + len(block)) % CLUSTERS
        block[:] = centres[cluster] + SPREAD * random.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    table = vectors[:LARGEST_TABLE]
    embeddings = table + 0.05 * random.standard_normal(table.shape, np.float32)
    turn, _ = np.linalg.qr(random.standard_normal((DIMENSION, DIMENSION)))
    turn = turn.astype(np.float32)
    lift = np.full(DIMENSION, 0.1, np.float32)
    return Weights(vectors, embeddings, Dense(turn, lift), Dense(turn.T.copy(), -lift @ turn.T))


def draw_histories(count: int, item_count: int, seed: int) -> NDArray[np.int32]:
    """int32 [count, HISTORY_LENGTH], item rows: each user keeps to two clusters."""
    random = np.random.default_rng(seed)
    clusters = random.integers(0, min(CLUSTERS, item_count), (count, 2))
    chosen = np.take_along_axis(clusters, random.integers(0, 2, (count, HISTORY_LENGTH)), axis=1)
    members = random.integers(0, max(1, item_count // CLUSTERS), (count, HISTORY_LENGTH))
    return (chosen + CLUSTERS * members).astype(np.int32)


def item_ids(rows: NDArray[np.int32]) -> list[str]:
    """The ids of items, as ``serving_artifact`` gives them."""
    return [f"i{row:06}" for row in rows.tolist()]


class Questions(NamedTuple):
    """What the servers are asked."""

    checked: NDArray[np.int32]
    """int32 [CHECKED, HISTORY_LENGTH], item rows."""
    answers: Ranked
    """Those to ``checked``."""
    streamed: NDArray[np.int32]
    """int32 [STREAMED, HISTORY_LENGTH]."""


def draw_questions(weights: Weights) -> Questions:
    """Histories, and the answers to the first ones."""
    item_count = len(weights.item_vectors)
    histories = draw_histories(2 * CHECKED, item_count, SEED)
    rows, scores = weights.ranked(histories, ITEM_COUNT + 1)
    is_clear = (-np.diff(scores, axis=1)).min(axis=1) > LEAST_GAP
    clear = np.flatnonzero(is_clear)[:CHECKED]
    assert len(clear) == CHECKED, f"only {len(clear)} histories have clear answers; draw more"
    answers = Ranked(rows[clear, :ITEM_COUNT], scores[clear, :ITEM_COUNT])
    return Questions(histories[clear], answers, draw_histories(STREAMED, item_count, SEED + 1))


def save_weights(folder: Path, weights: Weights, questions: Questions) -> None:
    """Writes what the peers and the checks read: NAME.npy for each array but the item vectors."""
    arrays: dict[str, NDArray[Any]] = {
        "embeddings": weights.embeddings,
        "hidden_kernel": weights.hidden.kernel,
        "hidden_bias": weights.hidden.bias,
        "output_kernel": weights.output.kernel,
        "output_bias": weights.output.bias,
        "checked": questions.checked,
        "answer_rows": questions.answers.rows,
        "answer_scores": questions.answers.scores,
        "streamed": questions.streamed,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def read_questions(folder: Path) -> Questions:
    """What ``save_weights`` wrote of them."""
    answers = Ranked(np.load(folder / "answer_rows.npy"), np.load(folder / "answer_scores.npy"))
    return Questions(np.load(folder / "checked.npy"), answers, np.load(folder / "streamed.npy"))
