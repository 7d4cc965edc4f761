"""Finds the best items by scoring all of them: a product of the whole batch, then the best of each row in two levels.

Items are parted into groups, and the first level looks at the best of each group alone. If k groups have an item that
scores at least t, then so have k items; hence only items that score at least t can be among the k best, and they are in
groups whose best does. The second level looks at the members of these few groups.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval import Found, Restriction, best, products

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

_UNDERFLOW = 4.0 * float(np.finfo(np.float32).smallest_subnormal)
"""More than two products of float32 can differ by where both vanish into subnormal numbers, twice."""


class _Wanted(NamedTuple):
    """What is wanted of a pass."""

    queries: NDArray[np.float32]
    """float32 [queries, dimension]."""
    counts: Sequence[int]
    """From 1, for each query."""
    restrictions: Sequence[Restriction]
    slack: NDArray[np.float64]
    """float64 [queries]: items whose rough score lies further below that of the last that is wanted are not."""


class _Pairs(NamedTuple):
    """Queries and items that belong together."""

    query: NDArray[np.int64]
    """int64 [pairs]."""
    row: NDArray[np.int64]
    """int64 [pairs]."""


class ExactRetriever:
    """Scores every item; see ``Retriever``. Called by one thread at a time, since it keeps its memory.

    Attributes:
        vectors: float32 [items, dimension], mapped or in memory.
    """

    def __init__(self, vectors: NDArray[np.float32]) -> None:
        self.vectors = vectors
        self._transposed = vectors.T
        self._longest = max(float(_lengths(block).max()) for block in _blocks(vectors))
        self._width = -(-len(vectors) // GROUP) * GROUP
        self._queries_at_once = min(MAX_QUERIES, max(1, MAX_SCORES // self._width))
        # Behind the last item the rough scores stay minus infinity.
        self._rough = np.empty((0, self._width), np.float32)
        self._best = np.empty((0, self._width // GROUP), np.float32)

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        # Twice the bound on the difference of two float32 dot products of length d, 2 d u |q| |v| with u = 2^-24
        # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). The summand bounds what underflow
        # takes away.
        slack = queries.shape[1] * (2.0**-22 * _lengths(queries) * self._longest + _UNDERFLOW)
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
        scores = rough[: len(self.vectors)]
        np.dot(self.vectors, query, out=scores)
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
        return best(rows, products(query, self.vectors[rows]), count)

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
        excluded = _excluded(wanted.restrictions, is_ordered=block < self._width)
        masked = [
            (query, ~restriction.allowed)
            for query, restriction in enumerate(wanted.restrictions)
            if restriction.allowed is not None
        ]
        done = 0
        for start in range(0, self._width, block):
            end = min(start + block, self._width)
            stop = min(end, len(self.vectors))
            np.matmul(wanted.queries, self._transposed[:, start:stop], out=rough[:, start:stop])
            for query, is_denied in masked:
                np.copyto(rough[query, start:stop], -np.inf, where=is_denied[start:stop])
            here = len(excluded.row) if stop == len(self.vectors) else int(np.searchsorted(excluded.row, stop))
            rough[excluded.query[done:here], excluded.row[done:here]] = -np.inf
            done = here
            members = rough[:, start:end].reshape(len(rough), GROUP, -1)
            members.max(axis=1, out=best_of_groups[:, start // GROUP : end // GROUP])

    def _candidates(
        self, rough: NDArray[np.float32], block: int, lowest: NDArray[np.float32], hits: NDArray[np.int64]
    ) -> _Pairs:
        """The items of the groups that were hit whose rough score is not too low."""
        query, group = np.divmod(hits, self._width // GROUP)
        start = group * GROUP // block * block
        # A group has every so many-th item of its block, so that the best of a block's groups are found row by row.
        step = (np.minimum(start + block, self._width) - start) // GROUP
        rows = (start + group - start // GROUP)[:, None] + step[:, None] * np.arange(GROUP)
        scores = rough[query[:, None], rows]
        is_candidate = (scores >= lowest[query][:, None]) & (scores > -np.inf)
        return _Pairs(np.repeat(query, is_candidate.sum(axis=1)), rows[is_candidate])

    def _ranked(self, wanted: _Wanted, candidates: _Pairs) -> list[Found]:
        scores = products(wanted.queries[candidates.query], self.vectors[candidates.row])
        return _sorted(candidates, scores, wanted.counts, len(self.vectors).bit_length())


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


def _sorted(pairs: _Pairs, scores: NDArray[np.float32], counts: Sequence[int], row_bits: int) -> list[Found]:
    """The best of each query by score, and of equals the lower row.

    Sorts one number of 64 bits for each pair: the query, how low the score is, and the row, which takes ``row_bits``.
    """
    query, row = pairs.query.astype(np.uint64), pairs.row.astype(np.uint64)
    key = (query << np.uint64(32 + row_bits)) | (_descending(scores) << np.uint64(row_bits)) | row
    key.sort()
    row = key & np.uint64((1 << row_bits) - 1)
    scores = _scores(key >> np.uint64(row_bits))
    starts = np.searchsorted(key >> np.uint64(32 + row_bits), np.arange(len(counts) + 1)).tolist()
    rows = row.astype(np.int64)
    return [
        Found(rows[start : min(start + count, stop)], scores[start : min(start + count, stop)])
        for start, stop, count in zip(starts, starts[1:], counts, strict=False)
    ]


_SIGN = np.uint32(1 << 31)


def _descending(scores: NDArray[np.float32]) -> NDArray[np.uint64]:
    """uint64 [scores], of 32 bits, in the opposite order of the scores.

    Read as integers, floats that are not negative have their order, and negative ones the opposite order.
    """
    bits = scores.view(np.uint32)
    return np.where(bits & _SIGN, bits, ~(bits | _SIGN)).astype(np.uint64)


def _scores(descending: NDArray[np.uint64]) -> NDArray[np.float32]:
    """float32 [scores], from the lower 32 bits of what ``_descending`` made."""
    bits = descending.astype(np.uint32)
    return np.where(bits & _SIGN, bits, ~(bits | _SIGN)).view(np.float32)


def _excluded(restrictions: Sequence[Restriction], *, is_ordered: bool) -> _Pairs:
    """Which row of which query must not be found, ordered by row where that is asked for."""
    row = np.concatenate([restriction.excluded for restriction in restrictions])
    query = np.repeat(np.arange(len(restrictions)), [len(restriction.excluded) for restriction in restrictions])
    order = np.argsort(row) if is_ordered else slice(None)
    return _Pairs(query[order], row[order])


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [rows], in which the square of a float32 neither overflows nor vanishes."""
    lengths: NDArray[np.float64] = np.linalg.norm(vectors.astype(np.float64), axis=1)
    return lengths


def _blocks(vectors: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return np.array_split(vectors, max(1, len(vectors) // 100_000))
