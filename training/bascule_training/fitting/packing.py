"""Packs users' histories end to end into rows of one length, so that no position is padding and one shape is traced."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bascule_training.data.examples import Examples
from bascule_training.data.histories import Histories

BLOCK_INTERACTIONS = 2**18
"""About so many are laid end to end at a time, so that the memory of a pass does not grow with the log."""

Value = TypeVar("Value", bound=np.generic)


def packed_examples(
    histories: Histories, weights: NDArray[np.float32], length: int, rows: int, random: np.random.Generator
) -> Iterator[Examples]:
    """One pass over all the users, in a random order: every position predicts the user's next item.

    Users stand end to end; where a row ends within a user's history, the rest begins the next row without it. A
    position reads an item, or at a user's start nothing.

    Args:
        histories: of the users to learn from.
        weights: float32 [interactions], how much each counts as a target.
        length: positions a row.
        rows: rows a batch.
        random: decides the order.
    """
    size = rows * length
    for source, users, codes in _sized(_blocks(histories, random.permutation(len(histories))), size):
        # What fills the last row must not be read as the history of a user.
        yield Examples(
            codes=_filled(codes, size, 0).reshape(rows, length),
            users=_filled(users, size, -1).reshape(rows, length),
            targets=_filled(histories.item_rows[source], size, 0)[:, None],
            weights=_filled(weights[source], size, 0)[:, None],
        )


def batch_count(histories: Histories, length: int, rows: int) -> int:
    """How many batches a pass has."""
    return -(-len(histories.item_rows) // (rows * length))


def _sized(blocks: Iterable[NDArray[np.int32]], size: int) -> Iterator[NDArray[np.int32]]:
    """The same positions, so many at a time; at the end fewer, if any."""
    left = np.empty((3, 0), np.int32)
    for block in blocks:
        joined = np.concatenate([left, block], axis=1)
        whole = joined.shape[1] // size * size
        yield from (joined[:, start : start + size] for start in range(0, whole, size))
        left = joined[:, whole:]
    if left.size:
        yield left


def _blocks(histories: Histories, order: NDArray[np.int64]) -> Iterator[NDArray[np.int32]]:
    """The positions of the users in this order."""
    block = np.cumsum(histories.lengths[order]) // BLOCK_INTERACTIONS
    for users in np.split(order, np.flatnonzero(np.diff(block)) + 1):
        yield _positions(histories, users)


def _positions(histories: Histories, order: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32 [3, interactions] of some users: each target's place in the histories, its user, and the code read."""
    lengths = histories.lengths[order]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    within = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    source = np.repeat(histories.offsets[:-1][order], lengths) + within
    codes = np.concatenate([[0], histories.item_rows[source] + 1])[:-1]
    codes[starts[lengths > 0]] = 0
    return np.stack([source, np.repeat(order, lengths), codes]).astype(np.int32)


def _filled(values: NDArray[Value], size: int, fill: int) -> NDArray[Value]:
    """[size], the values and behind them ``fill``."""
    filled = np.full(size, fill, values.dtype)
    filled[: len(values)] = values
    return filled
