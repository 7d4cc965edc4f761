"""Strong and cheap baselines, to stand beside a model in the same table.

Each is fitted on histories and then scores all items for any history, also one it was not fitted on.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from typing import Self, TypeVar

import numpy as np
import scipy.linalg
from implicit.nearest_neighbours import ItemItemRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from bascule_training.evaluation import Baseline, Cases, evaluate_baseline
from bascule_training.histories import Histories

NEIGHBOUR_COUNTS = (20, 100, 400)
"""The numbers of neighbours that are tried for item-kNN."""

RECENCIES = (0.9, 0.7, 0.5)
"""The recencies that are tried for item-kNN where order matters."""

EASE_PENALTIES = (30.0, 100.0, 300.0, 1000.0)
"""The penalties that are tried for EASE."""

MAX_EASE_ITEMS = 20_000
"""The largest catalogue for EASE: its float64 [items, items] then takes 3.2 GB, and minutes to invert."""

Setting = TypeVar("Setting")


@dataclass(frozen=True, slots=True)
class Popularity:
    """Scores an item by its number of interactions, the same for every user."""

    counts: NDArray[np.float32]
    """float32 [items]."""

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "popularity"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        return ""

    @classmethod
    def fit(cls, train: Histories, item_count: int) -> Self:
        """Counts the interactions with each item."""
        return cls(np.bincount(train.item_rows, minlength=item_count).astype(np.float32))

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``."""
        return np.tile(self.counts, (len(histories), 1))


@dataclass(frozen=True, slots=True)
class ItemKnn:
    """Scores an item by the cosines between it and those items of the history that are among its nearest neighbours.

    The cosine is between the sets of users who had the items. Neighbours are those of the item to be scored (Sarwar
    and others, Item-based collaborative filtering recommendation algorithms, 2001), which ranks better than the
    neighbours of the history's items do.
    """

    similarity: csr_array
    """float32 [items, items], in row i the cosines of item i and its nearest neighbours."""
    neighbour_count: int
    recency: float = 1.0
    """What an item of the history counts relative to the next newer one, above 0 to 1; at 1 order is no matter."""

    @property
    def name(self) -> str:
        """See ``Baseline``."""
        return "item-kNN" if self.recency == 1.0 else "recent item-kNN"

    @property
    def settings(self) -> str:
        """See ``Baseline``."""
        neighbours = f"k = {self.neighbour_count}"
        return neighbours if self.recency == 1.0 else f"{neighbours}, recency {self.recency:g}"

    @classmethod
    def fit(cls, train: Histories, item_count: int, neighbour_count: int = 100, recency: float = 1.0) -> Self:
        """Finds the nearest neighbours of each item, itself aside."""
        matrix = train.matrix(item_count)
        lengths = np.sqrt(np.bincount(matrix.indices, minlength=item_count))
        # The library reads float64 values at int32 places alone.
        indices, indptr = matrix.indices.astype(np.int32), matrix.indptr.astype(np.int32)
        unit_columns = csr_matrix((1.0 / lengths[indices], indices, indptr), shape=matrix.shape)
        # An item is the nearest neighbour of itself: hence one more, and then none.
        model = ItemItemRecommender(K=neighbour_count + 1)
        model.fit(unit_columns, show_progress=False)
        similarity = csr_array(model.similarity, dtype=np.float32)
        similarity.setdiag(0.0)
        return cls(similarity, neighbour_count, recency)

    def scores(self, histories: Histories) -> NDArray[np.float32]:
        """See ``Baseline``. An item counts as often as it is in the history."""
        ages = np.repeat(histories.offsets[1:], histories.lengths) - np.arange(1, len(histories.item_rows) + 1)
        weights = (self.recency**ages).astype(np.float32)
        shape = (len(histories), self.similarity.shape[0])
        scores: NDArray[np.float32] = (
            csr_array((weights, histories.item_rows, histories.offsets), shape=shape) @ self.similarity.T
        ).toarray()
        return scores


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
        if item_count > MAX_EASE_ITEMS:
            raise ValueError(f"got {item_count:,} items; expected at most {MAX_EASE_ITEMS:,} for EASE: leave it out")
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


def tuned(fit: Callable[[Setting], Baseline], settings: Iterable[Setting], validation: Cases) -> Setting:
    """The setting whose baseline has the highest NDCG@10 on the validation cases; of equals the first."""
    return max(settings, key=lambda setting: evaluate_baseline(fit(setting), validation).summary["ndcg@10"])


def tuned_baselines(train: Histories, validation: Cases, known: Histories) -> list[Baseline]:
    """All baselines, fitted at their best; without EASE where the catalogue is too large for it.

    Args:
        train: what is fitted on while settings are tried.
        validation: where the settings are compared.
        known: what is fitted on at last: all that may be known before the test, mostly ``train`` and the relevant
            items of ``validation``.
    """
    item_count = len(validation.item_ids)
    count = tuned(lambda tried: ItemKnn.fit(train, item_count, tried), NEIGHBOUR_COUNTS, validation)
    recent = tuned(
        lambda tried: ItemKnn.fit(train, item_count, *tried), product(NEIGHBOUR_COUNTS, RECENCIES), validation
    )
    baselines: list[Baseline] = [
        Popularity.fit(known, item_count),
        ItemKnn.fit(known, item_count, count),
        ItemKnn.fit(known, item_count, *recent),
    ]
    if item_count <= MAX_EASE_ITEMS:
        penalty = tuned(lambda tried: Ease.fit(train, item_count, tried), EASE_PENALTIES, validation)
        baselines.append(Ease.fit(known, item_count, penalty))
    return baselines
