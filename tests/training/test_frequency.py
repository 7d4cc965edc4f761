import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_training.frequency import StreamingFrequencies, target_frequencies

ITEM_COUNT = 500


def zipf(seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The frequencies of items, 1 / rank, and a log of them."""
    frequencies = 1 / np.arange(1, ITEM_COUNT + 1)
    frequencies /= frequencies.sum()
    return frequencies, np.random.default_rng(seed).choice(ITEM_COUNT, 200_000, p=frequencies)


def streamed(log: NDArray[np.int64], batch: int = 1_000, **settings: float) -> NDArray[np.float64]:
    """The frequencies of all items after the log in batches."""
    frequencies = StreamingFrequencies(**settings)  # type: ignore[arg-type]
    for start in range(0, len(log), batch):
        frequencies.update(log[start : start + batch])
    return frequencies.of(np.arange(ITEM_COUNT))


class TestTargetFrequencies:
    def test_they_are_shares_of_the_interactions_and_half_a_one_more_for_each_item(self) -> None:
        # 1.5, 2.5 and 0.5 of 4.5.
        found = target_frequencies(np.array([1, 0, 1], np.int32), 3)
        np.testing.assert_allclose(found, [3 / 9, 5 / 9, 1 / 9])

    def test_without_interactions_all_items_are_alike(self) -> None:
        np.testing.assert_allclose(target_frequencies(np.empty(0, np.int32), 4), [1 / 4] * 4)


class TestStreamingFrequencies:
    def test_an_item_has_the_frequency_of_one_by_its_mean_gap(self) -> None:
        frequencies = StreamingFrequencies(bits=10)
        frequencies.update(np.array([9, 7, 7] * 4))
        # Of 9 the gaps are 1, 3, 3 and 3; of 7 they are 2, 1, 2, 1, ... In the mean all count nearly alike.
        np.testing.assert_allclose(frequencies.of(np.array([9, 7])), [4 / 10, 8 / 12], rtol=0.02)

    def test_one_occurrence_is_enough(self) -> None:
        frequencies = StreamingFrequencies(bits=10)
        frequencies.update(np.array([1, 1, 1, 2]))
        np.testing.assert_allclose(frequencies.of(np.array([1, 2])), [1, 1 / 4])

    def test_an_item_never_seen_counts_as_half_an_interaction(self) -> None:
        frequencies = StreamingFrequencies(bits=10)
        assert frequencies.of(np.array([3])) == 0.5
        frequencies.update(np.array([1] * 10))
        assert frequencies.of(np.array([3])) == pytest.approx(0.05)

    def test_they_come_to_the_true_ones(self) -> None:
        truth, log = zipf(seed=1)
        frequent = truth * len(log) > 400
        found = streamed(log, bits=14, rate=0.005)
        errors = np.log(found[frequent] / truth[frequent])
        # A mean over 1 / rate exponential gaps errs by sqrt(rate / 2), 5 %.
        assert frequent.sum() > 70
        assert np.sqrt(np.mean(errors**2)) < 0.07
        assert abs(np.mean(errors)) < 0.02

    def test_rare_items_are_estimated_too(self) -> None:
        truth, log = zipf(seed=2)
        assert np.mean(np.abs(np.log(streamed(log, bits=14) / truth))) < 0.15

    def test_they_follow_what_becomes_popular(self) -> None:
        log = np.array([0, 1, 1, 1] * 500 + [0, 0, 0, 1] * 500)
        np.testing.assert_allclose(streamed(log, rate=0.05)[:2], [3 / 4, 1 / 4], rtol=0.1)

    def test_what_shares_a_cell_looks_more_frequent_never_less(self) -> None:
        truth, log = zipf(seed=3)
        alone = streamed(log, hashes=1, bits=16)
        crowded = streamed(log, hashes=1, bits=6)  # 64 cells for 500 items
        # But for chance: the mean is over the last gaps, which are others in a shared cell.
        assert np.all(crowded > 0.7 * alone)
        assert np.mean(crowded > 2 * alone) > 0.8
        assert np.all(truth[crowded > 2 * alone] < 0.05)

    def test_more_hashes_bring_them_nearer(self) -> None:
        truth, log = zipf(seed=4)
        one, four = (np.mean(np.log(streamed(log, hashes=hashes, bits=9) / truth)) for hashes in (1, 4))
        assert 0 < four < one / 2

    def test_equal_seeds_give_equal_frequencies(self) -> None:
        _, log = zipf(seed=5)
        one, same, other = (streamed(log, hashes=1, bits=6, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert not np.array_equal(one, other)

    @given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 40))
    def test_how_the_log_is_parted_changes_nothing(self, log: list[int], batch: int) -> None:
        items = np.array(log, np.int64)
        whole = streamed(items, batch=40, bits=2, rate=0.3)
        np.testing.assert_allclose(streamed(items, batch=batch, bits=2, rate=0.3), whole, rtol=1e-9)
        np.testing.assert_allclose(streamed(items, batch=1, bits=2, rate=0.3), whole, rtol=1e-9)
