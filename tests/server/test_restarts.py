"""A worker that died is replaced at once, and one that dies again and again ever later, until there is no hope."""

from bascule_server.workers.restarts import LONGEST_DELAY_SECONDS, MOST_DEATHS, STEADY_SECONDS, Restarts


def test_the_first_death_costs_no_time_and_each_further_one_twice_as_much() -> None:
    restarts = Restarts()
    assert [round(restarts.delay_after(1.0), 3) for _ in range(5)] == [0, 0.1, 0.2, 0.4, 0.8]


def test_no_delay_is_longer_than_the_longest() -> None:
    restarts = Restarts()
    assert max(restarts.delay_after(0.0) for _ in range(5_000)) == LONGEST_DELAY_SECONDS


def test_one_that_served_steadily_starts_anew() -> None:
    restarts = Restarts()
    for _ in range(MOST_DEATHS):
        restarts.delay_after(0.0)
    assert restarts.are_hopeless
    assert restarts.delay_after(STEADY_SECONDS) == 0
    assert not restarts.are_hopeless


def test_there_is_hope_before_the_last_death() -> None:
    restarts = Restarts()
    for _ in range(MOST_DEATHS - 1):
        restarts.delay_after(0.0)
    assert not restarts.are_hopeless
