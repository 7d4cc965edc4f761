"""Hides a part of users' histories, to be predicted from the rest: examples for towers that read no order."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bascule_training.data.examples import Examples
from bascule_training.data.histories import Histories

LEAST_KEPT = 0.1
"""The share of a history that is kept at the least, as far as it has so many items."""

MAX_TARGETS = 256
"""How many hidden items of a user are predicted in one step at the most; each then stands for several."""


def bag_examples(
    histories: Histories,
    weights: NDArray[np.float32],
    length: int,
    rows: int,
    hides: Literal["any", "newest", "all"],
    random: np.random.Generator,
) -> Iterator[Examples]:
    """One pass over all the users, in a random order; every row is a user and predicts what is hidden of their history.

    Of each history a share drawn evenly from ``LEAST_KEPT`` to 1 is kept. Users from whom nothing could be hidden and
    kept are left out.

    Args:
        histories: of the users to learn from, without repeated items.
        weights: float32 [interactions], how much each counts as a target.
        length: how many kept items are read at most: the newest.
        rows: users a batch.
        hides: which items are hidden: each by chance, the newest, or all.
        random: decides.
    """
    users = _usable(histories, hides)
    order = random.permutation(users)
    lengths = histories.lengths  # computed once: it takes time for all users
    target_count = min(MAX_TARGETS, int(lengths.max()))
    for start in range(0, len(order), rows):
        batch = _empty(rows, length, target_count)
        for row, user in enumerate(order[start : start + rows].tolist()):
            _fill(batch, row, user, histories, weights, _hidden(int(lengths[user]), hides, random), random)
        yield batch


def bag_count(histories: Histories, rows: int, hides: Literal["any", "newest", "all"]) -> int:
    """How many batches a pass has."""
    return -(-len(_usable(histories, hides)) // rows)


def _usable(histories: Histories, hides: str) -> NDArray[np.int64]:
    return np.flatnonzero(histories.lengths >= (1 if hides == "all" else 2))


def _empty(rows: int, length: int, target_count: int) -> Examples:
    return Examples(
        codes=np.zeros((rows, max(length, 1)), np.int32),
        users=np.full(rows, -1, np.int32),
        targets=np.zeros((rows, target_count), np.int32),
        weights=np.zeros((rows, target_count), np.float32),
    )


def _hidden(count: int, hides: str, random: np.random.Generator) -> NDArray[np.bool_]:
    """bool [count], which items of a history, oldest first, are hidden."""
    if hides == "all":
        return np.ones(count, np.bool_)
    share = random.uniform(LEAST_KEPT, 1.0)
    if hides == "newest":
        return np.arange(1, count + 1) > share * count
    return random.random(count) >= share


def _fill(
    batch: Examples,
    row: int,
    user: int,
    histories: Histories,
    weights: NDArray[np.float32],
    hidden: NDArray[np.bool_],
    random: np.random.Generator,
) -> None:
    begin = int(histories.offsets[user])
    kept, targets = begin + np.flatnonzero(~hidden), begin + np.flatnonzero(hidden)
    scale = 1.0
    if len(targets) > batch.targets.shape[1]:
        scale = len(targets) / batch.targets.shape[1]
        targets = random.choice(targets, batch.targets.shape[1], replace=False)
    codes = histories.item_rows[kept][-batch.codes.shape[1] :] + 1
    batch.users[row] = user
    batch.codes[row, batch.codes.shape[1] - len(codes) :] = codes
    batch.targets[row, : len(targets)] = histories.item_rows[targets]
    batch.weights[row, : len(targets)] = weights[targets] * scale
