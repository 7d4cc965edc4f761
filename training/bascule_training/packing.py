"""Packs users' histories end to end into rows of one length, so that no position is padding and one shape is traced."""

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bascule_training.examples import Examples
from bascule_training.histories import Histories

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
    source, users, codes = _positions(histories, random.permutation(len(histories)))
    size = rows * length
    for start in range(0, len(source), size):
        within = slice(start, start + size)
        # What fills the last row must not be read as the history of a user.
        yield Examples(
            codes=_filled(codes[within], size, 0).reshape(rows, length),
            users=_filled(users[within], size, -1).reshape(rows, length),
            targets=_filled(histories.item_rows[source[within]], size, 0)[:, None],
            weights=_filled(weights[source[within]], size, 0)[:, None],
        )


def batch_count(histories: Histories, length: int, rows: int) -> int:
    """How many batches a pass has."""
    return -(-len(histories.item_rows) // (rows * length))


def _positions(
    histories: Histories, order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """[interactions] each, in the order of the users: place of the target in the histories, user, and code read."""
    lengths = histories.lengths[order]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    within = np.arange(int(lengths.sum())) - np.repeat(starts, lengths)
    source = np.repeat(histories.offsets[:-1][order], lengths) + within
    codes = np.concatenate([[0], histories.item_rows[source] + 1])[:-1].astype(np.int32)
    codes[starts[lengths > 0]] = 0
    return source, np.repeat(order, lengths).astype(np.int32), codes


def _filled(values: NDArray[Value], size: int, fill: int) -> NDArray[Value]:
    """[size], the values and behind them ``fill``."""
    filled = np.full(size, fill, values.dtype)
    filled[: len(values)] = values
    return filled
