"""The numbers that a ranking tower reads of each item: how popular it is, was of late, and for how long it is known."""

import numpy as np
from numpy.typing import NDArray

from bascule_training.histories import Histories

HALF_LIVES_DAYS = (1, 3, 10, 30)
"""Of the popularities by which an older interaction counts less."""

_DAY_SECONDS = 86_400
_RARE = 1e-3
"""Added to a popularity before its logarithm, of which 1 is the mean over the items."""


def item_numbers(histories: Histories, item_count: int) -> NDArray[np.float32]:
    """float32 [items, 6]; [items, 1] where the data has no time.

    The logarithm of 1 + the number of interactions; that of the popularity, as a multiple of the mean item's, in which
    an interaction counts half for every half-life that it is older than the newest; and that of 1 + the days since the
    item's first interaction, 0 where it had none.
    """
    rows = histories.item_rows
    columns = [np.log1p(np.bincount(rows, minlength=item_count))]
    if histories.times is not None and len(rows):
        ages = (histories.times.max() - histories.times) / _DAY_SECONDS
        columns += [_recent(rows, ages, half_life, item_count) for half_life in HALF_LIVES_DAYS]
        oldest = np.zeros(item_count)
        np.maximum.at(oldest, rows, ages)
        columns.append(np.log1p(oldest))
    return np.stack(columns, axis=1).astype(np.float32)


def _recent(
    rows: NDArray[np.int32], ages: NDArray[np.float64], half_life: float, item_count: int
) -> NDArray[np.float64]:
    weights = np.bincount(rows, 0.5 ** (ages / half_life), minlength=item_count)
    recent: NDArray[np.float64] = np.log(weights / weights.mean() + _RARE)
    return recent
