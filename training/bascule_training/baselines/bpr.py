"""BPR: matrix factorisation that ranks what a user had above what they did not."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Self

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from bascule_training.data.histories import Histories

FACTORS, ITERATIONS = 64, 100


class BprSetting(NamedTuple):
    """How it learns."""

    learning_rate: float
    """Decides how far it comes: of long histories fast learning remembers too much, and of short ones slow learning
    learns nothing."""
    penalty: float
    """Of the squared length of every vector."""


SETTINGS = tuple(BprSetting(*each) for each in product((0.005, 0.03, 0.1), (0.003, 0.03)))
"""The settings that are tried."""


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
    setting: BprSetting

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "BPR"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return f"{FACTORS} factors, learning rate {self.setting.learning_rate:g}, λ = {self.setting.penalty:g}"

    @classmethod
    def fit(cls, train: Histories, item_count: int, setting: BprSetting = SETTINGS[0]) -> Self:
        """Learns by stochastic gradient descent; in one thread, so that equal data gives equal vectors."""
        # The library warns already when it is made if its own threads could meet those of a BLAS.
        with threadpool_limits(1, "blas"):
            model = BayesianPersonalizedRanking(
                factors=FACTORS,
                learning_rate=setting.learning_rate,
                regularization=setting.penalty,
                iterations=ITERATIONS,
                num_threads=1,
                random_state=1,
            )
            model.fit(csr_matrix(train.matrix(item_count)), show_progress=False)
        # Of users without a history the vectors are what they were at the start.
        places = {history.tobytes(): user for user, history in enumerate(train) if len(history)}
        return cls(np.array(model.user_factors), np.array(model.item_factors), places, setting)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``. A history that it was not fitted on gets zeros."""
        places = np.array([self.places.get(history.tobytes(), -1) for history in histories])
        scores: NDArray[np.float32] = np.where((places >= 0)[:, None], self.users[places], 0.0) @ self.items.T
        return scores
