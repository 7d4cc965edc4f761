"""The parts that a living catalogue consists of: the base, which is the artifact's, and the items that came since.

A segment has the ids and attributes of its items, and a part of the search finds some; both have the rows of the whole
from ``first_row`` on. Nothing of it changes; which items are gone, the whole knows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found, best
from bascule_server.retrieval.retrievers import Retrievers
from bascule_server.scoring.catalogue import Catalogue

_SPARE = 8
"""How many more items are searched for than are wanted, where some are gone: so many, and twice as many as were gone of
the wanted ones if these were spread evenly."""
_GROWTH = 4


class Rows:
    """Successive rows of the whole.

    Attributes:
        first_row: the first.
        end_row: behind the last.
    """

    def __init__(self, first_row: int, end_row: int) -> None:
        self.first_row = first_row
        self.end_row = end_row

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [rows in it], the places within it of those of the rows that are in it."""
        return rows[self.has(rows)] - self.first_row

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [rows], which of them are in it."""
        return (rows >= self.first_row) & (rows < self.end_row)


class Segment(Rows):
    """Items that came together. Nothing of it changes.

    Attributes:
        catalogue: its items by themselves.
        base_rows: int64 [items], the row by which the query tower knows each, or -1. None: they are the base itself.
    """

    def __init__(self, first_row: int, catalogue: Catalogue, base_rows: NDArray[np.int64] | None = None) -> None:
        super().__init__(first_row, first_row + len(catalogue))
        self.catalogue = catalogue
        self.base_rows = base_rows


class Searched(Rows):
    """Items that are searched together: those of a segment, or of several that were merged. Nothing of it changes.

    Attributes:
        retrievers: find them, by their places from the first row.
    """

    def __init__(self, first_row: int, end_row: int, retrievers: Retrievers) -> None:
        super().__init__(first_row, end_row)
        self.retrievers = retrievers


AnyRows = TypeVar("AnyRows", bound=Rows)


class Gone:
    """Which rows stand for items that went, or were replaced. Nothing of it changes."""

    def __init__(self, mask: NDArray[np.bool_], parts: Sequence[Rows]) -> None:
        """``mask`` is bool [rows], of all parts."""
        self.mask = mask
        self._counts = [int(np.count_nonzero(mask[each.first_row : each.end_row])) for each in parts]

    def count_in(self, number: int) -> int:
        """How many rows of the part of this number."""
        return self._counts[number]


def spare_of(part: Rows, gone_count: int, count: int) -> int:
    """How many more items than ``count`` to search for at first, where so many of a part are gone."""
    present_count = max(part.end_row - part.first_row - gone_count, 1)
    return min(gone_count, _SPARE + 2 * count * gone_count // present_count)


def present_of(part: Rows, gone: Gone, number: int, count: int, search: Callable[[int], Found]) -> Found:
    """The best ``count`` items of a part that are not gone, by their rows in the whole.

    Args:
        part: where they are.
        gone: what is not wanted.
        number: of the part.
        count: from 1.
        search: finds the best items of the part, as many as it is told or as there are, by their places.
    """
    spare = spare_of(part, gone.count_in(number), count)
    while True:
        found = search(count + spare)
        rows = found.rows + part.first_row
        if not spare:
            return Found(rows, found.scores)
        is_present = ~gone.mask[rows]
        if int(np.count_nonzero(is_present)) >= count or len(rows) < count + spare:
            return Found(rows[is_present][:count], found.scores[is_present][:count])
        spare *= _GROWTH


def merged(parts: Sequence[Found], count: int) -> Found:
    """The best of all parts."""
    full = [each for each in parts if len(each.rows)]
    if len(full) == 1:
        return full[0]
    rows, scores = np.concatenate([each.rows for each in parts]), np.concatenate([each.scores for each in parts])
    return best(rows, scores, count)


def split(rows: NDArray[np.int64], parts: Sequence[AnyRows]) -> Iterator[tuple[AnyRows, NDArray[np.bool_]]]:
    """Each part that has any of the rows, with bool [rows], which."""
    for part in parts:
        is_in = part.has(rows)
        if is_in.any():
            yield part, is_in
