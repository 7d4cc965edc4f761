"""float32 arrays in and out of messages.

numpy is loaded by the first array, not by ``import bascule``: it takes longer than all the rest, and a health check
needs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Float32Array: TypeAlias = "NDArray[np.float32]"


def float32_array(values: Sequence[float]) -> Float32Array:
    """An array float32 [values]."""
    import numpy as np

    return np.fromiter(values, np.float32, len(values))


def components(vector: Iterable[float]) -> list[float]:
    """The components of a vector, as float32 has them.

    Raises:
        TypeError: It is not a row of numbers.
    """
    import numpy as np

    expected = "vector is one row of numbers"
    try:
        array = np.asarray(vector, np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{expected}; got {vector!r:.60}") from error
    if array.ndim != 1:
        raise TypeError(f"{expected}; got an array of {array.ndim} dimensions")
    values: list[float] = array.tolist()
    return values
