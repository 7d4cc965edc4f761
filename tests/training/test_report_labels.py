from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.report.labels import sides, spread


class TestSpread:
    def test_places_that_are_far_enough_apart_stay(self) -> None:
        assert spread([10, 50, 90], gap=7) == [10, 50, 90]

    def test_two_that_are_too_close_move_apart_evenly(self) -> None:
        assert spread([50, 50], gap=10) == [45, 55]

    def test_the_order_stays_however_they_are_given(self) -> None:
        assert spread([51, 10, 49], gap=10) == [55, 10, 45]

    def test_none_leaves_the_plot(self) -> None:
        assert spread([100, 100, 0, 0], gap=10) == [90, 100, 0, 10]

    def test_one_alone_stays(self) -> None:
        assert spread([42]) == [42]

    def test_without_room_for_the_gap_they_share_what_there_is(self) -> None:
        assert spread([50] * 5, gap=40) == [0, 25, 50, 75, 100]

    @given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
    def test_any_places_end_up_apart_and_inside(self, places: list[float]) -> None:
        moved = sorted(spread(places, gap=7))
        assert moved[0] >= 0
        assert moved[-1] <= 100
        assert all(after - before > 6.98 for before, after in pairwise(moved))


class TestSides:
    def test_a_name_stands_on_the_right_where_nothing_is(self) -> None:
        assert sides(["EASE"], [(50, 50)]) == ["right"]

    def test_a_name_does_not_leave_the_plot(self) -> None:
        assert sides(["a long name"], [(98, 50)]) == ["left"]

    def test_a_name_does_not_cover_the_point_on_its_right(self) -> None:
        assert sides(["EASE", "x"], [(50, 50), (58, 50)]) == ["left", "right"]

    def test_names_of_points_above_each_other_do_not_cover_each_other(self) -> None:
        chosen = sides(["one name", "two names"], [(50, 50), (50, 53)])
        assert chosen[0] != chosen[1]

    def test_names_of_points_in_a_corner_do_not_cover_each_other(self) -> None:
        assert sides(["popularity", "recent popularity"], [(5, 70), (5, 73)]) == ["right", "below right"]

    def test_an_earlier_name_makes_room_for_a_later_one(self) -> None:
        assert sides(["popularity", "recent popularity"], [(5, 91), (5, 94)]) == ["above right", "right"]

    def test_a_name_that_will_be_cut_takes_the_room_of_what_remains(self) -> None:
        assert sides(["x" * 200], [(20, 50)]) == ["right"]

    @pytest.mark.parametrize("corner", [(0, 0), (100, 0), (0, 100), (100, 100)])
    def test_every_corner_has_a_side(self, corner: tuple[float, float]) -> None:
        (side,) = sides(["popularity"], [corner])
        assert ("below" in side, "right" in side) == (corner[1] == 0, corner[0] == 0)
