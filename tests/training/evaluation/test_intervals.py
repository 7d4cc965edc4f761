import math

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from bascule_training.evaluation import intervals
from bascule_training.evaluation.intervals import Difference, Interval, Spread, bootstrap, over_seeds, paired_difference


def draw(count: int, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random(count)


class TestBootstrap:
    def test_it_is_the_percentile_bootstrap_of_scipy(self) -> None:
        values = draw(300) ** 4
        theirs = scipy.stats.bootstrap(
            (values,), np.mean, n_resamples=intervals.RESAMPLES, method="percentile", rng=np.random.default_rng(7)
        ).confidence_interval
        assert bootstrap({"": values}, seed=7)[""] == pytest.approx((theirs.low, theirs.high))

    def test_it_is_about_as_wide_as_the_normal_interval_where_there_are_many_users(self) -> None:
        values = draw(4_000)
        interval = bootstrap({"": values})[""]
        assert interval.half_width == pytest.approx(1.96 * values.std() / math.sqrt(4_000), rel=0.1)
        assert interval.low < values.mean() < interval.high

    def test_values_that_are_all_alike_leave_no_doubt(self) -> None:
        assert bootstrap({"": np.full(20, 0.25)})[""] == Interval(0.25, 0.25)

    def test_a_single_user_leaves_no_room(self) -> None:
        assert bootstrap({"": np.array([0.5])})[""] == Interval(0.5, 0.5)

    def test_equal_users_give_equal_intervals_whatever_stands_beside_them(self) -> None:
        alone = bootstrap({"a": draw(50)})
        assert bootstrap({"b": draw(50, 1), "a": draw(50)})["a"] == alone["a"]
        assert bootstrap({"a": draw(50)}, seed=1)["a"] != alone["a"]

    def test_how_many_are_drawn_at_a_time_changes_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = bootstrap({"": draw(50)})
        monkeypatch.setattr(intervals, "DRAWS_AT_A_TIME", 7 * 50)
        assert bootstrap({"": draw(50)})[""] == pytest.approx(whole[""])

    def test_a_user_who_counts_nothing_changes_nothing_but_the_draws(self) -> None:
        values = np.concatenate([np.full(20, 0.25), [9.0]])
        assert bootstrap({"": values}, np.array([*[1.0] * 20, 0.0]))[""] == pytest.approx((0.25, 0.25))

    def test_a_user_of_great_weight_widens_the_interval(self) -> None:
        values = np.concatenate([[0], 0.5 + draw(99) / 2])
        weights = np.concatenate([[50], np.ones(99)])
        assert bootstrap({"": values}, weights)[""].half_width > 2 * bootstrap({"": values})[""].half_width


class TestPairedDifference:
    def test_in_numbers(self) -> None:
        # The differences are 1, 1, 4: mean 2, deviation of the sample sqrt(3), standard error 1.
        difference = paired_difference(np.array([2.0, 1.0, 4.0]), np.array([1.0, 0.0, 0.0]))
        assert difference.mean == pytest.approx(2)
        assert difference.standard_error == pytest.approx(1)
        assert 1 <= difference.interval.low < 2 < difference.interval.high <= 4

    def test_what_both_models_find_easy_does_not_blur_it(self) -> None:
        easy = draw(200)
        difference = paired_difference(easy + 0.01, easy)
        assert difference.standard_error == pytest.approx(0, abs=1e-9)
        assert difference.is_clear

    def test_a_difference_by_chance_is_not_clear(self) -> None:
        assert not paired_difference(draw(200), draw(200, 1)).is_clear

    def test_weights_that_are_all_alike_change_nothing(self) -> None:
        one, other = draw(30), draw(30, 1)
        plain, weighted = paired_difference(one, other), paired_difference(one, other, np.full(30, 3.0))
        assert weighted.mean == pytest.approx(plain.mean)
        assert weighted.standard_error == pytest.approx(plain.standard_error)

    def test_its_error_is_that_of_the_bootstrap(self) -> None:
        weights = np.arange(1.0, 1_001.0)
        difference = paired_difference(draw(1_000), draw(1_000, 1), weights)
        assert difference.interval.half_width == pytest.approx(1.96 * difference.standard_error, rel=0.1)

    @pytest.mark.parametrize(("low", "high", "is_clear"), [(0.1, 0.2, True), (-0.2, -0.1, True), (-0.1, 0.1, False)])
    def test_it_is_clear_where_the_interval_leaves_0_out(self, low: float, high: float, is_clear: bool) -> None:
        assert Difference(0.0, 0.1, Interval(low, high)).is_clear == is_clear


class TestOverSeeds:
    def test_mean_and_deviation_of_the_sample(self) -> None:
        summaries = [
            {"ndcg@10": 0.1, "gini@10": 1.0},
            {"ndcg@10": 0.3, "gini@10": 1.0},
            {"ndcg@10": 0.2, "gini@10": 1.0},
        ]
        spreads = over_seeds(summaries)
        assert spreads["ndcg@10"] == pytest.approx((0.2, 0.1))
        assert spreads["gini@10"] == pytest.approx((1.0, 0.0))

    def test_one_seed_has_no_deviation(self) -> None:
        assert over_seeds([{"ndcg@10": 0.1}]) == {"ndcg@10": Spread(0.1, 0.0)}
