import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.data.examples import example_weights
from bascule_training.data.histories import Histories

DAY = 86_400


def histories(*users: list[int]) -> Histories:
    """Users who had items at these days."""
    days = np.array([day for user in users for day in user], np.int64)
    offsets = np.cumsum([0, *map(len, users)], dtype=np.int64)
    return Histories(np.zeros(len(days), np.int32), offsets, days * DAY)


def test_an_interaction_counts_half_for_every_half_life_that_it_is_older_than_the_newest() -> None:
    # 1, 1/2, 1/4, and 1/4 again: on average 1/2.
    weights = example_weights(histories([0, 30], [60], [0]), half_life_days=30)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, [0.5, 1, 2, 0.5])


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=20), st.floats(1, 1_000))
def test_the_mean_is_1_and_what_is_newer_counts_no_less(days: list[int], half_life: float) -> None:
    weights = example_weights(histories(sorted(days)), half_life)
    assert weights.mean() == pytest.approx(1, rel=1e-4)
    assert (np.diff(weights) >= 0).all()


def test_without_a_half_life_or_without_times_all_count_alike() -> None:
    timed = histories([0, 30], [60])
    assert example_weights(timed, None).tolist() == [1, 1, 1]
    assert example_weights(Histories(timed.item_rows, timed.offsets), half_life_days=30).tolist() == [1, 1, 1]
