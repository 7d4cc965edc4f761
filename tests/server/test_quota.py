"""A caller has so many rows a second and a burst, and what it takes beyond must be made up for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.identity.quota import Quota


def test_a_burst_is_there_at_once_and_the_rest_comes_with_time() -> None:
    quota = Quota(rows_per_second=10, burst_rows=5, now=0)
    assert quota.take(5, now=0) == 0
    assert quota.take(1, now=0) == pytest.approx(0.1)
    assert quota.take(1, now=0.1) == 0
    assert quota.take(5, now=100) == 0, "after a while there is a burst, and no more than that"
    assert quota.take(1, now=100) > 0


def test_more_than_a_burst_is_taken_when_it_is_whole_and_made_up_for() -> None:
    quota = Quota(rows_per_second=10, burst_rows=5, now=0)
    assert quota.take(25, now=0) == 0
    assert quota.take(1, now=0) == pytest.approx(2.1), "20 are owed, and one is asked for"
    assert quota.take(25, now=0) == pytest.approx(2.5), "20 are owed, and a burst is to be there"


@given(
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60),
    st.floats(1, 100),
    st.floats(1, 100),
)
def test_nobody_gets_more_than_the_rate_the_burst_and_one_call(
    calls: list[tuple[float, int]], rate: float, burst: float
) -> None:
    quota, now, taken, largest = Quota(rate, burst, 0), 0.0, 0, 0
    for pause, rows in calls:
        now += pause
        if quota.take(rows, now) == 0:
            taken, largest = taken + rows, max(largest, rows)
    assert taken <= rate * now + burst + largest + 1e-6


@given(st.floats(0.01, 1e6), st.floats(1, 1e6), st.integers(1, 10_000), st.integers(1, 10_000))
def test_after_the_seconds_that_are_said_there_are_the_rows(rate: float, burst: float, first: int, second: int) -> None:
    quota = Quota(rate, burst, 0)
    quota.take(first, 0)
    wait = quota.take(second, 0)
    if wait:
        assert quota.take(second, wait * (1 + 1e-9) + 1e-9) == 0
