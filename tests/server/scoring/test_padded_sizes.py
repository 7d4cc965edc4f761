"""Every row is computed once, beside as few rows of padding as there can be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.scoring.padded_sizes import PADDED_SIZES, padded_batches


@given(st.integers(0, 1_000))
def test_padded_batches_hold_every_row_once_and_in_order(row_count: int) -> None:
    batches = list(padded_batches(row_count))
    assert [row for rows, _ in batches for row in range(rows.start, rows.stop)] == list(range(row_count))
    for rows, size in batches:
        assert size in PADDED_SIZES
        assert size / 2 < rows.stop - rows.start <= size


@pytest.mark.parametrize(
    ("row_count", "sizes"), [(1, [1]), (2, [2]), (3, [4]), (32, [32]), (33, [32, 1]), (70, [32, 32, 8])]
)
def test_a_batch_is_padded_to_the_next_size(row_count: int, sizes: list[int]) -> None:
    assert [size for _, size in padded_batches(row_count)] == sizes
