"""What a version finds its items with, and what finds them together with those that came since."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.living.picked_retriever import PickedRetriever
from bascule_server.living.stacked_vectors import PickedVectors, StackedVectors
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.indexed import IndexedRetriever
from bascule_server.retrieval.quantised_items import QuantisedItems, quantised_items
from bascule_server.retrieval.retriever import Retriever, Vectors, lengths_of
from bascule_server.retrieval.retrievers import Retrievers, are_unit


class Base:
    """What a version finds its items with.

    Attributes:
        vectors: float32 [items, dimension], mapped.
        index: of them, or None.
    """

    def __init__(self, vectors: NDArray[np.float32], retrievers: Retrievers) -> None:
        """Keeps nothing of the retrievers but an index, so that what is made anew takes their place in the memory."""
        self.vectors = vectors
        self.index = retrievers.ranking if isinstance(retrievers.ranking, IndexedRetriever) else None
        self._is_unit = retrievers.similar is retrievers.ranking

    @cached_property
    def _lengths(self) -> NDArray[np.float64]:
        return lengths_of(self.vectors)

    def merged(self, came: NDArray[np.float32], gone: NDArray[np.bool_]) -> Retrievers:
        """Finds all that is there, by its row.

        Args:
            came: float32 [items that came, dimension], whose rows are behind those of the base.
            gone: bool [items of the base], what is not found any more. Something must be left.
        """
        vectors = StackedVectors(self.vectors, came)
        is_gone = np.concatenate([gone, np.zeros(len(came), np.bool_)])
        lengths_of_came = lengths_of(came)
        is_unit = self._is_unit and are_unit(lengths_of_came)
        ranking: Retriever | None = None
        if self.index is not None:
            ranking = self.index.with_items(vectors, is_gone)
            if is_unit:
                return Retrievers(ranking, ranking)
        lengths = np.concatenate([self._lengths, lengths_of_came])
        rows = np.flatnonzero(~is_gone)
        kept = _Kept(vectors, lengths, rows, None if ranking else quantised_items(PickedVectors(vectors, rows)))
        ranking = ranking or kept.retriever(by_cosine=False)
        return Retrievers(ranking, ranking if is_unit else kept.retriever(by_cosine=True))


class _Kept(NamedTuple):
    """Some of the items."""

    vectors: Vectors
    """float32 [items, dimension], of all."""
    lengths: NDArray[np.float64]
    """float64 [items], of all."""
    rows: NDArray[np.int64]
    """int64 [kept], ascending, of these."""
    quantised: QuantisedItems | None
    """Of these."""

    def retriever(self, *, by_cosine: bool) -> Retriever:
        """Scores every one of them."""
        if len(self.rows) == len(self.vectors):
            return ExactRetriever(self.vectors, self.lengths, by_cosine=by_cosine, quantised=self.quantised)
        kept = ExactRetriever(
            PickedVectors(self.vectors, self.rows),
            self.lengths[self.rows],
            by_cosine=by_cosine,
            quantised=self.quantised,
        )
        whole = ExactRetriever(self.vectors, self.lengths, by_cosine=by_cosine)
        return PickedRetriever(kept, self.rows, whole, len(self.vectors))
