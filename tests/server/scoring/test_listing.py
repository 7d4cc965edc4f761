"""A list is capped from the best downwards, and cut where its scores become too low."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import Shortfall
from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.columns import Categories, Column, Numbers
from bascule_server.scoring.diversity import pool_size
from bascule_server.scoring.listing import scoring_at_least, shaped
from bascule_server.scoring.query import Cap, Rank

GENRES = Categories([("sad",), ("sad",), ("sad", "new"), ("new",), (), ()], multi_valued=True)
ONE_OF_EACH = Rank(cap=Cap("genres", 1))


def first(count: int, item_count: int = 6) -> Found:
    """The best items where row 0 is the best and scores 0, row 1 scores -1 and so on."""
    rows = np.arange(item_count)[:count]
    return Found(rows, -rows.astype(np.float32))


def no_vectors(_: object) -> NDArray[np.float32]:
    raise AssertionError("a list that need not be diverse has no use for vectors")


def cap(column: Column, rank: Rank, item_count: int = 6) -> Found:
    found = first(rank.item_count, item_count)
    return shaped(found, rank, column, no_vectors, lambda count: first(count, item_count)).found


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
    assert shaped(first(2), roomy, GENRES, no_vectors, fetch).found.rows.tolist() == [0, 1]
    assert shaped(first(1), rank, GENRES, no_vectors, fetch).found.rows.tolist() == [0]
    assert shaped(first(2), replace(rank, min_score=-0.5), GENRES, no_vectors, fetch).found.rows.tolist() == [0]


def test_a_single_value_is_capped_like_several() -> None:
    titles = Categories([("A",), ("A",), ("B",), (), ()], multi_valued=False)
    assert cap(titles, ONE_OF_EACH, item_count=5).rows.tolist() == [0, 2, 3, 4]
    assert cap(Numbers(np.array([1.0, 1.0, 2.0])), ONE_OF_EACH, item_count=3).rows.tolist() == [0, 2]


def test_an_item_that_has_a_value_twice_counts_once() -> None:
    genres = Categories([("sad", "sad"), ("sad",), ("sad",)], multi_valued=True)
    assert cap(genres, Rank(cap=Cap("genres", 2)), item_count=3).rows.tolist() == [0, 1]


def test_a_diverse_list_is_filled_from_as_many_items_as_its_cap_needs() -> None:
    # Ten items of one genre, and then one of another.
    genres = Categories([("sad",)] * 10 + [("new",)], multi_valued=True)
    rank = Rank(item_count=2, diversity=0.5, cap=Cap("genres", 1))
    counts: list[int] = []

    def fetch(count: int) -> Found:
        counts.append(count)
        return first(count, 11)

    vectors = np.eye(11, dtype=np.float32)
    found, _ = shaped(fetch(pool_size(rank)), rank, genres, lambda rows: vectors[rows], fetch)
    assert (found.rows.tolist(), counts) == ([0, 10], [10, 40])


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


@pytest.mark.parametrize(
    ("rank", "why"),
    [
        (Rank(item_count=6), Shortfall.SHORTFALL_UNSPECIFIED),
        (Rank(item_count=7), Shortfall.SHORTFALL_RESTRICTED),
        (Rank(item_count=6, cap=Cap("genres", 1)), Shortfall.SHORTFALL_CAP),
        (Rank(item_count=4, min_score=-2), Shortfall.SHORTFALL_MIN_SCORE),
        (Rank(item_count=4, min_score=-2, cap=Cap("genres", 1)), Shortfall.SHORTFALL_MIN_SCORE),
        (Rank(item_count=3, min_score=-2), Shortfall.SHORTFALL_UNSPECIFIED),
    ],
)
def test_a_short_list_says_why(rank: Rank, why: Shortfall.ValueType) -> None:
    found = first(rank.item_count)
    assert shaped(found, rank, GENRES, no_vectors, first).shortfall == why


def test_items_with_a_lower_score_stay_out() -> None:
    assert scoring_at_least(-2, first(6)).rows.tolist() == [0, 1, 2]
    assert scoring_at_least(1, first(6)).rows.tolist() == []
    assert scoring_at_least(-100, first(6)).rows.tolist() == [0, 1, 2, 3, 4, 5]


@given(st.lists(st.floats(width=32, allow_nan=False)).map(lambda scores: sorted(scores, reverse=True)), st.data())
def test_a_score_that_was_answered_lets_its_own_item_in(scores: list[float], data: st.DataObject) -> None:
    found = Found(np.arange(len(scores)), np.array(scores, np.float32))
    least = data.draw(st.sampled_from(scores) if scores else st.just(0.0))
    assert scoring_at_least(least, found).scores.tolist() == [score for score in scores if score >= least]
