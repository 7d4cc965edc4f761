import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.data.histories import Histories
from bascule_training.fitting.known_positives import KnownPositives

ITEM_COUNT = 6


def known(*histories: list[int]) -> KnownPositives:
    """Users with these histories."""
    items = np.array([item for history in histories for item in history], np.int32)
    offsets = np.cumsum([0, *map(len, histories)], dtype=np.int64)
    return KnownPositives(Histories(items, offsets), ITEM_COUNT)


def mask(positives: KnownPositives, users: list[int], candidates: list[int]) -> list[list[bool]]:
    found = positives.mask(np.array(users, np.int32), np.array(candidates, np.int32))
    assert found.dtype == np.bool_
    assert found.shape == (len(users), len(candidates))
    return [[bool(value) for value in row] for row in found]


def test_every_item_of_the_users_history_is_known() -> None:
    assert mask(known([1, 3], [2]), [0, 1], [1, 2, 3]) == [[True, False, True], [False, True, False]]


def test_a_repeated_candidate_is_known_everywhere() -> None:
    assert mask(known([4]), [0], [4, 0, 4]) == [[True, False, True]]


def test_queries_of_one_user_know_the_same() -> None:
    assert mask(known([], [5]), [1, 0, 1], [5]) == [[True], [False], [True]]


def test_who_is_nobody_knows_nothing() -> None:
    assert mask(known([0, 1, 2]), [-1], [0, 1, 2]) == [[False, False, False]]


def test_there_may_be_no_candidates() -> None:
    assert mask(known([0]), [0, -1], []) == [[], []]


histories = st.lists(st.lists(st.integers(0, ITEM_COUNT - 1), max_size=8), min_size=1, max_size=5)


@given(histories, st.data())
def test_it_is_what_a_set_of_each_history_says(histories: list[list[int]], data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(-1, len(histories) - 1), max_size=6))
    candidates = data.draw(st.lists(st.integers(0, ITEM_COUNT - 1), max_size=8))
    expected = [[user >= 0 and item in histories[user] for item in candidates] for user in users]
    assert mask(known(*histories), users, candidates) == expected
