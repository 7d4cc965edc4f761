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
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import IndexDepth, ItemIndex
from bascule_server.artifact.reading import ArtifactError
from bascule_server.errors import Reason
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.coarse_quantizer import CoarseQuantizer, Lists
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.list_choice import ListChooser
from bascule_server.retrieval.retriever import Found, Restriction, Vectors, best, products
from bascule_server.retrieval.scored_pairs import best_of_rows

if TYPE_CHECKING:
    import faiss

MAX_QUERIES = 64
"""Queries of one pass."""

MAX_OVERFETCH = 16.0

RESCORED_STEP = 16
"""How many items are scored again is a multiple of it, so that queries that want about as many go together."""

MOST_SCORED = 12_000
"""Where a filter allows no more items, all of them are scored in full: in lists of 1,000,000 that took as long."""

_ADDED_AT_ONCE = 10_000

DEVIATION_SAMPLE = 20_000
"""From how many items it is learned how far they lie from their centroids."""


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


class _Pass(NamedTuple):
    """What queries that are searched together have in common."""

    probes: int
    rescored: int
    """How many of the best by their 8 bits are scored again."""
    allowed: Allowed | None
    """No others are found."""
    filter: Allowed | None
    """By what decides how many lists it takes: what is allowed, but for what a single query excludes. None: what is
    found lies in the lists as all items do."""


class IndexedRetriever:
    """Searches an index; see ``Retriever``. Called by one thread at a time."""

    def __init__(
        self,
        index: "faiss.IndexIVF",
        depths: Sequence[Depth],
        vectors: Vectors,
        came: "faiss.IndexIVF | None" = None,
        present: Allowed | None = None,
    ) -> None:
        """Takes the index as it is; see ``open_index``.

        Args:
            index: of the vectors from the first on, by inner product.
            depths: from the smallest to the largest item count; beyond them every item is scored.
            vectors: float32 [items, dimension], mapped or in memory.
            came: of the other vectors, in lists around the same centroids.
            present: no other items are found. None: all are.
        """
        self._index = index
        self._indexes = [index] if came is None else [index, came]
        self._present = present
        self._both: WeakKeyDictionary[Allowed, Allowed] = WeakKeyDictionary()
        """What a filter allows, and what of that is present."""
        self._depths = depths
        self._vectors = vectors
        # False but while a query's exclusions are passed over. For -1, which is no item, there is a place of its own.
        self._marks = np.zeros(len(vectors) + 1, np.bool_)
        self._members: WeakKeyDictionary[Allowed, NDArray[np.int64]] = WeakKeyDictionary()
        """How many items of each list a filter allows."""
        self._centroids: NDArray[np.float32] = index.quantizer.reconstruct_n(0, index.nlist)
        self._lists = CoarseQuantizer(self._centroids)

    def with_items(self, vectors: Vectors, is_gone: NDArray[np.bool_]) -> "IndexedRetriever":
        """Finds items that came too, and those not that are gone; of as good a recall.

        The centroids are those that training found, and so are the lists that a query is looked up in. What came stands
        in lists of its own, of which so many of the best are scored again as of the others.

        Args:
            vectors: float32 [items, dimension], those of the index, and behind them those that came.
            is_gone: bool [items].
        """
        import faiss

        faiss.omp_set_num_threads(1)
        base, end = self._index, len(self._vectors)
        came = faiss.IndexIVFScalarQuantizer(
            base.quantizer, base.d, base.nlist, base.sq.qtype, base.metric_type, base.by_residual
        )
        # It was trained where the base was.
        faiss.copy_array_to_vector(faiss.vector_to_array(base.sq.trained), came.sq.trained)
        came.is_trained = True
        for start in range(end, len(vectors), _ADDED_AT_ONCE):
            rows = np.arange(start, min(start + _ADDED_AT_ONCE, len(vectors)))
            came.add_with_ids(np.ascontiguousarray(vectors.take(rows, 0)), rows)
        present = Allowed(~is_gone) if is_gone.any() else None
        return IndexedRetriever(base, self._depths, vectors, came if came.ntotal else None, present)

    @cached_property
    def _exact(self) -> ExactRetriever:
        return ExactRetriever(self._vectors)

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``."""
        return self._vectors.take(rows, 0)

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``. As many as are wanted are found where there are as many."""
        found: dict[int, Found] = {}
        together: dict[_Pass, list[int]] = defaultdict(list)
        for place, (count, restriction) in enumerate(zip(counts, restrictions, strict=True)):
            plan = self._plan(count, restriction)
            if isinstance(plan, _Pass):
                together[plan].append(place)
            elif plan is not None:
                found[place] = best(plan, products(queries[place], self.vectors_of(plan)), count)
        for each, places in together.items():
            for start in range(0, len(places), MAX_QUERIES):
                part = places[start : start + MAX_QUERIES]
                rows = self._candidates(queries[part], each)
                self._pass_over(rows, [restrictions[place].excluded for place in part])
                found |= zip(part, self._best(queries[part], rows, [counts[place] for place in part]), strict=True)
        # There may be more in lists that were not looked through.
        short = [place for place, count in enumerate(counts) if place not in found or len(found[place].rows) < count]
        if short:
            within = [Restriction(each.excluded, self._allowed(each)) for each in (restrictions[i] for i in short)]
            exact = self._exact.search(queries[short], [counts[place] for place in short], within)
            found |= zip(short, exact, strict=True)
        return [found[place] for place in range(len(queries))]

    def search_at(self, depth: Depth, queries: NDArray[np.float32]) -> list[Found]:
        """What one depth finds of all items: fewer than it reaches where its lists have fewer.

        Args:
            depth: how to search, and how many items are wanted.
            queries: float32 [queries, dimension].
        """
        rows = self._candidates(queries, _Pass(depth.probes, depth.rescored(depth.item_count), None, None))
        return self._best(queries, rows, [depth.item_count] * len(queries))

    def _plan(self, count: int, restriction: Restriction) -> "_Pass | NDArray[np.int64] | None":
        """How to search for one query: in lists, or these rows alone, all of them; None: every item.

        What is excluded is passed over among the results: the best of all have the best of the others. Where too much
        is excluded for that, it is taken out of what is allowed. Of what a filter allows, few items are all scored.
        """
        allowed = self._allowed(restriction)
        narrowing = None if restriction.allowed is None else allowed
        if (depth := self._depth(count + len(restriction.excluded))) is not None:
            rescored = depth.rescored(count + len(restriction.excluded))
        elif (depth := self._depth(count)) is not None:
            rescored = depth.rescored(count)
            everything = allowed or Allowed(np.ones(len(self._vectors), np.bool_))
            allowed = everything.without(restriction.excluded)
        else:
            return None
        if allowed is not None and allowed.count <= MOST_SCORED:
            return Restriction(restriction.excluded, allowed).remaining(allowed.rows)
        return _Pass(depth.probes, rescored, allowed, narrowing)

    def _allowed(self, restriction: Restriction) -> Allowed | None:
        """What a restriction allows of what is present; None: everything."""
        if self._present is None or restriction.allowed is None:
            return restriction.allowed or self._present
        if restriction.allowed not in self._both:
            self._both[restriction.allowed] = Allowed(restriction.allowed.mask & self._present.mask)
        return self._both[restriction.allowed]

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
        vectors = self._vectors.take(rows, 0, mode="wrap")
        return best_of_rows(rows, products(queries[:, None], vectors), counts)

    def _candidates(self, queries: NDArray[np.float32], asked: "_Pass") -> NDArray[np.int64]:
        """int64 [queries, rescored], the best rows by their 8 bits a component; -1 where there are no more.

        The lists are chosen before: FAISS would choose others in other batches, where its products round differently.
        """
        import faiss

        # Training, which searches too, has not told it by the environment.
        faiss.omp_set_num_threads(1)
        # FAISS is told where arrays lie: each has a name, so that it stays there.
        queries = np.ascontiguousarray(queries)
        lists = self._lists_of(queries, asked)
        selector = None if asked.allowed is None else faiss.IDSelectorBitmap(asked.allowed.bitmap)
        parameters = faiss.SearchParametersIVF(nprobe=lists.rows.shape[1], sel=selector)
        found = []
        for index in self._indexes:
            count = min(asked.rescored, index.ntotal)
            scores = np.empty((len(queries), count), np.float32)
            rows = np.empty((len(queries), count), np.int64)
            # The wrapped method has no parameters.
            index.search_preassigned_c(
                len(queries),
                faiss.swig_ptr(queries),
                count,
                faiss.swig_ptr(lists.rows),
                faiss.swig_ptr(lists.scores),
                faiss.swig_ptr(scores),
                faiss.swig_ptr(rows),
                False,  # whether to return places in lists
                parameters,
            )
            found.append(rows)
        return found[0] if len(found) == 1 else np.hstack(found)

    def _lists_of(self, queries: NDArray[np.float32], asked: "_Pass") -> Lists:
        """The lists to look through."""
        if asked.filter is None:
            return self._lists.search(queries, asked.probes)
        if asked.filter not in self._members:
            allowed = self._list_of_each[asked.filter.mask]
            self._members[asked.filter] = np.bincount(allowed, minlength=self._index.nlist)
        members = self._members[asked.filter]
        chosen = [self._chooser.choose(query, members, asked.rescored) for query in queries]
        found = Lists.none(len(queries), max(map(len, chosen)))
        for place, lists in enumerate(chosen):
            found.rows[place, : len(lists)] = lists
            found.scores[place, : len(lists)] = products(queries[place], self._centroids[lists])
        return found

    @cached_property
    def _chooser(self) -> ListChooser:
        sample = np.arange(0, len(self._vectors), 1 + len(self._vectors) // DEVIATION_SAMPLE)
        differences = self._vectors.take(sample, 0) - self._centroids[self._list_of_each[sample]]
        return ListChooser(self._centroids, float(np.sqrt(np.mean(np.square(differences)))))

    @cached_property
    def _list_of_each(self) -> NDArray[np.unsignedinteger[Any]]:
        """Unsigned [items], the list of each item."""
        import faiss

        found = np.empty(len(self._vectors), np.min_scalar_type(self._index.nlist))
        for lists in (index.invlists for index in self._indexes):
            for each in range(self._index.nlist):
                if size := lists.list_size(each):
                    found[faiss.rev_swig_ptr(lists.get_ids(each), size)] = each
        return found


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
        raise ArtifactError(
            f"{path}: reading it needs FAISS: pip install faiss-cpu", Reason.FORMAT_UNSUPPORTED
        ) from error
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
