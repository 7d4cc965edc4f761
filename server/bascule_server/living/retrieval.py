"""Finds the best items of several segments, without those that are gone: as if these had never been there."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from bascule_server.living.catalogue import JoinedAllowed
from bascule_server.living.segments import Gone, Segment, merged, present_of, spare_of, split
from bascule_server.retrieval import Found, Restriction, Retriever
from bascule_server.retrievers import Retrievers


def living_retrievers(segments: Sequence[Segment], gone: Gone) -> Retrievers:
    """Search all segments."""
    ranking = SegmentedRetriever(segments, gone, lambda retrievers: retrievers.ranking)
    if all(each.retrievers.similar is each.retrievers.ranking for each in segments):
        return Retrievers(ranking, ranking)
    return Retrievers(ranking, SegmentedRetriever(segments, gone, lambda retrievers: retrievers.similar))


class SegmentedRetriever:
    """See ``Retriever``."""

    def __init__(
        self, segments: Sequence[Segment], gone: Gone, retriever_of: Callable[[Retrievers], Retriever]
    ) -> None:
        self._segments = segments
        self._gone = gone
        self._retrievers = [retriever_of(each.retrievers) for each in segments]

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``."""
        base = self._retrievers[0]
        if not len(rows) or int(rows.max()) < self._segments[0].end_row:
            return base.vectors_of(rows)
        vectors = np.empty((len(rows), base.vectors_of(rows[:0]).shape[1]), np.float32)
        retrievers = dict(zip((each.first_row for each in self._segments), self._retrievers, strict=True))
        for segment, is_in in split(rows, self._segments):
            vectors[is_in] = retrievers[segment.first_row].vectors_of(rows[is_in] - segment.first_row)
        return vectors

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        parts = [
            self._search(number, queries, counts, [_within(each, number, segment) for each in restrictions])
            for number, segment in enumerate(self._segments)
        ]
        return [merged(found, count) for *found, count in zip(*parts, counts, strict=True)]

    def _search(
        self, number: int, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """The best of one segment for each query, which are searched for together as long as enough is found."""
        segment, gone_count = self._segments[number], self._gone.count_in(number)
        first_counts = [count + spare_of(segment, gone_count, count) for count in counts]
        retriever = self._retrievers[number]
        first = retriever.search(queries, first_counts, restrictions)

        def find(place: int, count: int) -> Found:
            if count == first_counts[place]:
                return first[place]
            (found,) = retriever.search(queries[place : place + 1], [count], [restrictions[place]])
            return found

        return [
            present_of(segment, self._gone, number, count, partial(find, place)) for place, count in enumerate(counts)
        ]


def _within(restriction: Restriction, number: int, segment: Segment) -> Restriction:
    """The restriction as it holds within a segment."""
    allowed = restriction.allowed
    excluded = segment.places(restriction.excluded) if len(restriction.excluded) else restriction.excluded
    if allowed is None:
        return Restriction(excluded)
    if not isinstance(allowed, JoinedAllowed):
        raise TypeError(f"got {type(allowed).__name__}; a living catalogue compiles filters for each segment")
    return Restriction(excluded, allowed.parts[number])
