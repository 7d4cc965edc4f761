"""The vectors of a base and of what came since as one array, though those of the base stay mapped where they are."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Vectors


class StackedVectors:
    """See ``Vectors``: those of the base, and behind them those of what came."""

    def __init__(self, base: Vectors, came: NDArray[np.float32]) -> None:
        """``came`` is float32 [items that came, dimension]."""
        self._base = base
        self._came = came
        self._end_of_base = len(base)

    @property
    def shape(self) -> tuple[Any, ...]:
        """See ``Vectors``."""
        return (len(self), self._came.shape[1])

    def __len__(self) -> int:
        return self._end_of_base + len(self._came)

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]:
        return self.take(np.arange(*rows.indices(len(self))))

    def take(
        self, rows: NDArray[np.int64], /, axis: int | None = 0, *, mode: Literal["raise", "wrap", "clip"] = "raise"
    ) -> NDArray[np.float32]:
        """See ``Vectors``. With ``wrap``, -1 stands for any row."""
        is_came = rows >= self._end_of_base
        if not is_came.any():
            return self._base.take(rows, axis, mode=mode)
        vectors = self._base.take(np.where(is_came, 0, rows), axis, mode=mode)
        vectors[is_came] = self._came.take(rows[is_came] - self._end_of_base, axis=0)
        return vectors

    def dot(self, query: NDArray[np.float32], /, out: NDArray[np.float32]) -> None:
        """See ``Vectors``."""
        self._base.dot(query, out=out[: self._end_of_base])
        self._came.dot(query, out=out[self._end_of_base :])


class PickedVectors:
    """See ``Vectors``: some of others."""

    def __init__(self, vectors: Vectors, rows: NDArray[np.int64]) -> None:
        """``rows`` is int64 [picked], of those that are picked."""
        self._vectors = vectors
        self._rows = rows

    @property
    def shape(self) -> tuple[Any, ...]:
        """See ``Vectors``."""
        return (len(self), self._vectors.shape[1])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice, /) -> NDArray[np.float32]:
        return self._vectors.take(self._rows[rows], 0)

    def take(
        self, rows: NDArray[np.int64], /, axis: int | None = 0, *, mode: Literal["raise", "wrap", "clip"] = "raise"
    ) -> NDArray[np.float32]:
        """See ``Vectors``."""
        return self._vectors.take(self._rows.take(rows, mode=mode), axis)

    def dot(self, query: NDArray[np.float32], /, out: NDArray[np.float32]) -> None:
        """See ``Vectors``."""
        products = np.empty(len(self._vectors), np.float32)
        self._vectors.dot(query, out=products)
        out[:] = products[self._rows]
