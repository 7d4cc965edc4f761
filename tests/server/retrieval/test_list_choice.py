"""Under a filter those lists are chosen that are expected to have what is wanted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_server.retrieval.list_choice import MISSED, ListChooser, expected_hits


def hits(means: list[float], members: list[int], wanted: int, deviation: float) -> NDArray[np.float64]:
    found = expected_hits(np.array(means, np.float32), np.array(members), wanted, deviation)
    counts = np.zeros(len(means))
    counts[found.places] = found.counts
    return counts


def test_equal_lists_share_the_hits() -> None:
    # A place is an eighth of a deviation, so that it may be some more in all.
    assert hits([1.0, 1.0], [50, 50], 10, 0.1) == pytest.approx([5, 5], rel=0.2)


def test_a_list_has_hits_by_its_members() -> None:
    found = hits([1.0, 1.0, 1.0], [10, 20, 70], 10, 0.1)
    assert found / found.sum() == pytest.approx([0.1, 0.2, 0.7])


def test_what_lies_far_below_has_none() -> None:
    assert hits([1.0, 0.0], [50, 50], 10, 0.1)[1] == 0


def test_a_list_that_lies_above_is_wanted_whole_before_another_has_a_hit() -> None:
    found = hits([10.0, 0.0], [10, 1_000], 15, 0.1)
    assert found[0] == pytest.approx(10)
    assert found[1] == pytest.approx(5, rel=0.3)


def test_where_there_are_no_more_than_are_wanted_all_are() -> None:
    assert hits([3.0, -100.0], [2, 3], 5, 0.1).tolist() == [2, 3]


def test_with_no_deviation_the_best_centroids_have_all() -> None:
    assert hits([3.0, 2.0, 1.0], [2, 3, 4], 5, 0.0).tolist() == [2, 3, 0]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_about_as_many_are_expected_as_are_wanted(data: st.DataObject) -> None:
    means = data.draw(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=40))
    members = data.draw(st.lists(st.integers(1, 500), min_size=len(means), max_size=len(means)))
    wanted = data.draw(st.integers(1, 200))
    deviation = data.draw(st.floats(0.5, 50))
    found = hits(means, members, wanted, deviation)
    assert (found <= np.array(members) * (1 + 1e-9)).all()
    # A place is an eighth of a deviation, over which the expected number at most doubles about the threshold.
    assert min(wanted, sum(members)) * 0.99 <= found.sum() <= max(2 * wanted, sum(members) if len(means) == 1 else 0)


def test_lists_without_members_are_left_out_and_the_likeliest_come_first() -> None:
    centroids = np.array([[1, 0], [0.9, 0], [0.8, 0], [-1, 0]], np.float32)
    chooser = ListChooser(centroids, 0.1)
    chosen = chooser.choose(np.array([1, 0], np.float32), np.array([0, 100, 100, 100]), 10)
    assert chosen.tolist() == [1, 2]


def test_the_lists_that_are_chosen_have_nearly_all_of_what_is_wanted() -> None:
    random = np.random.default_rng(0)
    centroids = random.normal(size=(100, 16)).astype(np.float32)
    of = random.integers(0, 100, 20_000)
    vectors = centroids[of] + 0.4 * random.normal(size=(20_000, 16)).astype(np.float32)
    chooser = ListChooser(centroids, 0.4)
    for is_allowed in (random.random(20_000) < 0.1, vectors[:, 0] > 1.0, of % 7 == 0):
        members = np.bincount(of[is_allowed], minlength=100)
        shares, lists = [], []
        for query in random.normal(size=(50, 16)).astype(np.float32):
            chosen = chooser.choose(query, members, 100)
            scores = np.where(is_allowed, vectors @ query, -np.inf)
            shares.append(np.isin(of[np.argsort(-scores)[:100]], chosen).mean())
            lists.append(len(chosen))
        assert np.mean(shares) > 1 - 3 * MISSED
        assert np.mean(lists) < 0.7 * np.count_nonzero(members)
