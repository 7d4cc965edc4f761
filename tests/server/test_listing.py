"""A list is capped from the best downwards, and cut where its scores become too low."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule_server.catalogue import Categories, Column, Numbers
from bascule_server.listing import capped, scoring_at_least
from bascule_server.query import Cap, Rank
from bascule_server.retrieval import Found

GENRES = Categories([("sad",), ("sad",), ("sad", "new"), ("new",), (), ()], multi_valued=True)
ONE_OF_EACH = Rank(cap=Cap("genres", 1))


def first(count: int, item_count: int = 6) -> Found:
    """The best items where row 0 is the best and scores 0, row 1 scores -1 and so on."""
    rows = np.arange(item_count)[:count]
    return Found(rows, -rows.astype(np.float32))


def cap(column: Column, rank: Rank, item_count: int = 6) -> Found:
    return capped(first(rank.item_count, item_count), column, rank, lambda count: first(count, item_count))


def test_items_beyond_the_cap_are_passed_over_and_those_without_a_value_never() -> None:
    found = cap(GENRES, ONE_OF_EACH)
    assert found.rows.tolist() == [0, 3, 4, 5]
    assert found.scores.tolist() == [0, -3, -4, -5]


def test_an_item_that_is_passed_over_takes_no_place_of_its_other_values() -> None:
    assert 3 in cap(GENRES, ONE_OF_EACH).rows


def test_more_are_fetched_until_the_list_is_full() -> None:
    assert cap(GENRES, replace(ONE_OF_EACH, item_count=2)).rows.tolist() == [0, 3]


def test_no_more_are_fetched_than_are_needed() -> None:
    def fetch(_: int) -> Found:
        raise AssertionError("nothing was left to fetch")

    rank = replace(ONE_OF_EACH, item_count=2)
    roomy = Rank(item_count=2, cap=Cap("genres", 2))
    assert capped(first(2), GENRES, roomy, fetch).rows.tolist() == [0, 1]
    assert capped(first(1), GENRES, rank, fetch).rows.tolist() == [0]


def test_a_single_value_is_capped_like_several() -> None:
    titles = Categories([("A",), ("A",), ("B",), (), ()], multi_valued=False)
    assert cap(titles, ONE_OF_EACH, item_count=5).rows.tolist() == [0, 2, 3, 4]
    assert cap(Numbers(np.array([1.0, 1.0, 2.0])), ONE_OF_EACH, item_count=3).rows.tolist() == [0, 2]


def test_an_item_that_has_a_value_twice_counts_once() -> None:
    genres = Categories([("sad", "sad"), ("sad",), ("sad",)], multi_valued=True)
    assert cap(genres, Rank(cap=Cap("genres", 2)), item_count=3).rows.tolist() == [0, 1]


def test_a_list_without_a_cap_cannot_be_capped() -> None:
    with pytest.raises(ValueError, match="no cap"):
        cap(GENRES, Rank())


@given(
    st.lists(st.lists(st.sampled_from("pqr"), max_size=3).map(tuple), min_size=1, max_size=40),
    st.integers(1, 10),
    st.integers(1, 4),
)
def test_capping_as_items_are_fetched_is_capping_all_of_them(
    items: list[tuple[str, ...]], item_count: int, max_count: int
) -> None:
    kept: list[int] = []
    for row, values in enumerate(items):
        others = [items[other] for other in kept]
        if len(kept) < item_count and all(sum(v in other for other in others) < max_count for v in values):
            kept.append(row)
    rank = Rank(item_count=item_count, cap=Cap("genres", max_count))
    assert cap(Categories(items, multi_valued=True), rank, len(items)).rows.tolist() == kept


def test_items_with_a_lower_score_stay_out() -> None:
    assert scoring_at_least(-2, first(6)).rows.tolist() == [0, 1, 2]
    assert scoring_at_least(1, first(6)).rows.tolist() == []
    assert scoring_at_least(-100, first(6)).rows.tolist() == [0, 1, 2, 3, 4, 5]


@given(st.lists(st.floats(width=32, allow_nan=False)).map(lambda scores: sorted(scores, reverse=True)), st.data())
def test_a_score_that_was_answered_lets_its_own_item_in(scores: list[float], data: st.DataObject) -> None:
    found = Found(np.arange(len(scores)), np.array(scores, np.float32))
    least = data.draw(st.sampled_from(scores) if scores else st.just(0.0))
    assert scoring_at_least(least, found).scores.tolist() == [score for score in scores if score >= least]
