"""Finds the best items without scoring all of them: through an inverted file of FAISS, which training built.

Items are parted into lists, each around a centroid, and stand there in 8 bits a component. A search scores the items
of the lists whose centroids score best, the probes, and of these items the best, some more than are wanted, again by
their vectors in full. So scores are exact, and what may be missing is an item: training chose the numbers of probes and
of items to score again by the recall that it declares.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import IndexDepth, ItemIndex
from bascule_server.artifact import ArtifactError
from bascule_server.coarse_quantizer import CoarseQuantizer
from bascule_server.exact_retrieval import ExactRetriever
from bascule_server.retrieval import Found, Restriction, best, products
from bascule_server.scored_pairs import best_of_rows

if TYPE_CHECKING:
    import faiss

MAX_QUERIES = 64
"""Queries of one pass."""

MAX_OVERFETCH = 16.0

RESCORED_STEP = 16
"""How many items are scored again is a multiple of it, so that queries that want about as many go together."""

ROW_OVER_CODE = 12
"""To score one item by its vector in full, fetched from anywhere, takes as long as so many in their list."""


class Depth(NamedTuple):
    """How to search for up to so many items."""

    item_count: int
    """From 1."""
    probes: int
    """Lists that are looked through, from 1."""
    overfetch: float
    """How many times as many items as are wanted are scored again, from 1."""

    def rescored(self, item_count: int) -> int:
        """How many items are scored again where so many are wanted."""
        return math.ceil(self.overfetch * item_count / RESCORED_STEP) * RESCORED_STEP


def depth_of(declared: IndexDepth) -> Depth:
    """The depth that a manifest declares."""
    return Depth(declared.item_count, declared.probes, declared.overfetch)


class IndexedRetriever:
    """Searches an index; see ``Retriever``. Called by one thread at a time."""

    def __init__(self, index: "faiss.IndexIVF", depths: Sequence[Depth], vectors: NDArray[np.float32]) -> None:
        """Takes the index as it is; see ``open_index``.

        Args:
            index: of all the vectors, by inner product.
            depths: from the smallest to the largest item count; beyond them every item is scored.
            vectors: float32 [items, dimension], mapped or in memory.
        """
        self._index = index
        self._depths = depths
        self._vectors = vectors
        # False but while a query's exclusions are passed over. For -1, which is no item, there is a place of its own.
        self._marks = np.zeros(len(vectors) + 1, np.bool_)
        self._lists = CoarseQuantizer(index.quantizer.reconstruct_n(0, index.nlist))

    @cached_property
    def _exact(self) -> ExactRetriever:
        return ExactRetriever(self._vectors)

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``."""
        vectors: NDArray[np.float32] = self._vectors[rows]
        return vectors

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``. As many as are wanted are found where there are as many."""
        found: dict[int, Found] = {}
        together: dict[tuple[Depth, int], list[int]] = defaultdict(list)
        for place, (count, restriction) in enumerate(zip(counts, restrictions, strict=True)):
            # What is excluded is passed over among the results: the best of all have the best of the others.
            reached = count + len(restriction.excluded)
            if restriction.allowed is None and (depth := self._depth(reached)) is not None:
                together[depth, depth.rescored(reached)].append(place)
            elif (depth := self._depth(count)) is not None:
                found[place] = self._restricted(queries[place], count, restriction, depth)
        for (depth, rescored), places in together.items():
            for start in range(0, len(places), MAX_QUERIES):
                part = places[start : start + MAX_QUERIES]
                rows = self._candidates(queries[part], rescored, depth.probes)
                self._pass_over(rows, [restrictions[place].excluded for place in part])
                found |= zip(part, self._best(queries[part], rows, [counts[place] for place in part]), strict=True)
        # There may be more in lists that were not looked through.
        short = [place for place, count in enumerate(counts) if place not in found or len(found[place].rows) < count]
        if short:
            exact = self._exact.search(
                queries[short], [counts[place] for place in short], [restrictions[place] for place in short]
            )
            found |= zip(short, exact, strict=True)
        return [found[place] for place in range(len(queries))]

    def search_at(self, depth: Depth, queries: NDArray[np.float32]) -> list[Found]:
        """What one depth finds of all items: fewer than it reaches where its lists have fewer.

        Args:
            depth: how to search, and how many items are wanted.
            queries: float32 [queries, dimension].
        """
        rows = self._candidates(queries, depth.rescored(depth.item_count), depth.probes)
        return self._best(queries, rows, [depth.item_count] * len(queries))

    def _depth(self, item_count: int) -> Depth | None:
        """The smallest that reaches so far, or None."""
        return next((depth for depth in self._depths if depth.item_count >= item_count), None)

    def _pass_over(self, rows: NDArray[np.int64], excluded: Sequence[NDArray[np.int64]]) -> None:
        """Writes -1 into the rows [queries, candidates] of items that are excluded from their query."""
        for query, each in enumerate(excluded):
            if len(each):
                self._marks[each] = True
                rows[query, self._marks[rows[query]]] = -1
                self._marks[each] = False

    def _best(self, queries: NDArray[np.float32], rows: NDArray[np.int64], counts: Sequence[int]) -> list[Found]:
        """The best of candidates [queries, candidates], -1 where there is none, by their vectors in full."""
        vectors = np.take(self._vectors, rows, axis=0, mode="wrap")
        return best_of_rows(rows, products(queries[:, None], vectors), counts)

    def _restricted(self, query: NDArray[np.float32], count: int, restriction: Restriction, depth: Depth) -> Found:
        """The best of the items that a filter, or a long list of exclusions, leaves.

        Few items are all scored. Of many the index finds the best, in as many more lists as they lie further apart.
        """
        import faiss

        item_count = len(self._vectors)
        allowed = np.ones(item_count, np.bool_) if restriction.allowed is None else restriction.allowed.copy()
        allowed[restriction.excluded] = False
        left = int(np.count_nonzero(allowed))
        probes = min(self._index.nlist, math.ceil(depth.probes * item_count / max(left, 1)))
        if left * ROW_OVER_CODE <= probes * item_count / self._index.nlist:
            rows = np.flatnonzero(allowed)
        else:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            rows = self._candidates(query[None], depth.rescored(count), probes, selector)[0]
            rows = rows[rows >= 0]
        return best(rows, products(query, self._vectors[rows]), count)

    def _candidates(
        self, queries: NDArray[np.float32], count: int, probes: int, selector: "faiss.IDSelector | None" = None
    ) -> NDArray[np.int64]:
        """int64 [queries, count], the best rows by their 8 bits a component; -1 where there are no more.

        The lists are chosen before: FAISS would choose others in other batches, where its products round differently.
        """
        import faiss

        # Training, which searches too, has not told it by the environment.
        faiss.omp_set_num_threads(1)
        # FAISS is told where arrays lie: each has a name, so that it stays there.
        queries = np.ascontiguousarray(queries)
        lists = self._lists.search(queries, probes)
        scores = np.empty((len(queries), count), np.float32)
        rows = np.empty((len(queries), count), np.int64)
        # The wrapped method has no parameters.
        self._index.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(queries),
            count,
            faiss.swig_ptr(lists.rows),
            faiss.swig_ptr(lists.scores),
            faiss.swig_ptr(scores),
            faiss.swig_ptr(rows),
            False,  # whether to return places in lists
            faiss.SearchParametersIVF(nprobe=probes, sel=selector),
        )
        return rows


def open_index(path: Path, declared: ItemIndex, vectors: NDArray[np.float32]) -> IndexedRetriever:
    """Maps an index into memory: what processes on one machine read of it, they share.

    Args:
        path: of the file.
        declared: what the manifest says of it.
        vectors: float32 [items, dimension], of the items in it.

    Raises:
        ArtifactError: it cannot be read, or is another than the manifest says.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise ArtifactError(f"{path}: reading it needs FAISS: pip install faiss-cpu") from error
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ArtifactError(f"{path}: not an index") from error
    if not isinstance(index, faiss.IndexIVFScalarQuantizer) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ArtifactError(f"{path}: got {type(index).__name__}; expected an IndexIVFScalarQuantizer by inner product")
    got = (index.nlist, index.ntotal, index.d)
    if got != (declared.lists, *vectors.shape):
        raise ArtifactError(f"{path}: got {got} lists, items and components; expected {declared.lists, *vectors.shape}")
    depths = [depth_of(each) for each in declared.depths]
    if not depths or not all(_is_sound(depth, declared.lists) for depth in depths) or depths != sorted(depths):
        raise ArtifactError(
            f"{path}: got the depths {depths}; expected them in order, with 1 to {declared.lists} probes"
        )
    return IndexedRetriever(index, depths, vectors)


def _is_sound(depth: Depth, lists: int) -> bool:
    return depth.item_count >= 1 and 1 <= depth.probes <= lists and 1 <= depth.overfetch <= MAX_OVERFETCH
