"""PureSVD: the users' items, projected to a few directions."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bascule_training.baselines.singular import strongest_right
from bascule_training.data.histories import Histories

RANKS = (16, 32, 64, 128, 256)
"""The ranks that are tried, as far as the data has so many."""


@dataclass(frozen=True, slots=True)
class PureSvd:
    """Scores items by what a history becomes in the space of the strongest singular vectors: x V V'.

    Cremonesi and others, Performance of recommender algorithms on top-n recommendation tasks, 2010.
    """

    directions: NDArray[np.float32]
    """float32 [items, rank], V."""

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "PureSVD"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return f"rank {self.directions.shape[1]}"

    @classmethod
    def fit(cls, train: Histories, item_count: int, rank: int = 64) -> Self:
        """Finds the strongest right singular vectors of the matrix of users by items."""
        return cls(np.ascontiguousarray(strongest_right(train.matrix(item_count), rank), np.float32))

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``."""
        scores: NDArray[np.float32] = (histories.matrix(len(self.directions)) @ self.directions) @ self.directions.T
        return scores
