"""Feeds the classic model: users with their features, and their items as a distribution."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bascule_training.data.histories import Histories

HIDDEN = 0.1
"""How often a feature is hidden from a step, so that the model learns what to say of users who lack it."""


class ClassicBatch(NamedTuple):
    """Some users, and what is to be predicted of them."""

    tensors: Mapping[str, NDArray[np.int32]]
    """Of their features, [rows, ...] by name."""
    targets: NDArray[np.float32]
    """float32 [rows, items]: the same share for each item that the user had, together 1."""
    weights: NDArray[np.float32]
    """float32 [rows]: 1, and 0 for a row that only fills the batch."""


@dataclass(frozen=True)
class ClassicFeed:
    """The batches of a run: in each epoch every user once who had any item. Equal seeds give equal batches.

    Attributes:
        users: the tensors of the query features, [users, ...] by name, in the order of the histories.
        histories: what each user had; how often does not count.
        item_count: the number of items.
        rows_per_batch: users in a batch.
        seed: of their order, and of what is hidden.
    """

    users: Mapping[str, NDArray[np.int32]]
    histories: Histories
    item_count: int
    rows_per_batch: int
    seed: int

    def epoch(self, number: int) -> Iterator[ClassicBatch]:
        """The batches of one epoch, all of the same shape."""
        random = np.random.default_rng([self.seed, number])
        order = random.permutation(self._taught)
        for start in range(0, len(order), self.rows_per_batch):
            rows = order[start : start + self.rows_per_batch]
            batch = self._batch(np.resize(rows, self.rows_per_batch))
            batch.weights[len(rows) :] = 0.0
            yield batch._replace(tensors={name: _partly_hidden(codes, random) for name, codes in batch.tensors.items()})

    def whole(self) -> Iterator[ClassicBatch]:
        """Every user once, in order, with nothing hidden: to measure by. The last batch may be smaller."""
        for start in range(0, len(self._taught), self.rows_per_batch):
            yield self._batch(self._taught[start : start + self.rows_per_batch])

    def _batch(self, rows: NDArray[np.int64]) -> ClassicBatch:
        items = self._items[rows]
        return ClassicBatch(
            {name: codes[rows] for name, codes in self.users.items()},
            items.toarray() / items.sum(axis=1)[:, None],
            np.ones(len(rows), np.float32),
        )

    @cached_property
    def _taught(self) -> NDArray[np.int64]:
        """int64 [users with items]. One without would be a target that is no distribution."""
        return np.flatnonzero(self.histories.lengths)

    @cached_property
    def _items(self) -> csr_array:
        return self.histories.matrix(self.item_count)


def _partly_hidden(codes: NDArray[np.int32], random: np.random.Generator) -> NDArray[np.int32]:
    is_hidden = random.random(len(codes)) < HIDDEN
    return np.where(is_hidden.reshape(-1, *(1,) * (codes.ndim - 1)), 0, codes).astype(np.int32)
