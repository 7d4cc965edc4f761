"""The items of several segments as one catalogue, without those that are gone."""

from collections.abc import Iterable, Sequence
from functools import partial
from itertools import accumulate, chain, pairwise

import numpy as np
from numpy.typing import NDArray

from bascule_server.living.segments import Gone, Rows, Segment, merged, present_of, split
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.retriever import Found, Restriction
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.item_ids import UNKNOWN, Known, ListedItems, known_of
from bascule_server.scoring.query import FeatureValue, Filter


class JoinedAllowed(Allowed):
    """What a set of filters allows of each segment, and of all of them."""

    def __init__(self, parts: Sequence[Allowed]) -> None:
        """``parts`` are those of the segments, one behind the other."""
        super().__init__(np.concatenate([part.mask for part in parts]))
        self.parts = parts
        ends = list(accumulate(len(part.mask) for part in parts))
        self._within: dict[tuple[int, int], Allowed] = {
            **dict(zip(pairwise([0, *ends]), parts, strict=True)),
            (0, ends[-1]): self,
        }

    def within(self, rows: Rows) -> Allowed:
        """What they allow of some of the rows, those of one segment or of several."""
        bounds = (rows.first_row, rows.end_row)
        if bounds not in self._within:
            self._within[bounds] = Allowed(self.mask[slice(*bounds)])
        return self._within[bounds]


class JoinedColumn:
    """An attribute of the items of all segments; see ``Column``."""

    def __init__(self, segments: Sequence[Segment], attribute: str) -> None:
        self._columns = [(each.first_row, each.catalogue.column(attribute)) for each in reversed(segments)]

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """See ``Column``."""
        return np.concatenate([column.mask(condition) for _, column in reversed(self._columns)])

    def value(self, row: int) -> FeatureValue | None:
        """See ``Column``."""
        first_row, column = next(each for each in self._columns if row >= each[0])
        return column.value(row - first_row)


class JoinedIds:
    """The ids of all segments; see ``Ids``. Of several rows with one id, the one that is not gone has it."""

    def __init__(self, segments: Sequence[Segment], gone: Gone) -> None:
        self._segments = segments
        self._gone = gone

    def __len__(self) -> int:
        return len(self._gone.mask)

    def of(self, rows: Iterable[int]) -> list[str]:
        """See ``Ids``."""
        places = np.fromiter(rows, np.int64)
        ids: list[str] = [""] * len(places)
        for segment, is_in in split(places, self._segments):
            found = segment.catalogue.item_ids.of((places[is_in] - segment.first_row).tolist())
            for place, item_id in zip(np.flatnonzero(is_in).tolist(), found, strict=True):
                ids[place] = item_id
        return ids

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """See ``Ids``; of items that are there now."""
        return self._rows(item_ids, with_gone=False)

    def known(self, lists: Sequence[Sequence[str]]) -> list[Known]:
        """See ``Ids``; also of items that were once in the base, which have their old rows then."""
        return known_of(lists, self._rows(list(chain.from_iterable(lists)), with_gone=True))

    def _rows(self, item_ids: Sequence[str], *, with_gone: bool) -> NDArray[np.int64]:
        base, *others = self._segments
        of_base = base.catalogue.item_ids.rows(item_ids)
        is_missing = (of_base == UNKNOWN) | self._gone.mask[of_base]
        if not is_missing.any():
            return of_base
        rows = of_base.copy()
        if not with_gone:
            rows[is_missing] = UNKNOWN
        # An id stands in one segment alone, but for rows that are gone.
        places = np.flatnonzero(is_missing)
        missing = [item_ids[place] for place in places.tolist()]
        for segment in others:
            found = segment.catalogue.item_ids.rows(missing)
            is_there = found != UNKNOWN
            is_there[is_there] = ~self._gone.mask[found[is_there] + segment.first_row]
            rows[places[is_there]] = found[is_there] + segment.first_row
        return rows

    def encoded(self, rows: NDArray[np.int64]) -> Sequence[bytes | memoryview]:
        """See ``Ids``."""
        found, ends = self.on_the_wire(rows)
        data = found.data
        return [data[start:end] for start, end in pairwise([0, *ends.tolist()])]

    def listed(self, rows: Sequence[NDArray[np.int64]]) -> list[ListedItems]:
        """See ``Ids``."""
        together = np.concatenate(rows) if rows else np.empty(0, np.int64)
        base = self._segments[0]
        if not len(together) or int(together.max()) < base.end_row:
            return [each._replace(item_ids=self) for each in base.catalogue.item_ids.listed(rows)]
        found, ends = self.on_the_wire(together)
        data = found.tobytes()
        bounds = np.concatenate([[0], ends])[np.cumsum([0, *map(len, rows)])].tolist()
        return [
            ListedItems(self, each, data[start:end]) for each, (start, end) in zip(rows, pairwise(bounds), strict=True)
        ]

    def on_the_wire(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """See ``Ids``."""
        parts = [
            (is_in, *segment.catalogue.item_ids.on_the_wire(rows[is_in] - segment.first_row))
            for segment, is_in in split(rows, self._segments)
        ]
        sizes = np.zeros(len(rows), np.int64)
        for is_in, _, ends in parts:
            sizes[is_in] = np.diff(ends, prepend=0)
        ends_of_all = np.cumsum(sizes)
        joined = np.empty(int(sizes.sum()), np.uint8)
        for is_in, data, ends in parts:
            joined[np.arange(len(data)) + np.repeat(ends_of_all[is_in] - ends, sizes[is_in])] = data
        return joined, ends_of_all


class LivingCatalogue(Catalogue):
    """A catalogue at one revision. Nothing of it changes."""

    def __init__(self, segments: Sequence[Segment], gone: Gone, attributes: Iterable[str]) -> None:
        """Takes the base, which comes first, and what came since.

        Args:
            segments: one behind the other.
            gone: of their rows.
            attributes: the names of all.
        """
        super().__init__(
            JoinedIds(segments, gone), _NO_POPULARITY, {name: JoinedColumn(segments, name) for name in attributes}
        )
        self._segments = segments
        self._gone = gone
        self._moved = _moved(segments, gone)
        self._end_of_base = segments[0].end_row
        self._base_rows = np.concatenate(
            [np.empty(0, np.int64), *(each.base_rows for each in segments if each.base_rows is not None)]
        )
        """int64 [items that came], the row by which the query tower knows each, or -1."""

    def present(self, known: Known) -> Known:
        """See ``Catalogue``."""
        if not len(known.rows) or not (is_gone := self._gone.mask[known.rows]).any():
            return known
        return Known(known.rows[~is_gone], [*known.unknown, *self.item_ids.of(known.rows[is_gone].tolist())])

    def as_read(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """See ``Catalogue``."""
        if not len(rows) or int(rows.max()) < self._end_of_base:
            return rows
        is_came = rows >= self._end_of_base
        read: NDArray[np.int64] = rows.copy()
        read[is_came] = self._base_rows[rows[is_came] - self._end_of_base]
        known: NDArray[np.int64] = read[read != UNKNOWN]
        return known

    def current(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """See ``Catalogue``."""
        before, after = self._moved
        if not len(before):
            return rows
        places = np.minimum(np.searchsorted(before, rows), len(before) - 1)
        moved: NDArray[np.int64] = np.where(before[places] == rows, after[places], rows)
        return moved

    def popularity_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """See ``Catalogue``."""
        found = np.zeros(len(rows), np.float32)
        for segment, is_in in split(rows, self._segments):
            found[is_in] = segment.catalogue.popularity_of(rows[is_in] - segment.first_row)
        return found

    def most_popular(self, count: int, restriction: Restriction) -> Found:
        """See ``Catalogue``."""
        parts = []
        for number, segment in enumerate(self._segments):
            allowed = restriction.allowed.parts[number] if isinstance(restriction.allowed, JoinedAllowed) else None
            within = Restriction(segment.places(restriction.excluded), allowed)
            search = partial(_most_popular, segment, within)
            parts.append(present_of(segment, self._gone, number, count, search))
        return merged(parts, count)

    def _compile(self, filters: tuple[Filter, ...]) -> Allowed:
        # There are filters, so each segment has some of its items allowed, or none.
        parts = (each.catalogue.allowed(filters) for each in self._segments)
        return JoinedAllowed([part for part in parts if part is not None])


_NO_POPULARITY = np.empty(0, np.float32)


def _most_popular(segment: Segment, restriction: Restriction, count: int) -> Found:
    return segment.catalogue.most_popular(count, restriction)


def _moved(segments: Sequence[Segment], gone: Gone) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the base, ascending, of items that others replaced, and the rows of these."""
    before, after = [], []
    for segment in segments[1:]:
        if segment.base_rows is not None:
            rows = np.arange(segment.first_row, segment.end_row)
            moved = (segment.base_rows != UNKNOWN) & ~gone.mask[rows]
            before.append(segment.base_rows[moved])
            after.append(rows[moved])
    old, new = (np.concatenate([np.empty(0, np.int64), *each]) for each in (before, after))
    order = np.argsort(old)
    return old[order], new[order]
