"""How often each item is sampled: what the logQ correction of sampled negatives divides by."""

import numpy as np
from numpy.typing import NDArray


def target_frequencies(item_rows: NDArray[np.int32], item_count: int) -> NDArray[np.float64]:
    """float64 [items], the probability of each item to be the target of an interaction that is drawn evenly.

    Every item is counted half an interaction more, so that none has the probability 0.

    Args:
        item_rows: int32 [interactions], the items of the training part.
        item_count: of the catalogue.
    """
    counts = np.bincount(item_rows, minlength=item_count) + 0.5
    frequencies: NDArray[np.float64] = counts / counts.sum()
    return frequencies
