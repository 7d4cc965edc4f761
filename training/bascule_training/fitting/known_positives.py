"""Which candidates a query's own user is known to have had: they are no negatives."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule_training.data.histories import Histories


@dataclass(frozen=True, slots=True)
class KnownPositives:
    """What users had, to be looked up for a batch."""

    histories: Histories
    """Of the training part."""
    item_count: int
    """Of the catalogue."""

    def mask(self, users: NDArray[np.int32], candidates: NDArray[np.int32]) -> NDArray[np.bool_]:
        """bool [queries, candidates], whether the candidate is in the history of the query's user.

        It takes time for the histories of the distinct users, for the distinct candidates, and for the mask itself.

        Args:
            users: int32 [queries], users by place in the histories; -1 for none.
            candidates: int32 [candidates], rows of the catalogue; they may repeat.
        """
        distinct, place_of_query = np.unique(users, return_inverse=True)
        places, items = self._items_of(distinct)

        order = np.argsort(candidates, kind="stable")
        rows, starts, counts = np.unique(candidates[order], return_index=True, return_counts=True)
        # By item: 1 + its place among the distinct candidates. Memory that is all zeros costs nothing until it is used.
        candidate_of = np.zeros(self.item_count, np.int32)
        candidate_of[rows] = np.arange(1, len(rows) + 1)
        found = candidate_of[items]
        hits = np.flatnonzero(found)
        hit = found[hits] - 1

        mask = np.zeros((len(distinct), len(candidates)), np.bool_)
        mask[np.repeat(places[hits], counts[hit]), order[_ranges(starts[hit], counts[hit])]] = True
        return mask[place_of_query]

    def _items_of(self, users: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """int64 and int32 [interactions]: for all that the users had, the user by place among ``users``, and the item.

        Users are of the histories, or -1.
        """
        exists = users >= 0
        known = np.where(exists, users, 0)
        starts = self.histories.offsets[known]
        counts = np.where(exists, self.histories.offsets[known + 1] - starts, 0)
        return np.repeat(np.arange(len(users)), counts), self.histories.item_rows[_ranges(starts, counts)]


def _ranges(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [sum of the counts]: from each of ``starts`` so many numbers that follow each other."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
