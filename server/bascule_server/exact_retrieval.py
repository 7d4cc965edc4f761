"""Finds the best items by scoring all of them: a product of the whole batch, then the best of each row in two levels.

Items are parted into groups, and the first level looks at the best of each group alone. If k groups have an item that
scores at least t, then so have k items; hence only items that score at least t can be among the k best, and they are in
groups whose best does. The second level looks at the members of these few groups.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval import Found, Restriction, best, lengths_of, products, rounding_slack
from bascule_server.scored_pairs import Pairs, best_of_each, excluded_pairs

GROUP = 16
"""Items in a group: the largest of 16 rows is found about as fast as these are read."""

BLOCK_SCORES = 2**18
"""Products at a time, 1 MiB, so that they are still in the cache when the groups' best are looked for."""

MAX_QUERIES = 64
"""Queries of one pass: with more of them the product gains nothing."""

MAX_ONE_BY_ONE = 3
"""Up to so many queries are searched one by one: to begin a product of matrices takes as long as three of a vector."""

MAX_SCORES = 2**24
"""Rough scores held at a time, 64 MiB, where the items alone are not more."""

MAX_GROUPS = 2_048
"""Best of groups that are compared to find the k-th; where there are more, some groups are taken together."""

MAX_CANDIDATES = 2**20
"""Above that, as where most scores are equal, queries are looked at one by one."""


class _Wanted(NamedTuple):
    """What is wanted of a pass."""

    queries: NDArray[np.float32]
    """float32 [queries, dimension]."""
    counts: Sequence[int]
    """From 1, for each query."""
    restrictions: Sequence[Restriction]
    slack: NDArray[np.float64]
    """float64 [queries]: items whose rough score lies further below that of the last that is wanted are not."""


class ExactRetriever:
    """Scores every item; see ``Retriever``. Called by one thread at a time, since it keeps its memory."""

    def __init__(
        self, vectors: NDArray[np.float32], lengths: NDArray[np.float64] | None = None, *, by_cosine: bool = False
    ) -> None:
        """Takes the items' vectors as they are, or each divided by its length.

        Args:
            vectors: float32 [items, dimension], mapped or in memory.
            lengths: what ``lengths_of`` says of them, where it was asked already.
            by_cosine: whether to divide, when scores are made: vectors that are mapped stay so.
        """
        self._vectors = vectors
        self._transposed = vectors.T
        lengths = lengths_of(vectors) if lengths is None else lengths
        self._lengths: NDArray[np.float32] | None = None
        if by_cosine:
            self._lengths = np.maximum(lengths, np.finfo(np.float32).tiny).astype(np.float32)
        self._longest = 1.0 if by_cosine else float(lengths.max())
        self._width = -(-len(vectors) // GROUP) * GROUP
        self._queries_at_once = min(MAX_QUERIES, max(1, MAX_SCORES // self._width))
        # Behind the last item the rough scores stay minus infinity.
        self._rough = np.empty((0, self._width), np.float32)
        self._best = np.empty((0, self._width // GROUP), np.float32)

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``."""
        vectors: NDArray[np.float32] = self._vectors[rows]
        return vectors if self._lengths is None else vectors / self._lengths[rows][:, None]

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        slack = rounding_slack(queries, self._longest)
        found: list[Found] = []
        for start in range(0, len(queries), self._queries_at_once):
            part = slice(start, start + self._queries_at_once)
            found += self._search(_Wanted(queries[part], counts[part], restrictions[part], slack[part]))
        return found

    def _search(self, wanted: _Wanted) -> list[Found]:
        if len(wanted.queries) <= MAX_ONE_BY_ONE:
            return [self._search_one(wanted, index) for index in range(len(wanted.queries))]
        rough, best_of_groups = self._memory(len(wanted.queries))
        block = min(self._width, BLOCK_SCORES // len(rough) // GROUP * GROUP)
        self._score(wanted, block, rough, best_of_groups)
        # Rounded down, so that no item is lost to the rounding.
        exact = _thresholds(best_of_groups, wanted.counts) - wanted.slack
        lowest = np.nextafter(exact, -np.inf, dtype=np.float32, casting="same_kind")
        hits = np.flatnonzero(best_of_groups >= lowest[:, None])
        if len(hits) * GROUP <= MAX_CANDIDATES:
            return self._ranked(wanted, self._candidates(rough, block, lowest, hits))
        return [self._search_one(wanted, index) for index in range(len(rough))]

    def _search_one(self, wanted: _Wanted, index: int) -> Found:
        """The same for one query, of which there may be any number of candidates."""
        query, count, restriction = wanted.queries[index], wanted.counts[index], wanted.restrictions[index]
        rough = self._memory(1)[0][0]
        scores = rough[: len(self._vectors)]
        np.dot(self._vectors, query, out=scores)
        self._scale(scores, slice(None))
        if restriction.allowed is not None:
            scores[~restriction.allowed] = -np.inf
        scores[restriction.excluded] = -np.inf
        members = rough.reshape(GROUP, -1)
        best_of_groups = members.max(axis=0)
        lowest = np.float32(-np.inf)
        if count <= len(best_of_groups):
            place = len(best_of_groups) - count
            exact = np.partition(best_of_groups, place)[place] - wanted.slack[index]
            # Rounded down, so that no item is lost to the rounding.
            lowest = np.nextafter(np.float32(exact), np.float32(-np.inf))
        groups = np.flatnonzero(best_of_groups >= lowest)
        rows = (groups + np.arange(0, len(rough), len(best_of_groups))[:, None]).ravel()
        found = rough[rows]
        rows = rows[(found >= lowest) & (found > -np.inf)]
        return best(rows, products(query, self.vectors_of(rows)), count)

    def _memory(self, query_count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """float32 [queries, width] and [queries, groups], kept from one search to the next: fresh memory costs more."""
        if len(self._rough) < query_count:
            self._rough = np.full((query_count, self._width), -np.inf, np.float32)
            self._best = np.empty((query_count, self._width // GROUP), np.float32)
        return self._rough[:query_count], self._best[:query_count]

    def _score(
        self, wanted: _Wanted, block: int, rough: NDArray[np.float32], best_of_groups: NDArray[np.float32]
    ) -> None:
        """Fills in the rough scores, minus infinity where nothing may be found, and the best of each group."""
        excluded = excluded_pairs(wanted.restrictions)
        if block < self._width:
            order = np.argsort(excluded.row)
            excluded = Pairs(excluded.query[order], excluded.row[order])
        masked = [
            (query, ~restriction.allowed)
            for query, restriction in enumerate(wanted.restrictions)
            if restriction.allowed is not None
        ]
        done = 0
        for start in range(0, self._width, block):
            end = min(start + block, self._width)
            stop = min(end, len(self._vectors))
            np.matmul(wanted.queries, self._transposed[:, start:stop], out=rough[:, start:stop])
            self._scale(rough[:, start:stop], slice(start, stop))
            for query, is_denied in masked:
                np.copyto(rough[query, start:stop], -np.inf, where=is_denied[start:stop])
            here = len(excluded.row) if stop == len(self._vectors) else int(np.searchsorted(excluded.row, stop))
            rough[excluded.query[done:here], excluded.row[done:here]] = -np.inf
            done = here
            members = rough[:, start:end].reshape(len(rough), GROUP, -1)
            members.max(axis=1, out=best_of_groups[:, start // GROUP : end // GROUP])

    def _scale(self, products: NDArray[np.float32], rows: slice) -> None:
        """Makes scores of products with the vectors in these rows."""
        if self._lengths is not None:
            products /= self._lengths[rows]

    def _candidates(
        self, rough: NDArray[np.float32], block: int, lowest: NDArray[np.float32], hits: NDArray[np.int64]
    ) -> Pairs:
        """The items of the groups that were hit whose rough score is not too low."""
        query, group = np.divmod(hits, self._width // GROUP)
        start = group * GROUP // block * block
        # A group has every so many-th item of its block, so that the best of a block's groups are found row by row.
        step = (np.minimum(start + block, self._width) - start) // GROUP
        rows = (start + group - start // GROUP)[:, None] + step[:, None] * np.arange(GROUP)
        scores = rough[query[:, None], rows]
        is_candidate = (scores >= lowest[query][:, None]) & (scores > -np.inf)
        return Pairs(np.repeat(query, is_candidate.sum(axis=1)), rows[is_candidate])

    def _ranked(self, wanted: _Wanted, candidates: Pairs) -> list[Found]:
        scores = products(wanted.queries[candidates.query], self.vectors_of(candidates.row))
        return best_of_each(candidates, scores, wanted.counts, len(self._vectors).bit_length())


def _thresholds(best_of_groups: NDArray[np.float32], counts: Sequence[int]) -> NDArray[np.float32]:
    """float32 [queries], what as many items score at least, by the best [queries, groups] of groups."""
    compared = best_of_groups
    together = compared.shape[1] // MAX_GROUPS
    if together > 1 and max(counts) <= compared.shape[1] // together:
        # The groups left over would only make the threshold higher.
        kept = compared.shape[1] // together
        compared = compared[:, : together * kept].reshape(len(compared), together, kept).max(axis=1)
    thresholds = np.full(len(compared), -np.inf, np.float32)
    for count in set(counts):
        if count <= compared.shape[1]:
            place = compared.shape[1] - count
            of_queries = np.array(counts) == count
            part = compared if of_queries.all() else compared[of_queries]
            thresholds[of_queries] = np.partition(part, place, axis=1)[:, place]
    return thresholds
