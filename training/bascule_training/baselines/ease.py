"""EASE: a linear model of the items by the items, in closed form."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from bascule_training.data.histories import Histories

PENALTIES = (30.0, 100.0, 200.0, 300.0, 500.0, 1000.0)
"""The penalties that are tried."""

MAX_ITEMS = 20_000
"""The largest catalogue: its float64 [items, items] then takes 3.2 GB, and minutes to invert."""


@dataclass(frozen=True, slots=True)
class Ease:
    """Scores items by the linear model that best rebuilds each item of a history from the others.

    EASE: Steck, Embarrassingly shallow autoencoders for sparse data, 2019.
    """

    weights: NDArray[np.float32]
    """float32 [items, items], from an item of the history to the item scored."""
    penalty: float

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "EASE"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return f"λ = {self.penalty:g}"

    @classmethod
    def fit(cls, train: Histories, item_count: int, penalty: float = 300.0) -> Self:
        """Solves min_B |X - XB|² + λ|B|² with diag(B) = 0 in closed form.

        With P = (XᵀX + λI)⁻¹ it is B_ij = -P_ij / P_jj off the diagonal (equation 8 of the paper).

        Raises:
            ValueError: the catalogue is too large for a matrix of its items by its items.
        """
        if item_count > MAX_ITEMS:
            raise ValueError(f"got {item_count:,} items; expected at most {MAX_ITEMS:,} for EASE: leave it out")
        matrix = train.matrix(item_count).astype(np.float64)
        gram = (matrix.T @ matrix).toarray()
        gram[np.diag_indices(item_count)] += penalty
        inverse = scipy.linalg.inv(gram, overwrite_a=True)
        weights = (inverse / -np.diag(inverse)).astype(np.float32)
        np.fill_diagonal(weights, 0.0)
        return cls(weights, penalty)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``."""
        scores: NDArray[np.float32] = histories.matrix(len(self.weights)) @ self.weights
        return scores
