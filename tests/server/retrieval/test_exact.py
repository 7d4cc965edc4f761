"""The exact retriever finds what scoring every item one by one finds, to the last bit, in whatever company."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_server.retrieval import exact as exact_retrieval
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.quantised_items import quantised_items
from bascule_server.retrieval.retriever import Found, Restriction, best, products

NOTHING = np.empty(0, np.int64)
ALL = Restriction(NOTHING)

SQUARE = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)
"""Four items in two dimensions."""


def search(query: Sequence[float], count: int, restriction: Restriction = ALL) -> Found:
    (found,) = retriever_of(SQUARE).search(np.array([query], np.float32), [count], [restriction])
    return found


def brute_force(
    vectors: NDArray[np.float32], query: NDArray[np.float32], count: int, restriction: Restriction
) -> tuple[list[int], list[float]]:
    """Scores the items one at a time, sorts all of them, and keeps those that may be found."""
    scores = [products(query, vector[None])[0] for vector in vectors]
    rows = [
        row
        for row in sorted(range(len(vectors)), key=lambda row: (-scores[row], row))
        if row not in restriction.excluded.tolist() and (restriction.allowed is None or restriction.allowed.mask[row])
    ][:count]
    return rows, [float(scores[row]) for row in rows]


@dataclass
class Case:
    """Items, and queries with what is wanted of each."""

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]
    counts: list[int]
    restrictions: list[Restriction]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few distinct vectors for many items, so that scores tie or differ in their last bit alone."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dimension, items, queries = draw(st.integers(1, 40)), draw(st.integers(1, 60)), draw(st.integers(1, 6))
    distinct = rng.normal(size=(draw(st.integers(1, 12)), dimension))
    vectors = distinct[rng.integers(0, len(distinct), items)] * (1 + rng.integers(-1, 2, (items, 1)) * 2.0**-23)
    scale = draw(st.sampled_from([0.0, 1e-42, 1e-38, 1e-30, 1.0, 1e20]))
    return Case(
        vectors.astype(np.float32),
        (rng.normal(size=(queries, dimension)) * scale).astype(np.float32),
        [draw(st.integers(1, 70)) for _ in range(queries)],
        [
            Restriction(
                np.array(draw(st.lists(st.integers(0, items - 1), max_size=20)), np.int64),
                draw(st.none() | st.just(Allowed(rng.random(items) < draw(st.floats(0, 1))))),
            )
            for _ in range(queries)
        ],
    )


def retriever_of(vectors: NDArray[np.float32], *, by_cosine: bool = False) -> ExactRetriever:
    return ExactRetriever(vectors, by_cosine=by_cosine, quantised=quantised_items(vectors))


@pytest.fixture(params=["as it is", "in the small"])
def sizes(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a test again with groups and passes so small that few items fill several of each."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "in the small":
            small = {
                "GROUP": 2,
                "MAX_QUERIES": 3,
                "FEWEST_TOGETHER": 2,
                "FEWEST_COMPARED": 2,
                "COMPARED_PER_ITEM": 1,
                "MAX_MEMBERS": 80,
                "MAX_CANDIDATES": 40,
            }
            for name, value in small.items():
                patch.setattr(exact_retrieval, name, value)
        yield


@pytest.mark.usefixtures("sizes")
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_the_retriever_finds_what_scoring_one_by_one_finds(case: Case) -> None:
    found = retriever_of(case.vectors).search(case.queries, case.counts, case.restrictions)
    for index, (rows, scores) in enumerate(found):
        expected = brute_force(case.vectors, case.queries[index], case.counts[index], case.restrictions[index])
        assert (rows.tolist(), scores.tolist()) == expected


@pytest.mark.usefixtures("sizes")
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases())
def test_a_query_finds_the_same_alone_and_in_any_batch(case: Case) -> None:
    retriever = retriever_of(case.vectors)
    together = retriever.search(case.queries, case.counts, case.restrictions)
    for index, (rows, scores) in enumerate(together):
        alone = retriever.search(
            case.queries[index : index + 1], case.counts[index : index + 1], case.restrictions[index : index + 1]
        )
        assert np.array_equal(alone[0].rows, rows)
        assert np.array_equal(alone[0].scores, scores)


@pytest.mark.usefixtures("sizes")
@pytest.mark.parametrize("by_cosine", [False, True])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_rough_scores_change_nothing(case: Case, by_cosine: bool) -> None:
    roughly = retriever_of(case.vectors, by_cosine=by_cosine)
    in_full = ExactRetriever(case.vectors, by_cosine=by_cosine)
    asked = case.queries, case.counts, case.restrictions
    for found, expected in zip(roughly.search(*asked), in_full.search(*asked), strict=True):
        assert (found.rows.tolist(), found.scores.tolist()) == (expected.rows.tolist(), expected.scores.tolist())


@settings(deadline=None)
@given(cases())
def test_a_score_does_not_depend_on_the_items_beside_it(case: Case) -> None:
    query = case.queries[0]
    together = products(query, case.vectors)
    assert together.tolist() == [float(products(query, vector[None])[0]) for vector in case.vectors]
    assert np.array_equal(products(query, case.vectors[::-1]), together[::-1])


def test_the_best_come_first_and_of_equals_the_first_row() -> None:
    rows, scores = search([1, 1], 4)
    assert rows.tolist() == [2, 0, 1, 3]
    assert scores.tolist() == [2, 1, 1, 0]
    assert (rows.dtype.name, scores.dtype.name) == ("int64", "float32")


def test_only_as_many_as_asked_for_are_found() -> None:
    assert search([1, 1], 2).rows.tolist() == [2, 0]


def test_fewer_are_found_where_there_are_fewer() -> None:
    assert search([1, 1], 1_000).rows.tolist() == [2, 0, 1, 3]


def test_the_excluded_are_not_found_and_others_move_up() -> None:
    assert search([1, 1], 2, Restriction(np.array([2, 1, 2]))).rows.tolist() == [0, 3]


def test_only_the_allowed_are_found() -> None:
    allowed = np.array([True, False, True, False])
    assert search([0, 1], 3, Restriction(NOTHING, Allowed(allowed))).rows.tolist() == [2, 0]
    assert search([0, 1], 3, Restriction(np.array([2]), Allowed(allowed))).rows.tolist() == [0]


def test_where_nothing_may_be_found_nothing_is() -> None:
    assert search([1, 1], 3, Restriction(np.arange(4))).rows.tolist() == []
    assert search([1, 1], 3, Restriction(NOTHING, Allowed(np.zeros(4, np.bool_)))).rows.tolist() == []


def test_a_search_leaves_the_mask_and_the_vectors_as_they_were() -> None:
    vectors, allowed = SQUARE.copy(), np.array([True, False, True, True])
    vectors.flags.writeable = allowed.flags.writeable = False
    retriever_of(vectors).search(SQUARE[:2], [1, 2], [Restriction(np.array([0]), Allowed(allowed))] * 2)
    assert np.array_equal(vectors, SQUARE)


def test_a_restriction_leaves_the_order_of_the_rows() -> None:
    restriction = Restriction(np.array([3]), Allowed(np.array([True, True, False, True])))
    assert restriction.remaining(np.array([3, 2, 1, 0])).tolist() == [1, 0]
    assert ALL.remaining(np.array([3, 2, 1, 0])).tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_best_takes_the_higher_score_and_of_equals_the_lower_row(count: int) -> None:
    rows, scores = best(np.array([7, 3, 5]), np.array([1, 1, 2], np.float32), count)
    assert rows.tolist() == [5, 3, 7][:count]
    assert scores.tolist() == [2, 1, 1][:count]


def test_many_items_are_quantised_in_parts() -> None:
    vectors = np.zeros((200_001, 1), np.float32)
    vectors[-1] = 3
    (found,) = retriever_of(vectors).search(np.ones((1, 1), np.float32), [2], [ALL])
    assert found.rows.tolist() == [200_000, 0]
    assert found.scores.tolist() == [3, 0]
