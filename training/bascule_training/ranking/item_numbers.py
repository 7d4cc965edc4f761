"""The numbers that a ranking tower reads of each item: how popular it is, was of late, and for how long it is known."""

import numpy as np
from numpy.typing import NDArray

from bascule_training.data.histories import Histories

HALF_LIVES_DAYS = (3, 7, 14)
"""Of the popularities by which an older interaction counts less."""

TRENDS_DAYS = ((1, 7), (7, 30))
"""Half-lives of two such popularities, of which the first says what is the case now and the second what was before."""

_DAY_SECONDS = 86_400
_RARE = 1e-3
"""Added to a popularity before its logarithm."""


def item_numbers(histories: Histories, item_count: int) -> NDArray[np.float32]:
    """float32 [items, 7]; [items, 1] where the data has no time.

    The logarithm of 1 + the number of interactions; those of the popularities in which an interaction counts half for
    every half-life that it is older than the newest; by how much such logarithms of short half-lives exceed those of
    longer ones; and the logarithm of 1 + the days since the item's first interaction, 0 where it had none.
    """
    rows = histories.item_rows
    columns = [np.log1p(np.bincount(rows, minlength=item_count))]
    if histories.times is not None and len(rows):
        ages = (histories.times.max() - histories.times) / _DAY_SECONDS

        def recent(half_life: float) -> NDArray[np.float64]:
            found: NDArray[np.float64] = np.log(np.bincount(rows, 0.5 ** (ages / half_life), item_count) + _RARE)
            return found

        columns += [recent(half_life) for half_life in HALF_LIVES_DAYS]
        columns += [recent(short) - recent(long) for short, long in TRENDS_DAYS]
        oldest = np.zeros(item_count)
        np.maximum.at(oldest, rows, ages)
        columns.append(np.log1p(oldest))
    return np.stack(columns, axis=1).astype(np.float32)
