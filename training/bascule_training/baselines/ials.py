"""iALS: factors of users and items by weighted least squares."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from bascule_training.data.histories import Histories

ITERATIONS = 15


class IalsSetting(NamedTuple):
    """What the objective weighs."""

    factor_count: int
    penalty: float
    """Of the squared length of every vector."""
    alpha: float
    """How many times as much an interaction counts as none."""


SETTINGS = tuple(IalsSetting(64, penalty, alpha) for alpha in (1.0, 4.0, 10.0) for penalty in (3.0, 10.0, 30.0))
"""The settings that are tried."""


@dataclass(frozen=True, slots=True)
class Ials:
    """Scores items by the dot product with the user's vector that explains the history best, found by least squares.

    Hu, Koren and Volinsky, Collaborative filtering for implicit feedback datasets, 2008. A user's vector x minimises
    alpha times the sum of (1 - xy)² over the vectors y of the history's items, plus the sum of (xy)² over those of all
    other items, plus the penalty times x².
    """

    items: NDArray[np.float32]
    """float32 [items, factors]."""
    setting: IalsSetting

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "iALS"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return f"{self.setting.factor_count} factors, λ = {self.setting.penalty:g}, alpha = {self.setting.alpha:g}"

    @classmethod
    def fit(cls, train: Histories, item_count: int, setting: IalsSetting = SETTINGS[0]) -> Self:
        """Solves for users and items in turn."""
        # The library warns already when it is made if its own threads could meet those of a BLAS.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=setting.factor_count,
                regularization=setting.penalty,
                alpha=setting.alpha,
                iterations=ITERATIONS,
                use_cg=True,
                random_state=1,
            )
            model.fit(csr_matrix(train.matrix(item_count)), show_progress=False)
        return cls(np.array(model.item_factors, np.float32), setting)

    def users(self, histories: Histories) -> NDArray[np.float32]:
        """float32 [users, factors], the exact least squares solution for each history."""
        factors = self.items.astype(np.float64)
        gram = factors.T @ factors + self.setting.penalty * np.eye(factors.shape[1])
        solved = np.zeros((len(histories), factors.shape[1]), np.float32)
        for user, history in enumerate(histories):
            # An interaction of confidence alpha and preference 1, others of confidence 1 and preference 0.
            had = factors[np.unique(history)]
            left = gram + (self.setting.alpha - 1.0) * had.T @ had
            solved[user] = np.linalg.solve(left, self.setting.alpha * had.sum(axis=0))
        return solved

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``."""
        return self.users(histories) @ self.items.T
