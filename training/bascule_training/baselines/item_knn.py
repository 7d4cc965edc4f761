"""Item-based nearest neighbours, with and without regard to order."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender
from numpy.typing import NDArray
from scipy.sparse import csr_array, csr_matrix

from bascule_training.data.histories import Histories

NEIGHBOUR_COUNTS = (20, 100, 400)
"""The numbers of neighbours that are tried."""

RECENCIES = (0.9, 0.7, 0.5)
"""The recencies that are tried where order matters."""


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
