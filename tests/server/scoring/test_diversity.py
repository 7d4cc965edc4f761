"""A diverse list is built item by item, by relevance and by how unlike the items are that are in it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_server.retrieval.retriever import Found
from bascule_server.scoring.diversity import diversified, pool_size
from bascule_server.scoring.query import Rank

TWINS_AND_A_STRANGER = np.array([[1, 0], [1, 0], [0, 1]], np.float32)


def pool(*scores: float) -> Found:
    return Found(10 + np.arange(len(scores)), np.array(scores, np.float32))


def rows(
    weight: float, *scores: float, vectors: NDArray[np.float32] = TWINS_AND_A_STRANGER, count: int = 2
) -> list[int]:
    found = diversified(pool(*scores), vectors, Rank(item_count=count, diversity=weight))
    return [int(row) for row in found.rows]


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (0.1, [10, 11]),  # .9 x .9 - .1 x 1 = .71 for the twin, .9 x 0 - .1 x 0 = 0 for the stranger
        (0.4, [10, 11]),  # .6 x .9 - .4 x 1 = .14
        (0.5, [10, 12]),  # .5 x .9 - .5 x 1 = -.05
        (1.0, [10, 12]),
    ],
)
def test_a_stranger_passes_a_twin_when_diversity_outweighs_relevance(weight: float, expected: list[int]) -> None:
    assert rows(weight, 1.0, 0.9, 0.0) == expected


def test_scores_stay_those_of_the_items_and_only_their_spread_counts() -> None:
    found = diversified(pool(30, 29, 20), TWINS_AND_A_STRANGER, Rank(item_count=3, diversity=0.5))
    assert (found.rows.tolist(), found.scores.tolist()) == ([10, 12, 11], [30, 20, 29])


def test_of_equals_the_first_is_taken() -> None:
    assert rows(0.5, 1.0, 1.0, 1.0, vectors=np.ones((3, 2), np.float32), count=3) == [10, 11, 12]


def test_lengths_of_vectors_do_not_count_and_a_zero_is_like_nothing() -> None:
    assert rows(0.5, 1.0, 0.9, 0.0, vectors=np.array([[9, 0], [0.1, 0], [0, 5]], np.float32)) == [10, 12]
    assert rows(1.0, 1.0, 0.9, 0.0, vectors=np.array([[9, 0], [1, 1], [0, 0]], np.float32)) == [10, 12]


def test_there_may_be_fewer_items_than_are_wanted_and_none() -> None:
    assert rows(0.5, 1.0, 0.9, 0.0, count=9) == [10, 12, 11]
    assert rows(0.5, vectors=np.empty((0, 2), np.float32)) == []


def test_what_has_no_room_is_passed_over_and_no_likeness_to_it_counts() -> None:
    rank = Rank(item_count=2, diversity=0.5)
    found = diversified(pool(1.0, 0.9, 0.0), TWINS_AND_A_STRANGER, rank, lambda row: row != 10)
    assert found.rows.tolist() == [11, 12]


@pytest.mark.parametrize(
    ("count", "diversity", "expected"), [(10, 0.0, 10), (10, 0.1, 50), (200, 1.0, 1_000), (1_000, 1.0, 1_000)]
)
def test_the_pool_has_five_times_as_many_items_up_to_a_thousand(count: int, diversity: float, expected: int) -> None:
    assert pool_size(Rank(item_count=count, diversity=diversity)) == expected


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.0, 1.0, exclude_min=True), st.integers(1, 12))
def test_the_list_is_that_of_the_formula(seed: int, items: int, weight: float, count: int) -> None:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(items, 3)).astype(np.float32)
    scores = np.sort(random.normal(size=items).astype(np.float32))[::-1]
    found = diversified(Found(np.arange(items), scores), vectors, Rank(item_count=count, diversity=weight))
    wide, directions = scores.astype(np.float64), vectors / np.linalg.norm(vectors.astype(np.float64), axis=1)[:, None]
    relevance = (wide - wide.min()) / max(np.ptp(wide), 1e-30) if items > 1 else np.ones(1)
    for place, row in enumerate(found.rows):
        others = [other for other in range(items) if other not in found.rows[:place]]
        likeness = [
            max((directions[other] @ directions[row] for row in found.rows[:place]), default=0) for other in others
        ]
        marginal = (1 - weight) * relevance[others] - weight * np.array(likeness)
        assert marginal[others.index(row)] >= marginal.max() - 1e-9
    assert len(found.rows) == min(count, items)
