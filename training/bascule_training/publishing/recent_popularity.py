"""How popular each item is now: what a user about whom nothing is known is recommended."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule_training.baselines.popularity import HALF_LIVES, Popularity
from bascule_training.baselines.tuning import tuned
from bascule_training.data.histories import Histories
from bascule_training.evaluation.evaluated import Cases

MOST_CASES = 1_000
"""Users by whom the half-lives are compared: each ranks the whole catalogue seven times."""

LEAST = 1e-30
"""Of an item that somebody had, however long ago."""


class RecentPopularity(NamedTuple):
    """The popularity of all items."""

    counts: NDArray[np.float64]
    """float64 [items], how many interactions each has, newer ones counting more; above 0 where it has any."""
    half_life_days: float | None
    """An interaction counts half as much for every so many days that it is older than the newest. None: all alike."""


def recent_popularity(train: Histories, validation: Cases, known: Histories) -> RecentPopularity:
    """With the half-life that is best on validation, where the data has times.

    Args:
        train: where the half-lives are tried.
        validation: by whom they are compared.
        known: what is counted at last.
    """
    count = len(validation.item_ids)
    half_life = None
    if train.times is not None:
        asked = validation.at_most(MOST_CASES)
        half_life = tuned(lambda tried: Popularity.fit(train, count, tried), (None, *HALF_LIVES), asked)
    counts = Popularity.fit(known, count, half_life).counts.astype(np.float64)
    had = np.bincount(known.item_rows, minlength=count) > 0
    return RecentPopularity(np.where(had, np.maximum(counts, LEAST), 0.0), half_life)
