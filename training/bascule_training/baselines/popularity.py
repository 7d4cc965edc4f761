"""Popularity: the same items for everybody."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bascule_training.data.examples import example_weights
from bascule_training.data.histories import Histories

HALF_LIVES = (1.0, 3.0, 7.0, 14.0, 30.0, 90.0)
"""The half-lives that are tried, in days."""


@dataclass(frozen=True, slots=True)
class Popularity:
    """Scores an item by its number of interactions, the same for every user."""

    counts: NDArray[np.float32]
    """float32 [items]."""
    half_life_days: float | None = None
    """An interaction counts half as much for every so many days that it is older than the newest. None: all alike."""

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "popularity" if self.half_life_days is None else "recent popularity"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return "" if self.half_life_days is None else f"half-life {self.half_life_days:g} days"

    @classmethod
    def fit(cls, train: Histories, item_count: int, half_life_days: float | None = None) -> Self:
        """Counts the interactions with each item."""
        weights = example_weights(train, half_life_days)
        counts = np.bincount(train.item_rows, weights, minlength=item_count)
        return cls(counts.astype(np.float32), half_life_days)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``."""
        return np.tile(self.counts, (len(histories), 1))
