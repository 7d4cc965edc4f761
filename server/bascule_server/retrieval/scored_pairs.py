"""Queries and items that belong together, many at once, and the best items of each query among them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found

FEW_PAIRS = 1_000
"""Up to so many, to make numbers that sort by themselves takes longer than to sort by three."""

_SIGN = np.uint32(1 << 31)
_LOW = np.uint64(2**32 - 1)
_LAST = np.uint64(2**64 - 1)


class Pairs(NamedTuple):
    """Queries and items that belong together."""

    query: NDArray[np.int64]
    """int64 [pairs]."""
    row: NDArray[np.int64]
    """int64 [pairs], of the item."""


class Ordered(NamedTuple):
    """The items of several queries, one query behind the other, each one's best first and of equals the lower row."""

    starts: NDArray[np.int64]
    """int64 [queries + 1], where each query's items begin; the last one is the number of all."""
    rows: NDArray[np.int64]
    """int64 [pairs]."""
    scores: NDArray[np.float32]
    """float32 [pairs]."""


def in_order(pairs: Pairs, scores: NDArray[np.float32], query_count: int, row_bits: int) -> Ordered:
    """Sorts by the query, how low the score is, and the row: of many pairs, by one number of 64 bits for each.

    Args:
        pairs: in any order, each once.
        scores: float32 [pairs].
        query_count: at most 2^(32 - row_bits).
        row_bits: how many bits a row takes.
    """
    if len(scores) <= FEW_PAIRS:
        order = np.lexsort((pairs.row, -scores, pairs.query))
        starts = np.searchsorted(pairs.query[order], np.arange(query_count + 1))
        return Ordered(starts, pairs.row[order], scores[order])
    query, row = pairs.query.astype(np.uint64), pairs.row.astype(np.uint64)
    key = (query << np.uint64(32 + row_bits)) | (_descending(scores) << np.uint64(row_bits)) | row
    key.sort()
    row = key & np.uint64((1 << row_bits) - 1)
    starts = np.searchsorted(key >> np.uint64(32 + row_bits), np.arange(query_count + 1))
    return Ordered(starts, row.astype(np.int64), _scores(key >> np.uint64(row_bits)))


def best_of_each(pairs: Pairs, scores: NDArray[np.float32], counts: Sequence[int], row_bits: int) -> list[Found]:
    """The best ``counts[i]`` items of query i by score, and of equals the lower row; fewer where it has fewer.

    Args:
        pairs: see ``in_order``.
        scores: float32 [pairs].
        counts: one for each query, from 1.
        row_bits: how many bits a row takes.
    """
    ordered = in_order(pairs, scores, len(counts), row_bits)
    starts = ordered.starts.tolist()
    return [
        Found(ordered.rows[start : min(start + count, stop)], ordered.scores[start : min(start + count, stop)])
        for start, stop, count in zip(starts, starts[1:], counts, strict=False)
    ]


def best_of_rows(rows: NDArray[np.int64], scores: NDArray[np.float32], counts: Sequence[int]) -> list[Found]:
    """The same where all queries have as many places, of which some are empty.

    Args:
        rows: int64 [queries, items], below 2^32, each once in a query; or -1 in an empty place.
        scores: float32 [queries, items].
        counts: one for each query, from 1.
    """
    key = (_descending(scores) << np.uint64(32)) | (rows.view(np.uint64) & _LOW)
    key[rows < 0] = _LAST
    key.sort(axis=1)
    found_rows, found_scores = (key & _LOW).astype(np.int64), _scores(key >> np.uint64(32))
    lengths = np.minimum((key != _LAST).sum(axis=1), counts).tolist()
    return [Found(found_rows[query, :length], found_scores[query, :length]) for query, length in enumerate(lengths)]


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
