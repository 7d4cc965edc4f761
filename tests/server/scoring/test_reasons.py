"""An item is there because of what is most like it in the history."""

import numpy as np

from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.scoring.reasons import most_alike

PLANE = ExactRetriever(np.array([[1, 0], [0.6, 0.8], [0, 1], [0.8, 0.6], [0.6, 0.8]], np.float32))


def alike(recommended: list[int], history: list[int], count: int) -> list[list[int]]:
    found = most_alike(np.array(recommended, np.int64), np.array(history, np.int64), count, PLANE)
    return [rows.tolist() for rows in found]


def test_each_item_has_what_is_most_like_it_first() -> None:
    assert alike([0, 2], [1, 3], 2) == [[3, 1], [1, 3]]


def test_of_equals_the_one_that_came_last_is_named_first() -> None:
    assert alike([0], [1, 4], 2) == [[4, 1]]
    assert alike([0], [4, 1], 1) == [[1]]


def test_an_item_counts_once_at_its_newest_place() -> None:
    assert alike([0], [1, 4, 1], 3) == [[1, 4]]


def test_there_may_be_fewer_than_are_asked_for_and_nothing_to_explain() -> None:
    assert alike([0], [2], 5) == [[2]]
    assert alike([], [2], 5) == []
