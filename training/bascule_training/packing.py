"""Packs users' histories end to end into rows of one length, so that no position is padding and one shape is traced."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule_training.histories import Histories


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """Rows of positions. A position reads an item, or a user's start, and is to predict the user's next item."""

    codes: NDArray[np.int32]
    """int32 [rows, length], 1 + the row of the item read, or 0 at a user's start."""
    targets: NDArray[np.int32]
    """int32 [rows, length], the row of the item to predict."""
    users: NDArray[np.int32]
    """int32 [rows, length], the user, by place in the histories."""
    weights: NDArray[np.float32]
    """float32 [rows, length], 0 where a position only fills the last row."""


def packed_batches(histories: Histories, length: int, rows: int, random: np.random.Generator) -> Iterator[PackedBatch]:
    """One pass over all the users, in a random order.

    Users stand end to end; where a row ends within a user's history, the rest begins the next row without it.

    Args:
        histories: of the users to learn from.
        length: positions a row.
        rows: rows a batch.
        random: decides the order.
    """
    positions = _positions(histories, random.permutation(len(histories)))
    size = rows * length
    for start in range(0, positions.shape[1], size):
        block = positions[:, start : start + size]
        weights = np.zeros(size, np.float32)
        weights[: block.shape[1]] = 1.0
        filled = np.zeros((3, size), np.int32)
        filled[:, : block.shape[1]] = block
        # What fills the last row must not be read as the history of a user.
        filled[2, block.shape[1] :] = -1
        codes, targets, users = filled.reshape(3, rows, length)
        yield PackedBatch(codes, targets, users, weights.reshape(rows, length))


def batch_count(histories: Histories, length: int, rows: int) -> int:
    """How many batches a pass has."""
    return -(-len(histories.item_rows) // (rows * length))


def _positions(histories: Histories, order: NDArray[np.int64]) -> NDArray[np.int32]:
    """int32 [3, interactions]: code read, row to predict, and user, of every position in the order of the users."""
    lengths = histories.lengths[order]
    total = int(lengths.sum())
    ends = np.cumsum(lengths)
    starts = ends - lengths
    within = np.arange(total) - np.repeat(starts, lengths)
    targets = histories.item_rows[np.repeat(histories.offsets[:-1][order], lengths) + within]
    codes = np.concatenate([[0], targets + 1])[:-1]
    codes[starts[lengths > 0]] = 0
    return np.stack([codes, targets, np.repeat(order, lengths)]).astype(np.int32)
