"""The items that a set of filters allows, in each form that a search needs, made once and kept with it."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

FEW = 24
"""Where at most one item in so many is allowed, to score just these takes less than to score all items, though all are
scored by 8 bits a component first: measured with 20,000 and with 200,000 items."""


class Allowed:
    """Some of the items. Nothing of it changes.

    Attributes:
        mask: bool [items], whether each is allowed.
        count: how many are.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        self.mask = mask
        self.count = int(np.count_nonzero(mask))

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """int64 [count], ascending."""
        return np.flatnonzero(self.mask)

    @cached_property
    def bitmap(self) -> NDArray[np.uint8]:
        """uint8 [ceil(items / 8)], bit i % 8 of byte i // 8 tells of item i, as FAISS has it."""
        return np.packbits(self.mask, bitorder="little")

    @cached_property
    def summands(self) -> NDArray[np.float32]:
        """float32 [items], minus infinity for what is not allowed, else 0."""
        return _SUMMANDS.take(self.mask.view(np.uint8))

    @property
    def is_few(self) -> bool:
        """Whether so few are allowed that to look at each costs less than to look at all items."""
        return self.count * FEW <= len(self.mask)

    @property
    def most_bytes(self) -> int:
        """How much memory all that is kept may come to take."""
        item_count = len(self.mask)
        return item_count + (self.count * 8 if self.is_few else item_count * 4) + item_count // 8

    def has(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [rows], whether the items in these rows are allowed."""
        return self.mask[rows]

    def without(self, rows: NDArray[np.int64]) -> "Allowed":
        """The same but for the items in these rows."""
        mask = self.mask.copy()
        mask[rows] = False
        return Allowed(mask)


_SUMMANDS = np.array([-np.inf, 0], np.float32)
