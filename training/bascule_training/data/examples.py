"""What a training step learns from: queries, and the items that each should have found."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule_training.data.histories import Histories

_DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Examples:
    """The queries of one step and their targets. All arrays of a run have one shape, so that one step is traced."""

    codes: NDArray[np.int32]
    """int32 [rows, length], 1 + the row of the item read, or 0 for none."""
    users: NDArray[np.int32]
    """int32 [rows, length] where every position is a query, or [rows] where every row is one: the user, by place in the
    histories; -1 for none."""
    targets: NDArray[np.int32]
    """int32 [queries, targets], the rows of the items to predict."""
    weights: NDArray[np.float32]
    """float32 [queries, targets], how much each counts; 0 where there is none."""


def example_weights(histories: Histories, half_life_days: float | None) -> NDArray[np.float32]:
    """float32 [interactions], how much each counts as a target; the mean is 1.

    Args:
        histories: of the training part.
        half_life_days: an interaction counts half as much for every so many days that it is older than the newest.
            None, or where the data has no time: all count alike.
    """
    if half_life_days is None or histories.times is None:
        return np.ones(len(histories.item_rows), np.float32)
    # In one array, since a long log has many.
    weights: NDArray[np.float64] = (histories.times.max() - histories.times) / _DAY_SECONDS
    weights /= half_life_days
    np.power(0.5, weights, out=weights)
    weights /= weights.mean()
    return weights.astype(np.float32)
