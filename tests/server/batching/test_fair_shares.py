"""What is scarce is shared so that nobody gets more than they ask for, or less than another while they ask for more."""

from hypothesis import given
from hypothesis import strategies as st

from bascule_server.batching.fair_shares import fair_shares


def test_who_asks_for_little_gets_it_all_and_the_others_share_the_rest() -> None:
    assert fair_shares({"hog": 100, "little": 1, "some": 6}, room=9) == {"hog": 4, "little": 1, "some": 4}


def test_rows_that_cannot_be_shared_go_to_the_first_callers() -> None:
    assert fair_shares({"a": 5, "b": 5, "c": 5}, room=2) == {"a": 1, "b": 1, "c": 0}


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 20)), st.integers(0, 60))
def test_shares_are_fair_and_leave_nothing(demands: dict[str, int], room: int) -> None:
    shares = fair_shares(demands, room)
    assert sum(shares.values()) == min(room, sum(demands.values()))
    assert all(shares[caller] <= demand for caller, demand in demands.items())
    largest = max(shares.values(), default=0)
    assert all(shares[caller] >= largest - 1 for caller, demand in demands.items() if shares[caller] < demand)
