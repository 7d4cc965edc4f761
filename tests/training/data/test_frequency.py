import numpy as np

from bascule_training.data.frequency import target_frequencies


class TestTargetFrequencies:
    def test_they_are_shares_of_the_interactions_and_half_a_one_more_for_each_item(self) -> None:
        # 1.5, 2.5 and 0.5 of 4.5.
        found = target_frequencies(np.array([1, 0, 1], np.int32), 3)
        np.testing.assert_allclose(found, [3 / 9, 5 / 9, 1 / 9])

    def test_without_interactions_all_items_are_alike(self) -> None:
        np.testing.assert_allclose(target_frequencies(np.empty(0, np.int32), 4), [1 / 4] * 4)
