"""Finds the best items of several parts, without those that are gone: as if these had never been there."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bascule_server.living.catalogue import JoinedAllowed
from bascule_server.living.segments import Gone, Searched, merged, present_of, spare_of, split
from bascule_server.retrieval.retriever import Found, Restriction, Retriever
from bascule_server.retrieval.retrievers import Retrievers


def living_retrievers(parts: Sequence[Searched], gone: Gone) -> Retrievers:
    """Search all parts, which are one behind the other. ``gone`` is what they would find though it is not there."""
    if len(parts) == 1 and not gone.count_in(0):
        return parts[0].retrievers
    ranking = SegmentedRetriever(parts, gone, lambda retrievers: retrievers.ranking)
    if all(each.retrievers.similar is each.retrievers.ranking for each in parts):
        return Retrievers(ranking, ranking)
    return Retrievers(ranking, SegmentedRetriever(parts, gone, lambda retrievers: retrievers.similar))


class SegmentedRetriever:
    """See ``Retriever``."""

    def __init__(self, parts: Sequence[Searched], gone: Gone, retriever_of: Callable[[Retrievers], Retriever]) -> None:
        self._parts = parts
        self._gone = gone
        self._retrievers = [retriever_of(each.retrievers) for each in parts]

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``."""
        first = self._retrievers[0]
        if not len(rows) or int(rows.max()) < self._parts[0].end_row:
            return first.vectors_of(rows)
        vectors = np.empty((len(rows), first.vectors_of(rows[:0]).shape[1]), np.float32)
        retrievers = dict(zip((each.first_row for each in self._parts), self._retrievers, strict=True))
        for part, is_in in split(rows, self._parts):
            vectors[is_in] = retrievers[part.first_row].vectors_of(rows[is_in] - part.first_row)
        return vectors

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        parts = [
            self._search(number, queries, counts, [_within(each, part) for each in restrictions])
            for number, part in enumerate(self._parts)
        ]
        return [merged(found, count) for *found, count in zip(*parts, counts, strict=True)]

    def _search(
        self, number: int, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """The best of one part for each query, which are searched for together as long as enough is found."""
        part, gone_count = self._parts[number], self._gone.count_in(number)
        first_counts = [count + spare_of(part, gone_count, count) for count in counts]
        retriever = self._retrievers[number]
        first = retriever.search(queries, first_counts, restrictions)

        def find(place: int, count: int) -> Found:
            if count == first_counts[place]:
                return first[place]
            (found,) = retriever.search(queries[place : place + 1], [count], [restrictions[place]])
            return found

        return [present_of(part, self._gone, number, count, partial(find, place)) for place, count in enumerate(counts)]


def _within(restriction: Restriction, part: Searched) -> Restriction:
    """The restriction as it holds within a part."""
    allowed = restriction.allowed
    excluded = part.places(restriction.excluded) if len(restriction.excluded) else restriction.excluded
    if allowed is None:
        return Restriction(excluded)
    if not isinstance(allowed, JoinedAllowed):
        raise TypeError(f"got {type(allowed).__name__}; a living catalogue compiles filters for each segment")
    return Restriction(excluded, allowed.within(part))
