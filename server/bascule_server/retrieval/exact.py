"""Finds the best items by scoring all of them: roughly first, by 8 bits a component, and a few again by their vectors.

What is lost to the 8 bits is bounded for each query. Where k items have a rough score of at least t, these score at
least t less the bound; hence none of the k best has a rough score below t less twice the bound. Such a t is found in
two levels. Items are parted into groups, and the first level looks at the best of each group alone: if k groups have an
item that scores at least t, then so have k items. The second level looks at the members of the few groups whose best is
good enough.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.quantised_items import MOST_TOGETHER, QuantisedItems, quantised_queries, quantised_query
from bascule_server.retrieval.retriever import (
    Found,
    Numbers,
    Restriction,
    Vectors,
    best,
    lengths_of,
    products,
    rounding_slack,
)
from bascule_server.retrieval.scored_pairs import Pairs, best_of_each

MAX_QUERIES = 64
"""Whose candidates are scored together."""

GROUP = 16
"""Items in a group: the largest of 16 rows is found about as fast as these are read. Divides ``WIDTH_STEP``."""

FEWEST_TOGETHER = 3
"""Fewer queries are searched one after another."""

FEWEST_COMPARED = 256
COMPARED_PER_ITEM = 8
"""Best of groups that are compared to find the k-th: at least so many, and so many times k. Where there are more, some
groups are taken together: that takes a fifth of the time, and since few of the k best share a group then, there is
about one candidate more for 16 items that are wanted."""

MAX_MEMBERS = 2**20
MAX_CANDIDATES = 2**17
"""Rough scores that are looked at, and items that are scored in full, in one pass. Where there would be more, as where
most scores are about equal, queries are searched one by one, and every item is scored in full."""

_NO_PAIRS = Pairs(np.empty(0, np.int64), np.empty(0, np.int64))
_LOWEST = np.finfo(np.float32).min
"""Above the score of what may not be found."""


class ExactRetriever:
    """Scores every item; see ``Retriever``. Called by one thread at a time, since products have one place."""

    def __init__(
        self,
        vectors: Vectors,
        lengths: NDArray[np.float64] | None = None,
        *,
        by_cosine: bool = False,
        quantised: QuantisedItems | None = None,
    ) -> None:
        """Takes the items' vectors as they are, or each divided by its length.

        Args:
            vectors: float32 [items, dimension], mapped or in memory, at least one.
            lengths: what ``lengths_of`` says of them, where it was asked already.
            by_cosine: whether to divide, when scores are made: vectors that are mapped stay so.
            quantised: the same vectors; without them every item is scored in full, which takes several times as long.
        """
        self._vectors = vectors
        lengths = lengths_of(vectors) if lengths is None else lengths
        self._longest = 1.0 if by_cosine else float(lengths.max())
        self._width = -(-len(vectors) // GROUP) * GROUP
        self._lengths: NDArray[np.float32] | None = None
        if by_cosine:
            self._lengths = np.maximum(lengths, np.finfo(np.float32).tiny).astype(np.float32)
        self._quantised = quantised
        if quantised is not None:
            divisor = 1.0 if self._lengths is None else self._lengths
            self._longest_quantised = float((quantised.lengths / divisor).max())
            self._most_lost = float((quantised.errors / divisor).max())

    def vectors_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Retriever``."""
        # ``take`` needs half the time of an index.
        vectors = self._vectors.take(rows, axis=0)
        return vectors if self._lengths is None else vectors / self._lengths[rows][:, None]

    def search(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """See ``Retriever``."""
        few = {
            place: self._best_of(rows, queries[place], counts[place])
            for place, restriction in enumerate(restrictions)
            if (rows := restriction.few()) is not None
        }
        if not few:
            return self._search_all(queries, counts, restrictions)
        others = [place for place in range(len(queries)) if place not in few]
        found = self._search_all(queries[others], [counts[i] for i in others], [restrictions[i] for i in others])
        by_place = few | dict(zip(others, found, strict=True))
        return [by_place[place] for place in range(len(queries))]

    def _search_all(
        self, queries: NDArray[np.float32], counts: Sequence[int], restrictions: Sequence[Restriction]
    ) -> list[Found]:
        """The same by looking at every item."""
        found: list[Found] = []
        while (start := len(found)) < len(queries):
            if self._quantised is None or len(queries) - start < FEWEST_TOGETHER:
                found.append(self._search_one(queries[start], counts[start], restrictions[start]))
            else:
                part = slice(start, start + MAX_QUERIES)
                found += self._search_together(self._quantised, queries[part], counts[part], restrictions[part])
        return found

    def _best_of(self, rows: NDArray[np.int64], query: NDArray[np.float32], count: int) -> Found:
        return best(rows, products(query, self.vectors_of(rows)), count)

    def _search_together(
        self,
        items: QuantisedItems,
        queries: NDArray[np.float32],
        counts: Sequence[int],
        restrictions: Sequence[Restriction],
    ) -> list[Found]:
        quantised = quantised_queries(queries)
        slack = self._lost(quantised.errors, quantised.lengths) / quantised.steps
        candidates: list[Pairs] = []
        alone: list[int] = []
        for start in range(0, len(queries), MOST_TOGETHER):
            part = slice(start, start + MOST_TOGETHER)
            rough = items.products(quantised.codes[part])
            self._restrict(rough, restrictions[part])
            pairs = _candidates(rough, counts[part], slack[part])
            if pairs is None:
                alone += range(start, start + len(rough))
                pairs = _NO_PAIRS
            candidates.append(Pairs(pairs.query + start, pairs.row))
            # The next products are written to the same place.
            del rough
        found = self._ranked(queries, candidates, counts)
        for index in alone:
            found[index] = self._search_in_full(queries[index], counts[index], restrictions[index])
        return found

    def _lost(self, error: Numbers, length: Numbers) -> Numbers:
        """How far below the last rough score that is wanted that of a wanted item can lie at most.

        Of a query q = q' + e and an item v = v' + r, where q' and v' are what is left after quantisation, rough scores
        are q'v', and qv - q'v' = ev' + qr, of which the size is at most |e||v'| + |q||r|. Twice that, and what is
        rounded.

        Args:
            error: |e|.
            length: |q|.
        """
        lost = error * self._longest_quantised + length * self._most_lost
        return 2 * lost + rounding_slack(length, self._longest, self._vectors.shape[1])

    def _restrict(self, rough: NDArray[np.float32], restrictions: Sequence[Restriction]) -> None:
        """Makes scores of products [queries, width]: minus infinity where nothing may be found."""
        item_count = len(self._vectors)
        rough[:, item_count:] = -np.inf
        if self._lengths is not None:
            rough[:, :item_count] /= self._lengths
        for scores, restriction in zip(rough, restrictions, strict=True):
            if restriction.allowed is not None:
                # To add is quicker than to write where a mask says so.
                scores[:item_count] += restriction.allowed.summands
            scores[restriction.excluded] = -np.inf

    def _ranked(self, queries: NDArray[np.float32], candidates: Sequence[Pairs], counts: Sequence[int]) -> list[Found]:
        """The best of the candidates, by their vectors in full."""
        query, row = map(np.concatenate, zip(*candidates, strict=True))
        scores = products(queries.take(query, axis=0), self.vectors_of(row))
        return best_of_each(Pairs(query, row), scores, counts, len(self._vectors).bit_length())

    def _search_one(self, query: NDArray[np.float32], count: int, restriction: Restriction) -> Found:
        """The same for one query, which takes less when nothing has to be told apart by query."""
        if self._quantised is not None:
            quantised = quantised_query(query)
            (rough,) = self._quantised.products(quantised.codes)
            slack = self._lost(quantised.error, quantised.length) / quantised.step
            rows = self._candidates_of_one(rough, count, restriction, slack)
            if len(rows) <= MAX_CANDIDATES:
                return self._best_of(rows, query, count)
        return self._search_in_full(query, count, restriction)

    def _search_in_full(self, query: NDArray[np.float32], count: int, restriction: Restriction) -> Found:
        """The same by the vectors in full, with any number of candidates."""
        scores = np.empty(self._width, np.float32)
        self._vectors.dot(query, out=scores[: len(self._vectors)])
        slack = rounding_slack(float(lengths_of(query[None])[0]), self._longest, len(query))
        return self._best_of(self._candidates_of_one(scores, count, restriction, slack), query, count)

    def _candidates_of_one(
        self, scores: NDArray[np.float32], count: int, restriction: Restriction, slack: float
    ) -> NDArray[np.int64]:
        """int64 [candidates], see ``_candidates``, by products [width]."""
        found = scores[: len(self._vectors)]
        scores[len(found) :] = -np.inf
        if self._lengths is not None:
            found /= self._lengths
        if restriction.allowed is not None:
            found += restriction.allowed.summands
        found[restriction.excluded] = -np.inf
        best_of_groups = _best_of_groups(scores)
        lowest = _lowered(_of_rank(count, _compared(best_of_groups, count)), slack)
        (groups,) = (best_of_groups >= lowest).nonzero()
        rows = _members(groups, len(scores)).ravel()
        return rows[scores[rows] >= lowest]


def _candidates(rough: NDArray[np.float32], counts: Sequence[int], slack: NDArray[np.float64]) -> Pairs | None:
    """The items whose rough scores [queries, width] are not too low to be wanted; None where they are too many."""
    width = rough.shape[1]
    best_of_groups = _best_of_groups(rough)
    lowest = _lowest(best_of_groups, counts, slack)
    hits = np.flatnonzero(best_of_groups >= lowest[:, None])
    if len(hits) * GROUP > MAX_MEMBERS:
        return None
    query = hits // best_of_groups.shape[1]
    # Places in the scores of all queries, one behind the other.
    places = _members(hits + query * (width - best_of_groups.shape[1]), width)
    candidates = np.flatnonzero(rough.reshape(-1).take(places) >= lowest[query][:, None])
    if len(candidates) > MAX_CANDIDATES:
        return None
    query = query[candidates // GROUP]
    return Pairs(query, places.reshape(-1)[candidates] - query * width)


def _best_of_groups(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 [..., groups], for scores [..., width].

    A group has every so many-th item, so that the best of all groups are found row by row.
    """
    best: NDArray[np.float32] = np.maximum.reduce(scores.reshape(*scores.shape[:-1], GROUP, -1), axis=-2)
    return best


def _compared(best_of_groups: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """float32 [..., compared]: the best [..., groups] of groups, or of several groups each where there are many."""
    group_count = best_of_groups.shape[-1]
    together = group_count // max(FEWEST_COMPARED, COMPARED_PER_ITEM * count)
    if together <= 1:
        return best_of_groups
    # The groups left over would only make the threshold higher.
    kept = group_count // together
    parts = best_of_groups[..., : together * kept].reshape(*best_of_groups.shape[:-1], together, kept)
    best: NDArray[np.float32] = np.maximum.reduce(parts, axis=-2)
    return best


def _members(groups: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """int64 [groups, GROUP], the rows of the items in groups."""
    rows: NDArray[np.int64] = groups[:, None] + np.arange(0, width, width // GROUP)
    return rows


def _lowest(
    best_of_groups: NDArray[np.float32], counts: Sequence[int], slack: NDArray[np.float64]
) -> NDArray[np.float32]:
    """float32 [queries], the least that a wanted item scores, by the best [queries, groups] of groups."""
    compared = _compared(best_of_groups, max(counts))
    if len(set(counts)) == 1:
        thresholds = _of_rank(counts[0], compared)
    else:
        thresholds = np.empty(len(compared))
        for count in set(counts):
            of_queries = np.array(counts) == count
            thresholds[of_queries] = _of_rank(count, compared[of_queries])
    return _lowered(thresholds, slack)


def _of_rank(count: int, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [...], the ``count``-th highest of scores [..., scores]; the lowest that there is where these are few."""
    place = scores.shape[-1] - count
    if place < 0:
        return np.full(scores.shape[:-1], _LOWEST, np.float64)
    return np.partition(scores, place)[..., place].astype(np.float64)


def _lowered(thresholds: NDArray[np.float64], slack: float | NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 [...]: rounded down, so that no item is lost to the rounding; but above that of what may not be found."""
    return np.nextafter(np.maximum(thresholds - slack, _LOWEST).astype(np.float32), _LOWEST)
