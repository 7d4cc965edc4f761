"""Numbers of rows that are computed together. LiteRT prepares for a few of them, and batches are padded to these."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDED_SIZES = (1, 2, 4, 8, 16, 32)
"""Numbers of rows that LiteRT's interpreters are prepared for. A batch is cut and padded to these: at most half of the
rows computed are padding, and beyond 32 rows a tower gains no speed, but loses the cache."""


def padded_batches(row_count: int) -> Iterator[tuple[slice, int]]:
    """Cuts rows into batches: the rows of each, and the padded size that it is computed with."""
    start = 0
    while start < row_count:
        rest = row_count - start
        size = next((size for size in PADDED_SIZES if size >= rest), PADDED_SIZES[-1])
        stop = min(start + size, row_count)
        yield slice(start, stop), size
        start = stop


def padded(tensor: NDArray[Any], size: int) -> NDArray[Any]:
    """A tensor [rows, ...] with rows of zeros behind it, so that it has ``size`` of them."""
    if len(tensor) == size:
        return tensor
    return np.concatenate([tensor, np.zeros((size - len(tensor), *tensor.shape[1:]), tensor.dtype)])
