"""Item vectors in clusters, and queries that lie near some of them: what retrieval is measured on."""

import numpy as np
from numpy.typing import NDArray

DIMENSION = 64
CLUSTERS = 200
SPREAD = 0.7
"""Standard deviation of a component within a cluster; that of the clusters' centres is 1."""
NEARNESS = 0.05
"""Standard deviation of a component around the item that a query is near to."""
BLOCK = 100_000


def clustered_items(count: int) -> NDArray[np.float32]:
    """float32 [count, DIMENSION], of length 1; the same ones at every call with the same count."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((CLUSTERS, DIMENSION), np.float32)
    vectors = np.empty((count, DIMENSION), np.float32)
    for start in range(0, count, BLOCK):
        block = vectors[start : start + BLOCK]
        block[:] = centres[random.integers(0, CLUSTERS, len(block))]
        block += np.float32(SPREAD) * random.standard_normal(block.shape, np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return vectors


def queries_near(vectors: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """float32 [count, DIMENSION], each near an item of its own."""
    random = np.random.default_rng(2)
    chosen = vectors[random.integers(0, len(vectors), count)]
    return chosen + np.float32(NEARNESS) * random.standard_normal(chosen.shape, np.float32)
