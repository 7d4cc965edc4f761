import numpy as np
import pytest

from bascule_training.report.calibration import calibration
from bascule_training.report.contents import ScoredItems


def scored(scores: list[float], is_next: list[bool]) -> ScoredItems:
    return ScoredItems(np.array(scores, np.float32), np.array(is_next, np.bool_), 1)


def test_bins_are_of_equal_numbers_by_rising_score() -> None:
    # 20 recommendations in 10 bins; the four with the highest scores are right.
    bins = calibration(scored([float(20 - number) for number in range(20)], [number < 4 for number in range(20)]))
    assert bins is not None
    assert bins.score.tolist() == [1.5, 3.5, 5.5, 7.5, 9.5, 11.5, 13.5, 15.5, 17.5, 19.5]
    assert bins.hit_rate.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]


def test_the_intervals_are_wilsons() -> None:
    # For no hit in n, and z = 1.96: from 0 to z^2 / (n + z^2).
    bins = calibration(scored([0.5] * 100, [False] * 100))
    assert bins is not None
    assert bins.low == pytest.approx([0.0] * 10)
    assert bins.high == pytest.approx([1.96**2 / (10 + 1.96**2)] * 10, rel=1e-4)


def test_intervals_hold_the_rate() -> None:
    random = np.random.default_rng(1)
    bins = calibration(ScoredItems(random.random(1_000).astype(np.float32), random.random(1_000) < 0.2, 10))
    assert bins is not None
    assert np.all((bins.low < bins.hit_rate) & (bins.hit_rate < bins.high))


def test_too_few_recommendations_say_nothing() -> None:
    assert calibration(scored([1.0] * 9, [True] * 9)) is None
