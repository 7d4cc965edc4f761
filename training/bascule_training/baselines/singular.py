"""The strongest singular vectors of a matrix."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.linalg import LinearOperator, eigsh, svds

_DENSE = 512
"""Up to so many rows or columns all vectors are found at once. In so small a matrix Lanczos' method may run out of
directions, as where many singular values are equal, and goes on from some that nobody can fix."""


class Singular(NamedTuple):
    """The strongest singular values and vectors, strongest first."""

    left: NDArray[np.float64]
    """float64 [rows, count]."""
    values: NDArray[np.float64]
    """float64 [count]."""
    right: NDArray[np.float64]
    """float64 [columns, count]."""


def strongest(matrix: NDArray[np.float32] | NDArray[np.float64] | csr_array, count: int) -> Singular:
    """The ``count`` strongest, or all where the matrix [rows, columns] has no more."""
    if count < min(matrix.shape) and min(matrix.shape) > _DENSE:
        # Lanczos' method, which takes time for what is asked alone.
        left, values, right = svds(matrix.astype(np.float64), k=count, random_state=1)
        order = np.argsort(values)[::-1]
        return Singular(left[:, order], values[order], right[order].T)
    dense = matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
    left, values, right = np.linalg.svd(dense.astype(np.float64), full_matrices=False)
    return Singular(left[:, :count], values[:count], right[:count].T)


def strongest_right(matrix: csr_array, count: int) -> NDArray[np.float64]:
    """float64 [columns, count], the strongest right vectors alone, or all where the matrix [rows, columns] has no more.

    They are the strongest eigenvectors of X'X, so that nothing is held of which there is one a row.
    """
    rows, columns = matrix.shape
    if count >= columns or rows < columns or columns <= _DENSE:
        return strongest(matrix, count).right
    exact = matrix.astype(np.float64)
    gram = LinearOperator((columns, columns), lambda vector: exact.T @ (exact @ vector), dtype=np.float64)
    start = np.random.default_rng(1).standard_normal(columns)
    _, vectors = eigsh(gram, k=count, v0=start)
    return np.ascontiguousarray(vectors[:, ::-1])
