import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array

from bascule_training.baselines import singular
from bascule_training.baselines.singular import Singular, strongest, strongest_right


def product(found: Singular) -> NDArray[np.float64]:
    product: NDArray[np.float64] = (found.left * found.values) @ found.right.T
    return product


def test_of_a_diagonal_matrix_they_are_its_axes() -> None:
    found = strongest(np.diag([2.0, 5.0, 3.0]), 2)
    assert found.values == pytest.approx([5, 3])
    assert np.abs(found.left) == pytest.approx(np.array([[0, 0], [1, 0], [0, 1]]), abs=1e-9)
    assert np.abs(found.right) == pytest.approx(np.array([[0, 0], [1, 0], [0, 1]]), abs=1e-9)


@given(seed=st.integers(0, 99), rows=st.integers(1, 7), columns=st.integers(1, 7), count=st.integers(1, 9))
@pytest.mark.parametrize("dense", [0, 512], ids=["Lanczos", "dense"])
def test_they_are_those_of_the_whole_decomposition(dense: int, seed: int, rows: int, columns: int, count: int) -> None:
    matrix = np.random.default_rng(seed).normal(size=(rows, columns))
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(singular, "_DENSE", dense)
        found = strongest(csr_array(matrix), count)
    assert found.values == pytest.approx(values[:count])
    assert product(found) == pytest.approx((left[:, :count] * values[:count]) @ right[:count], abs=1e-8)


def test_all_of_them_rebuild_the_matrix() -> None:
    matrix = np.array([[1, 2, 3], [4, 5, 7]], np.float32)
    assert product(strongest(matrix, 99)) == pytest.approx(matrix)


def test_equal_blocks_are_told_apart_alike_every_time() -> None:
    """All of whose singular values are equal, and the sum of whose vectors is the vector of ones."""
    blocks = np.kron(np.eye(4), np.ones((3, 2)))
    found, again = strongest(blocks, 3), strongest(blocks, 3)
    assert found.values == pytest.approx([6**0.5] * 3)
    assert found.right.T @ found.right == pytest.approx(np.eye(3), abs=1e-9)
    np.testing.assert_array_equal(found.right, again.right)


def test_a_large_matrix_gives_the_same_every_time() -> None:
    matrix = np.random.default_rng(1).normal(size=(520, 530)).astype(np.float32)
    np.testing.assert_array_equal(strongest(matrix, 3).right, strongest(matrix, 3).right)


@given(seed=st.integers(0, 99), rows=st.integers(2, 9), columns=st.integers(2, 9), count=st.integers(1, 9))
@pytest.mark.parametrize("dense", [0, 512], ids=["Lanczos", "dense"])
def test_the_right_vectors_alone_span_what_they_span_beside_the_left_ones(
    dense: int, seed: int, rows: int, columns: int, count: int
) -> None:
    matrix = csr_array(np.random.default_rng(seed).normal(size=(rows, columns)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(singular, "_DENSE", dense)
        alone, beside = strongest_right(matrix, count), strongest(matrix, count).right
    assert alone @ alone.T == pytest.approx(beside @ beside.T, abs=1e-8)
    assert np.abs(np.sum(alone[:, 0] * beside[:, 0])) == pytest.approx(1)
