"""The ids of a model's items: from an id to its row, from a row to its id, and from rows to what goes over the wire."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain, pairwise, repeat
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import Ranking
from bascule_server.wire import tag

UNKNOWN = -1
"""Instead of a row, where there is no such item."""

MAX_IN_DICT = 250_000
"""Up to so many items, rows are looked up in a dict; it takes 140 bytes an item, and a table of hashes 25."""

_NO_ROWS = np.empty(0, np.int64)
_NO_BYTES = np.empty(0, np.uint8)
_NO_SUMS = np.empty(0, np.uint64)
_NOTHING = np.zeros(1, np.uint64)
_FEW_LISTED = 64
"""Up to so many ids of one list are copied one by one."""
_STRINGS_AT_ONCE = 2**15
(_TAG,) = tag(Ranking, "item_ids")
_LONGEST_SHORT = 127
"""Bytes of an id whose length takes one byte on the wire; of a longer one, at most 256, it takes two."""


class Known(NamedTuple):
    """What there is of a list of ids."""

    rows: NDArray[np.int64]
    """int64 [known], the rows of the ids that there are, in their order."""
    unknown: Sequence[str]
    """The ids that there are not, in their order."""


_NOTHING_ASKED = Known(_NO_ROWS, ())


class ListedItems(NamedTuple):
    """The items of a ranking, in order."""

    item_ids: "Ids"
    rows: NDArray[np.int64]
    """int64 [items]."""
    encoded_ids: bytes
    """Their ids as the field ``item_ids`` of ``bascule.v1.Ranking``, serialised."""

    @property
    def ids(self) -> list[str]:
        """Their ids, made anew each time."""
        return self.item_ids.of(self.rows.tolist())


class Ids(Protocol):
    """Ids by row."""

    def __len__(self) -> int:
        """How many rows there are."""

    def of(self, rows: Iterable[int]) -> list[str]:
        """The ids of these rows."""

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """int64 [ids], the row of each id, or ``UNKNOWN``."""

    def known(self, lists: Sequence[Sequence[str]]) -> list[Known]:
        """Several lists of ids, looked up together."""

    def on_the_wire(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """uint8 [bytes], the ids of these rows as a ranking's message has them, and int64 [rows], where each ends."""

    def encoded(self, rows: NDArray[np.int64]) -> Sequence[bytes | memoryview]:
        """The ids of few rows, each as it stands in a ranking's message."""

    def listed(self, rows: Sequence[NDArray[np.int64]]) -> list[ListedItems]:
        """Several lists of rows, with their ids encoded together."""


class ItemIds:
    """Distinct ids by row. Nothing of it changes.

    They are kept as a ranking has them on the wire, one after the other: a tag, the length, and the id in UTF-8. So a
    ranking's ids are copied and not encoded; see ``wire.py``.
    """

    def __init__(self, item_ids: Sequence[str] | pl.Series) -> None:
        """Takes the id of each row, of at most 256 bytes each; of a column of many no strings are made in Python.

        Raises:
            ValueError: an id is there twice.
        """
        text = _text_of_column(item_ids) if isinstance(item_ids, pl.Series) else _text_of(item_ids)
        parts = [_on_the_wire(part) for part in text.parts()]
        self._bytes = np.concatenate([_NO_BYTES, *(data for data, _ in parts)])
        self._offsets = np.cumsum(np.concatenate([[0], *(sizes for _, sizes in parts)]))
        self._lookup = self._new_lookup(item_ids, text)

    def _new_lookup(self, item_ids: Iterable[str], text: "_Text") -> "_Lookup":
        if len(text.lengths) > MAX_IN_DICT:
            hashes = text.hashes()
            if (np.diff(np.sort(hashes)) > 0).all():
                return _Table(hashes, self)
        lookup = _Dict(item_ids)
        if len(lookup) < len(text.lengths):
            raise ValueError(f"expected {len(text.lengths):,} distinct ids; got {len(lookup):,}")
        return lookup

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> str:
        return self.of([row])[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self.of(range(len(self))))

    def of(self, rows: Iterable[int]) -> list[str]:
        """The ids of these rows."""
        places = np.fromiter(rows, np.int64)
        data, ends = self.text(places)
        text = data.tobytes()
        return [text[start:stop].decode() for start, stop in pairwise([0, *ends.tolist()])]

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """int64 [ids], the row of each id, or ``UNKNOWN``."""
        return self._lookup.rows(item_ids)

    def known(self, lists: Sequence[Sequence[str]]) -> list[Known]:
        """Several lists of ids, looked up together."""
        return known_of(lists, self._lookup.rows(list(chain.from_iterable(lists))))

    def listed(self, rows: Sequence[NDArray[np.int64]]) -> list[ListedItems]:
        """Several lists of rows, with their ids encoded together, which takes a tenth of the time."""
        if len(rows) == 1 and len(rows[0]) <= _FEW_LISTED:
            return [ListedItems(self, rows[0], b"".join(self.encoded(rows[0])))]
        found, ends = self.on_the_wire(np.concatenate([_NO_ROWS, *rows]))
        data, bounds = found.tobytes(), [0, *ends.tolist()]
        lists = pairwise(accumulate(map(len, rows), initial=0))
        return [
            ListedItems(self, each, data[bounds[first] : bounds[last]])
            for each, (first, last) in zip(rows, lists, strict=True)
        ]

    def on_the_wire(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """See ``Ids``."""
        return _gathered(self._bytes, self._offsets[rows], self._offsets[rows + 1])

    def encoded(self, rows: NDArray[np.int64]) -> list[memoryview]:
        """The ids of few rows, each as it stands in a ranking's message."""
        data = self._bytes.data
        starts, stops = self._offsets[rows].tolist(), self._offsets[rows + 1].tolist()
        return [data[start:stop] for start, stop in zip(starts, stops, strict=True)]

    def text(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """uint8 [bytes], the ids of these rows in UTF-8, one after the other, and int64 [rows], where each ends."""
        starts = self._offsets[rows]
        return _gathered(self._bytes, starts + _header_bytes(self._offsets[rows + 1] - starts), self._offsets[rows + 1])


def known_of(lists: Sequence[Sequence[str]], rows: NDArray[np.int64]) -> list[Known]:
    """What there is of several lists of ids, by the rows of all of them, one after the other, or ``UNKNOWN``."""
    is_all_known = not np.count_nonzero(rows == UNKNOWN)
    found = []
    start = 0
    for item_ids in lists:
        end = start + len(item_ids)
        if start == end:
            found.append(_NOTHING_ASKED)
        elif is_all_known:
            found.append(Known(rows[start:end], ()))
        else:
            found.append(_known(item_ids, rows[start:end]))
        start = end
    return found


def _known(item_ids: Sequence[str], rows: NDArray[np.int64]) -> Known:
    is_known = rows != UNKNOWN
    return Known(rows[is_known], [item_ids[place] for place in np.flatnonzero(~is_known).tolist()])


def _on_the_wire(text: "_Text") -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [bytes], each id as it stands in a ranking's message, and int64 [ids], how many bytes each takes so."""
    headers = np.where(text.lengths > _LONGEST_SHORT, 3, 2)
    sizes = text.lengths + headers
    starts = np.cumsum(sizes) - sizes
    data = np.empty(int(sizes.sum()), np.uint8)
    data[starts] = _TAG
    is_long = headers == 3
    data[starts + 1] = np.where(is_long, text.lengths & 127 | 128, text.lengths)
    data[starts[is_long] + 2] = text.lengths[is_long] >> 7
    data[np.arange(len(text.data)) + np.repeat(np.cumsum(headers), text.lengths)] = text.data
    return data, sizes


def _header_bytes(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [ids], how many bytes stand before an id that takes ``sizes`` with them."""
    return np.where(sizes > 2 + _LONGEST_SHORT, 3, 2)


def _gathered(
    data: NDArray[np.uint8], starts: NDArray[np.int64], stops: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 [bytes], these parts of ``data`` one after the other, and int64 [parts], where each ends there."""
    ends = np.cumsum(stops - starts)
    places = np.arange(ends[-1] if len(ends) else 0) + np.repeat(stops - ends, stops - starts)
    return data[places], ends


class _Lookup(Protocol):
    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """See ``ItemIds``."""


class _Dict:
    def __init__(self, item_ids: Iterable[str]) -> None:
        self._rows = {item_id: row for row, item_id in enumerate(item_ids)}

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """See ``ItemIds``."""
        return np.fromiter(map(self._rows.get, item_ids, repeat(UNKNOWN)), np.int64, len(item_ids))


class _Text(NamedTuple):
    """Strings in UTF-8, one after the other."""

    data: NDArray[np.uint8]
    """uint8 [bytes]."""
    lengths: NDArray[np.int64]
    """int64 [strings], in bytes."""

    def string(self, place: int) -> bytes:
        """One of them."""
        stop = int(self.lengths[: place + 1].sum())
        return self.data[stop - int(self.lengths[place]) : stop].tobytes()

    def parts(self) -> Iterator["_Text"]:
        """So many strings at a time that what is computed with them stays in the cache."""
        stop = 0
        for first in range(0, len(self.lengths), _STRINGS_AT_ONCE):
            lengths = self.lengths[first : first + _STRINGS_AT_ONCE]
            start, stop = stop, stop + int(lengths.sum())
            yield _Text(self.data[start:stop], lengths)

    def hashes(self) -> NDArray[np.uint64]:
        """uint64 [strings]: a polynomial of the bytes, mixed so that all bits tell something."""
        sums = np.concatenate([_NO_SUMS, *(_polynomials(part) for part in self.parts())])
        sums ^= sums >> np.uint64(32)
        sums *= _ODD
        sums ^= sums >> np.uint64(29)
        return sums


def _polynomials(text: _Text) -> NDArray[np.uint64]:
    """uint64 [strings], modulo 2^64."""
    ends = np.cumsum(text.lengths)
    places = np.arange(len(text.data)) - np.repeat(ends - text.lengths, text.lengths)
    terms = (text.data.astype(np.uint64) + np.uint64(1)) * _POWERS[places & (len(_POWERS) - 1)]
    # An empty string has no terms, which reduceat does not know.
    sums = np.concatenate([_NOTHING, np.cumsum(terms, dtype=np.uint64)])
    found: NDArray[np.uint64] = sums[ends] - sums[ends - text.lengths]
    return found


def _text_of(strings: Sequence[str]) -> _Text:
    joined = "".join(strings)
    encoded = joined.encode()
    if len(encoded) == len(joined):
        lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    else:
        lengths = np.fromiter((len(string.encode()) for string in strings), np.int64, len(strings))
    return _Text(np.frombuffer(encoded, np.uint8), lengths)


def _text_of_column(strings: pl.Series) -> _Text:
    encoded = strings.str.join().item().encode()
    return _Text(np.frombuffer(encoded, np.uint8), strings.str.len_bytes().cast(pl.Int64).to_numpy())


_ODD = np.uint64(0x9E3779B97F4A7C15)
_POWERS = np.cumprod(np.full(256, _ODD, np.uint64), dtype=np.uint64)


class _Table:
    """Rows by the hashes of ids, in a table with open addressing and linear probing, looked up for many ids at once."""

    def __init__(self, hashes: NDArray[np.uint64], item_ids: ItemIds) -> None:
        """``hashes`` is uint64 [items], distinct."""
        self._ids = item_ids
        self._hashes = hashes
        size = 1 << (2 * len(hashes) - 1).bit_length()
        self._mask = np.uint64(size - 1)
        self._slots = np.full(size, UNKNOWN, np.int32)
        rows = np.arange(len(hashes), dtype=np.int32)
        places = hashes & self._mask
        while len(rows):
            is_free = self._slots[places] == UNKNOWN
            self._slots[places[is_free]] = rows[is_free]
            is_left = self._slots[places] != rows
            rows, places = rows[is_left], (places[is_left] + np.uint64(1)) & self._mask

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """See ``ItemIds``."""
        text = _text_of(item_ids)
        hashes = text.hashes()
        found = np.full(len(hashes), UNKNOWN, np.int64)
        asked, places = np.arange(len(hashes)), hashes & self._mask
        while len(asked):
            rows = self._slots[places].astype(np.int64)
            is_same = (rows != UNKNOWN) & (self._hashes[rows] == hashes[asked])
            found[asked[is_same]] = rows[is_same]
            is_left = (rows != UNKNOWN) & ~is_same
            asked, places = asked[is_left], (places[is_left] + np.uint64(1)) & self._mask
        found[~self._are(found, text)] = UNKNOWN
        return found

    def _are(self, rows: NDArray[np.int64], text: _Text) -> NDArray[np.bool_]:
        """bool [ids], whether the text is the id of the row and does not only share its hash."""
        known = np.flatnonzero(rows != UNKNOWN)
        data, ends = self._ids.text(rows[known])
        asked_ends = np.cumsum(text.lengths)
        asked, _ = _gathered(text.data, asked_ends[known] - text.lengths[known], asked_ends[known])
        are = np.zeros(len(rows), np.bool_)
        are[known] = np.diff(ends, prepend=0) == text.lengths[known]
        if are[known].all():
            # Equal lengths, so each byte stands beside that which it should be.
            of = np.repeat(known, text.lengths[known])
            are[of[data != asked]] = False
            return are
        for place in known.tolist():
            are[place] = self._ids[int(rows[place])].encode() == text.string(place)
        return are
