import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.report.charts import (
    Axis,
    Bar,
    Dot,
    Estimate,
    IntervalBar,
    Position,
    Scale,
    Series,
    Spot,
    Tick,
    interval_chart,
    line_chart,
    spot_chart,
)

PERCENT = Axis("share", Scale(0, 100, ()))
"""On it a number is its own place."""


def ticks(scale: Scale) -> list[str]:
    return [tick.text for tick in scale.ticks]


class TestLinearScale:
    def test_it_begins_at_zero_and_ends_at_a_round_number(self) -> None:
        scale = Scale.linear([0.031, 0.139])
        assert scale.low == 0
        assert scale.high == pytest.approx(0.15)
        assert ticks(scale) == ["0.00", "0.05", "0.10", "0.15"]

    def test_it_names_places_evenly(self) -> None:
        assert [tick.place for tick in Scale.linear([0, 4]).ticks] == [0, 25, 50, 75, 100]

    def test_it_may_begin_near_the_least_value(self) -> None:
        assert ticks(Scale.linear([5.4, 7.2], from_zero=False)) == ["5.0", "5.5", "6.0", "6.5", "7.0", "7.5"]

    def test_a_value_on_a_round_number_needs_no_further_one(self) -> None:
        assert ticks(Scale.linear([0.3])) == ["0.0", "0.1", "0.2", "0.3"]

    def test_what_is_counted_has_whole_numbers(self) -> None:
        assert ticks(Scale.linear([1, 2], least_step=1)) == ["0", "1", "2"]

    def test_thousands_have_commas(self) -> None:
        assert ticks(Scale.linear([2_000])) == ["0", "500", "1,000", "1,500", "2,000"]

    def test_negative_values_are_on_it_too(self) -> None:
        assert ticks(Scale.linear([-1, 1])) == ["-1.0", "-0.5", "0.0", "0.5", "1.0"]

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_equal_values_lie_in_the_middle(self, value: float) -> None:
        assert Scale.linear([value, value], from_zero=False).place(value) == 50

    @given(st.lists(st.floats(-1e6, 1e6).map(lambda number: round(number, 4)), min_size=1), st.booleans())
    def test_any_values_lie_on_it(self, values: list[float], from_zero: bool) -> None:
        scale = Scale.linear(values, from_zero=from_zero)
        assert all(0 <= scale.place(value) <= 100 for value in values)
        assert 2 <= len(scale.ticks) <= 8
        assert len(set(ticks(scale))) == len(scale.ticks)


class TestOtherScales:
    def test_equal_ratios_are_equally_far_apart_on_a_logarithmic_one(self) -> None:
        scale = Scale.logarithmic(1, 100)
        assert [scale.place(number) for number in (1, 10, 100)] == [0, 50, 100]
        assert ticks(scale) == ["1", "2", "5", "10", "20", "50", "100"]

    def test_groups_stand_in_the_middle_of_their_shares(self) -> None:
        scale = Scale.of_groups(["few", "many"])
        assert scale.ticks == (Tick(25, "few"), Tick(75, "many"))
        assert scale.place(1) == 75

    def test_one_group_stands_in_the_middle(self) -> None:
        assert Scale.of_groups(["all"]).ticks == (Tick(50, "all"),)


class TestLineChart:
    positions = (Position(0, "k = 0"), Position(100, "k = 100"))

    def test_high_numbers_are_near_the_top(self) -> None:
        chart = line_chart([Series("m", "model", np.array([10.0, 80.0]))], self.positions, PERCENT, PERCENT)
        (line,) = chart.lines
        assert line.path == "M0 90L100 20"
        assert line.dots == (Dot(0, 90, "m, k = 0: 10.0000"), Dot(100, 20, "m, k = 100: 80.0000"))
        assert line.label == 20

    def test_intervals_are_a_band_around_the_line(self) -> None:
        series = Series("m", "model", np.array([10.0, 80.0]), np.array([5.0, 70.0]), np.array([15.0, 90.0]))
        (line,) = line_chart([series], self.positions, PERCENT, PERCENT).lines
        assert line.band == "M0 85L100 10L100 30L0 95Z"
        assert line.bars == ()
        assert line.dots[1].tip == "m, k = 100: 80.0000 (70.0000 to 90.0000)"

    def test_intervals_of_groups_are_bars(self) -> None:
        series = Series("m", "model", np.array([10.0, 80.0]), np.array([5.0, 70.0]), np.array([15.0, 90.0]))
        (line,) = line_chart([series], self.positions, PERCENT, PERCENT, with_bars=True).lines
        assert line.band == ""
        assert line.bars == (Bar(0, 85, 95), Bar(100, 10, 30))

    def test_the_first_is_drawn_above_the_others(self) -> None:
        series = [Series(name, name, np.array([1.0, 2.0])) for name in ("model", "other")]
        chart = line_chart(series, self.positions, PERCENT, PERCENT)
        assert [line.name for line in chart.lines] == ["other", "model"]

    def test_names_of_lines_that_end_together_stand_apart(self) -> None:
        series = [Series(name, name, np.array([1.0, 50.0])) for name in ("model", "other")]
        chart = line_chart(series, self.positions, PERCENT, PERCENT)
        assert [line.label for line in chart.lines] == [53.5, 46.5]
        assert [line.end for line in chart.lines] == [50, 50], "from where a lead goes to each name"

    def test_positions_are_pointed_out(self) -> None:
        series = [Series(name, name, np.array([1.0, value])) for name, value in (("model", 60.0), ("other", 50.0))]
        chart = line_chart(series, self.positions, PERCENT, PERCENT, marks=[1])
        assert chart.marks == (Dot(100, 40, "model, k = 100: 60.0000"),)

    def test_a_series_may_end_before_the_others(self) -> None:
        series = [Series("long", "model", np.array([1.0, 2.0])), Series("short", "model", np.array([50.0]))]
        chart = line_chart(series, self.positions, PERCENT, PERCENT)
        assert [line.path for line in chart.lines] == ["M0 50", "M0 99L100 98"]

    def test_one_position_is_a_point(self) -> None:
        (line,) = line_chart([Series("m", "model", np.array([50.0]))], self.positions[:1], PERCENT, PERCENT).lines
        assert line.path == "M0 50"


def test_estimates_lie_on_a_scale_from_zero() -> None:
    chart = interval_chart([Estimate("m", "model", 0.2, 0.1, 0.4), Estimate("b", "baseline-1", 0.1, 0.05, 0.2)])
    assert ticks(chart.scale) == ["0.0", "0.1", "0.2", "0.3", "0.4"]
    assert chart.rows[0] == IntervalBar("m", "model", 25, 50, 100, "0.2000 (0.1000 to 0.4000)")
    assert chart.rows[1].name == "b"


def test_spots_say_where_they_are_and_the_first_is_above_the_others() -> None:
    chart = spot_chart([("m", "model", 80.0, 90.0), ("b", "baseline-1", 20.0, 10.0)], PERCENT, PERCENT)
    assert chart.spots[1] == Spot("m", "model", 80, 10, "right", "m: share 80.0000, share 90.0000")
    assert [spot.name for spot in chart.spots] == ["b", "m"]
