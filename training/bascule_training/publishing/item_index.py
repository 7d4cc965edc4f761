"""Builds the index of a large catalogue, and chooses how to search it by the recall that this reaches.

Chosen on queries as the model will be asked: for each number of items that may be wanted, the fewest lists to look
through that find the declared share of the best ones, on average over the queries.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import IndexDepth, ItemIndex
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.indexed import MAX_QUERIES, Depth, IndexedRetriever, depth_of
from bascule_server.retrieval.retriever import UNRESTRICTED, Found, Retriever

if TYPE_CHECKING:
    import faiss

ITEM_COUNTS = (30, 100, 300, 1_000)
"""How many items may be wanted, excluded ones counted with them."""

OVERFETCHES = (1.1, 1.5, 2.0, 4.0)
"""How many times what is wanted is scored again: 8 bits a component confuse items whose scores are close."""

MOST_PROBES = 1 / 4
"""Share of the lists. Where more are needed, to score every item takes hardly longer."""

_TRAINED_PER_LIST = 64
"""Items that a list's centroid is the mean of; with four times as many the recall was the same."""

_ADDED_AT_ONCE = 500_000


@dataclass(frozen=True, slots=True)
class Built:
    """An index and how it is searched."""

    index: "faiss.IndexIVF"
    declared: ItemIndex
    retriever: Retriever

    def write(self, path: Path) -> None:
        """Writes the index."""
        import faiss

        faiss.write_index(self.index, str(path))


def build_index(vectors: NDArray[np.float32], queries: NDArray[np.float32], recall: float) -> Built | None:
    """The index of all items, or None where nothing but scoring nearly every item reaches the recall.

    Args:
        vectors: float32 [items, dimension].
        queries: float32 [queries, dimension], from 1, on which the search is tuned; some hundreds make the recall known
            within about .005.
        recall: the share of the best items that must be found, above 0 and below 1.
    """
    index = _filled(vectors)
    item_counts = [count for count in ITEM_COUNTS if count <= len(vectors)]
    best = ExactRetriever(vectors).search(queries, [item_counts[-1]] * len(queries), [UNRESTRICTED] * len(queries))
    # For trials, which say themselves how deep they go.
    trial = _Trial(index.nlist, IndexedRetriever(index, [], vectors), queries, best)
    declared: list[IndexDepth] = []
    for item_count in item_counts:
        depth = trial.cheapest(item_count, recall)
        if depth is None:
            break
        declared.append(depth)
    if not declared:
        return None
    depths = [depth_of(each) for each in declared]
    return Built(index, ItemIndex(lists=index.nlist, depths=declared), IndexedRetriever(index, depths, vectors))


def _filled(vectors: NDArray[np.float32]) -> "faiss.IndexIVF":
    import faiss

    item_count, dimension = vectors.shape
    lists = 2 ** round(math.log2(2 * math.sqrt(item_count)))
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dimension), dimension, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    # Centroids of different lengths would draw most items into the lists of the longest.
    index.cp.spherical = True
    index.cp.min_points_per_centroid = 1
    sample_size = min(item_count, _TRAINED_PER_LIST * lists)
    drawn = np.sort(np.random.default_rng(0).choice(item_count, sample_size, replace=False))
    index.train(np.ascontiguousarray(vectors[drawn]))
    for start in range(0, item_count, _ADDED_AT_ONCE):
        index.add(np.ascontiguousarray(vectors[start : start + _ADDED_AT_ONCE]))
    return index


@dataclass(frozen=True, slots=True)
class _Trial:
    """What depths are tried on."""

    lists: int
    retriever: IndexedRetriever
    queries: NDArray[np.float32]
    best: list[Found]
    """What scoring every item finds for each query."""

    def cheapest(self, item_count: int, recall: float) -> IndexDepth | None:
        """The depth with the least overfetch, and then with the fewest probes, that reaches the recall."""
        for overfetch in OVERFETCHES:
            depth = Depth(item_count, max(1, int(self.lists * MOST_PROBES)), overfetch)
            reached = self._recall(depth)
            if reached < recall:
                continue
            too_few = 0
            while depth.probes - too_few > 1:
                fewer = depth._replace(probes=(too_few + depth.probes) // 2)
                if (found := self._recall(fewer)) < recall:
                    too_few = fewer.probes
                else:
                    depth, reached = fewer, found
            return IndexDepth(item_count=item_count, probes=depth.probes, overfetch=overfetch, recall=reached)
        return None

    def _recall(self, depth: Depth) -> float:
        """The mean over the queries of the share of their best items that is found."""
        found: list[Found] = []
        for start in range(0, len(self.queries), MAX_QUERIES):
            found += self.retriever.search_at(depth, self.queries[start : start + MAX_QUERIES])
        shares = [
            len(np.intersect1d(each.rows, best.rows[: depth.item_count])) / depth.item_count
            for each, best in zip(found, self.best, strict=True)
        ]
        return float(np.mean(shares))
