"""Histories are users' items end to end, and reading them changes nothing."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_training.data.histories import Histories, of_users

TWO_USERS = Histories(np.array([3, 1, 1, 2], np.int32), np.array([0, 3, 3, 4], np.int64))
"""Three users: one with items 3, 1, 1, one with none, one with item 2."""


def joined(items: list[list[int]]) -> Histories:
    rows = [row for user in items for row in user]
    return Histories(np.array(rows, np.int32), np.cumsum([0, *map(len, items)], dtype=np.int64))


def test_each_user_has_their_items_oldest_first() -> None:
    assert [history.tolist() for history in TWO_USERS] == [[3, 1, 1], [], [2]]
    assert TWO_USERS.lengths.tolist() == [3, 0, 1]


def test_a_user_that_there_is_not_is_an_error() -> None:
    with pytest.raises(IndexError):
        TWO_USERS[3]


def test_a_matrix_counts_a_repeated_item_once_and_leaves_the_histories_as_they_were() -> None:
    for _ in range(2):
        assert TWO_USERS.matrix(4).toarray().tolist() == [[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 1, 0]]
    assert TWO_USERS.offsets.tolist() == [0, 3, 3, 4]


def test_of_an_item_that_a_user_had_several_times_the_newest_counts() -> None:
    log = Histories(
        np.array([3, 1, 3, 1, 2, 3], np.int32), np.array([0, 5, 5, 6], np.int64), np.array([10, 20, 30, 40, 50, 60])
    )
    distinct = log.distinct()
    assert [history.tolist() for history in distinct] == [[3, 1, 2], [], [3]]
    assert distinct.times is not None
    assert distinct.times.tolist() == [30, 40, 50, 60]


@given(st.lists(st.lists(st.integers(0, 4), max_size=9), min_size=1, max_size=8))
def test_distinct_histories_have_the_same_items_each_once(items: list[list[int]]) -> None:
    distinct = [history.tolist() for history in joined(items).distinct()]
    assert [sorted(history) for history in distinct] == [sorted(set(history)) for history in items]


def test_lists_hold_a_history_each_and_an_empty_one_where_there_is_none() -> None:
    lists = TWO_USERS.lists()
    assert lists.dtype == pl.List(pl.Int32)
    assert lists.to_list() == [[3, 1, 1], [], [2]]


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=8), st.data())
def test_some_users_are_taken_in_the_order_given(items: list[list[int]], data: st.DataObject) -> None:
    users = data.draw(st.lists(st.integers(0, len(items) - 1)))
    some = joined(items).of(np.array(users, np.int64))
    assert [history.tolist() for history in some] == [items[user] for user in users]


@given(st.lists(st.lists(st.integers(0, 9), max_size=5), min_size=1, max_size=8), st.data())
def test_a_part_holds_the_users_between_its_ends(items: list[list[int]], data: st.DataObject) -> None:
    histories = joined(items)
    start = data.draw(st.integers(0, len(items)))
    stop = data.draw(st.integers(start, len(items) + 3))
    assert [history.tolist() for history in histories.part(start, stop)] == items[start:stop]


def test_interactions_are_gathered_by_user_in_the_order_asked_and_without_unknown_items() -> None:
    interactions = pl.DataFrame({"user_id": ["a", "b", "a", "a"], "item_id": ["x", "y", "new", "y"]})
    histories = of_users(interactions, ["b", "nobody", "a"], {"x": 0, "y": 1})
    assert [history.tolist() for history in histories] == [[1], [], [0, 1]]
    assert histories.times is None


def test_interned_ids_are_looked_up_like_strings() -> None:
    interactions = pl.DataFrame({"user_id": ["a", "b", "a"], "item_id": ["x", "y", "gone"]}).cast(pl.Categorical)
    histories = of_users(interactions, ["b", "a"], {"y": 1, "never seen": 2, "x": 0})
    assert [history.tolist() for history in histories] == [[1], [0]]
    assert len(of_users(interactions[:0], [], {})) == 0


def test_the_times_go_with_the_interactions() -> None:
    interactions = pl.DataFrame(
        {"user_id": ["a", "b", "a"], "item_id": ["x", "y", "y"], "time": [1, 2, 3]},
    )
    histories = of_users(interactions, ["b", "a"], {"x": 0, "y": 1})
    assert histories.times is not None
    assert histories.times.tolist() == [2, 1, 3]
    part = histories.part(1, 2).times
    assert part is not None
    assert part.tolist() == [1, 3]
    # Where one has none, none is known.
    assert of_users(interactions.with_columns(time=pl.lit(None)), ["b", "a"], {"x": 0, "y": 1}).times is None
