"""Vectors in 8 bits: products are those of whole numbers, and what they lose to the vectors in full is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from structlog.testing import capture_logs

from bascule_server.retrieval.litert_layer import fully_connected
from bascule_server.retrieval.quantised_items import (
    LARGEST_COMPONENT,
    MOST_TOGETHER,
    WIDTH_STEP,
    QuantisedItems,
    quantised_items,
    quantised_queries,
    quantised_query,
)

FLOATS = st.floats(-LARGEST_COMPONENT, LARGEST_COMPONENT, width=32) | st.sampled_from([0.0, 1.0, -1.0, 1e-45, -1e-40])
SQUARE = np.array([[1, 0], [0, 1], [1, 1], [0, 0]], np.float32)


def some_queries(count: int, dimension: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(count).normal(size=(count, dimension)).astype(np.float32)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=FLOATS))
def test_codes_are_whole_and_as_far_apart_as_the_layer_needs_them(queries: NDArray[np.float32]) -> None:
    codes, steps, errors, lengths = quantised_queries(queries)
    low, high = np.minimum(codes.min(axis=1), 0), np.maximum(codes.max(axis=1), 0)
    is_zero = ~queries.any(axis=1)
    assert np.array_equal(codes, np.rint(codes))
    assert np.array_equal(high - low, np.where(is_zero, 0, 255))
    wide = queries.astype(np.float64)
    assert np.allclose(errors, np.linalg.norm(wide - codes * steps[:, None], axis=1), rtol=1e-9, atol=0)
    assert np.allclose(lengths, np.linalg.norm(wide, axis=1), rtol=1e-9, atol=0)
    # Half a step for each component, and for the largest, which is put at a distance, up to a whole one.
    assert (errors <= steps * np.sqrt(1 + queries.shape[1] / 4)).all()


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9)), elements=FLOATS))
def test_one_query_is_quantised_as_several_are(queries: NDArray[np.float32]) -> None:
    together = quantised_queries(queries)
    for place, query in enumerate(queries):
        codes, step, error, length = quantised_query(query)
        assert codes.tobytes() == together.codes[place : place + 1].tobytes()
        assert (step, error, length) == (together.steps[place], together.errors[place], together.lengths[place])


def test_numbers_that_one_can_do_in_the_head() -> None:
    codes, steps, errors, _ = quantised_queries(np.array([[-255, 0, 255], [0, 510, 2], [0, 0, 0]], np.float32))
    assert steps.tolist() == [2, 2, 1]
    assert codes.tolist() == [[-127, 0, 128], [0, 255, 1], [0, 0, 0]]
    assert errors.tolist() == [np.sqrt(2), 0, 0]


@given(
    arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 70)), elements=FLOATS),
    st.integers(1, MOST_TOGETHER),
)
def test_products_differ_from_the_scores_by_no_more_than_is_lost(vectors: NDArray[np.float32], count: int) -> None:
    items, queries = QuantisedItems(vectors), some_queries(count, vectors.shape[1])
    codes, steps, errors, lengths = quantised_queries(queries)
    products = items.products(codes)
    assert products.shape == (count, -(-len(vectors) // WIDTH_STEP) * WIDTH_STEP)
    assert not products[:, len(vectors) :].any()
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    lost = errors[:, None] * items.lengths + lengths[:, None] * items.errors
    rounded = 2.0**-22 * lengths[:, None] * (items.lengths + items.errors) * vectors.shape[1]
    assert (np.abs(products[:, : len(vectors)] * steps[:, None] - scores) <= lost + rounded + 1e-37).all()


def test_vectors_too_large_for_products_are_not_quantised() -> None:
    assert quantised_items(np.full((2, 2), 2.0**81, np.float32)) is None


def test_items_of_whole_numbers_lose_nothing() -> None:
    items = QuantisedItems(np.array([[127, -1], [-254, 2]], np.float32))
    assert items.errors.tolist() == [0, 0]
    codes = quantised_queries(np.array([[255, 0], [0, -255]], np.float32)).codes
    assert items.products(codes)[:, :2].tolist() == [[127 * 255, -254 * 255], [255, -2 * 255]]


def test_a_query_has_the_same_products_alone_and_in_company() -> None:
    items = QuantisedItems(some_queries(50))
    codes = quantised_queries(some_queries(MOST_TOGETHER)).codes
    together = items.products(codes).copy()
    for row, alone in enumerate(codes):
        assert np.array_equal(items.products(alone[None])[0], together[row])


def test_vectors_too_small_for_steps_count_as_lost() -> None:
    items = QuantisedItems(np.full((1, 1), 1e-45, np.float32))
    assert items.lengths.tolist() == [0]
    assert items.errors[0] == pytest.approx(1e-45, rel=0.5)


def test_where_the_library_multiplies_wrongly_items_are_scored_in_full_and_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert quantised_items(SQUARE) is not None
    wrong = lambda weights, scales: fully_connected(weights, scales * 1.01)  # noqa: E731
    monkeypatch.setattr("bascule_server.retrieval.quantised_items.fully_connected", wrong)
    with capture_logs() as lines:
        assert quantised_items(SQUARE) is None
    assert [line["log_level"] for line in lines] == ["warning"]
