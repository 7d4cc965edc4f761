"""BPR: matrix factorisation that ranks what a user had above what they did not."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from bascule_training.histories import Histories

PENALTIES = (0.003, 0.01, 0.03)
"""The penalties that are tried."""

FACTORS, LEARNING_RATE, ITERATIONS = 64, 0.03, 100


@dataclass(frozen=True, slots=True)
class Bpr:
    """Scores items by the dot product with the user's own vector.

    Rendle and others, BPR: Bayesian personalized ranking from implicit feedback, 2009. It learns a vector for every
    user, and so knows a history only if it was fitted on one that is the same.
    """

    users: NDArray[np.float32]
    """float32 [users, factors]."""
    items: NDArray[np.float32]
    """float32 [items, factors]."""
    places: Mapping[bytes, int]
    """The user of each history that it was fitted on."""
    penalty: float

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "BPR"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return f"{FACTORS} factors, λ = {self.penalty:g}"

    @classmethod
    def fit(cls, train: Histories, item_count: int, penalty: float = PENALTIES[1]) -> Self:
        """Learns by stochastic gradient descent; in one thread, so that equal data gives equal vectors."""
        # The library warns already when it is made if its own threads could meet those of a BLAS.
        with threadpool_limits(1, "blas"):
            model = BayesianPersonalizedRanking(
                factors=FACTORS,
                learning_rate=LEARNING_RATE,
                regularization=penalty,
                iterations=ITERATIONS,
                num_threads=1,
                random_state=1,
            )
            model.fit(csr_matrix(train.matrix(item_count)), show_progress=False)
        # Of users without a history the vectors are what they were at the start.
        places = {history.tobytes(): user for user, history in enumerate(train) if len(history)}
        return cls(np.array(model.user_factors), np.array(model.item_factors), places, penalty)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``. A history that it was not fitted on gets zeros."""
        places = np.array([self.places.get(history.tobytes(), -1) for history in histories])
        scores: NDArray[np.float32] = np.where((places >= 0)[:, None], self.users[places], 0.0) @ self.items.T
        return scores
