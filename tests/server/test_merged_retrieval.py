"""A base and what came since, merged, are searched as if there had always been what is there now."""

import threading
from collections.abc import Sequence

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_server.living.merged_retrievers import Base
from bascule_server.living.stacked_vectors import PickedVectors, StackedVectors
from bascule_server.retrieval import indexed as indexed_retrieval
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.indexed import Depth, IndexedRetriever
from bascule_server.retrieval.retriever import UNRESTRICTED, Found, Restriction, products
from bascule_server.retrieval.retrievers import Retrievers, exact_retrievers

BASE, CAME, DIMENSION, LISTS = 2_000, 150, 8, 16
ITEMS = BASE + CAME

RANDOM = np.random.default_rng(3)
VECTORS = RANDOM.normal(size=(ITEMS, DIMENSION)).astype(np.float32)
# Some that score the same.
VECTORS[BASE + 100 :] = VECTORS[:50]
LENGTHS = np.linalg.norm(VECTORS, axis=1)
UNIT = VECTORS / LENGTHS[:, None]
QUERIES = RANDOM.normal(size=(5, DIMENSION)).astype(np.float32)

NOTHING_GONE = np.zeros(BASE, np.bool_)


def inverted_file(vectors: NDArray[np.float32]) -> "faiss.IndexIVF":
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(DIMENSION), DIMENSION, LISTS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return index


def based(vectors: NDArray[np.float32], *, has_index: bool) -> Base:
    """On the first of them. An index is searched in every list, and so far that 8 bits confuse none of the best."""
    base = vectors[:BASE]
    retrievers = exact_retrievers(base)
    if has_index:
        ranking = IndexedRetriever(inverted_file(base), [Depth(item_count=100, probes=LISTS, overfetch=4.0)], base)
        is_unit = retrievers.similar is retrievers.ranking
        retrievers = Retrievers(ranking, ranking if is_unit else retrievers.similar)
    return Base(base, retrievers)


BASES = {
    "exact": (VECTORS, based(VECTORS, has_index=False)),
    "exact, of length 1": (UNIT, based(UNIT, has_index=False)),
    "index": (VECTORS, based(VECTORS, has_index=True)),
    "index, of length 1": (UNIT, based(UNIT, has_index=True)),
}


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest) -> tuple[NDArray[np.float32], Base]:
    return BASES[request.param]


@pytest.fixture(autouse=True, scope="module")
def _few_are_scored() -> object:
    """In so small a catalogue every filter would allow few items."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexed_retrieval, "MOST_SCORED", 50)
        yield


def walked(query: NDArray[np.float32], vectors: NDArray[np.float32], present: NDArray[np.bool_], count: int) -> Found:
    """By a walk over every item that is there, the lower row first of equals."""
    rows = np.flatnonzero(present)
    scores = products(query, vectors[rows])
    order = np.argsort(-scores, kind="stable")[:count]
    return Found(rows[order], scores[order])


@st.composite
def masks(draw: st.DrawFn, size: int, share: st.SearchStrategy[float]) -> NDArray[np.bool_]:
    """So many of the rows by chance."""
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(size) < draw(share)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    gone=masks(BASE, st.sampled_from([0.0, 0.001, 0.1, 0.9])),
    best_gone=st.sampled_from([0, 1, 40]),
    came_count=st.sampled_from([0, 1, CAME]),
    allowed=st.none() | masks(ITEMS, st.sampled_from([0.0, 0.01, 0.3, 1.0])),
    excluded=st.lists(st.integers(0, ITEMS - 1), max_size=20),
    counts=st.lists(st.sampled_from([1, 3, 20, 60, ITEMS]), min_size=5, max_size=5),
)
def test_what_is_found_is_what_a_walk_over_all_that_is_there_finds_to_the_last_bit(
    base: tuple[NDArray[np.float32], Base],
    gone: NDArray[np.bool_],
    best_gone: int,
    came_count: int,
    allowed: NDArray[np.bool_] | None,
    excluded: Sequence[int],
    counts: Sequence[int],
) -> None:
    vectors, merging = base
    item_count = BASE + came_count
    vectors = vectors[:item_count]
    gone[np.argsort(-(vectors[:BASE] @ QUERIES[0]))[:best_gone]] = True
    merged = merging.merged(vectors[BASE:], gone)
    excluded = [row for row in excluded if row < item_count]
    within = None if allowed is None else Allowed(allowed[:item_count])
    restriction = Restriction(np.array(excluded, np.int64), within)
    present = np.concatenate([~gone, np.ones(came_count, np.bool_)])
    if allowed is not None:
        present &= allowed[:item_count]
    present[excluded] = False
    divided = vectors / np.float32(1) if merged.similar is merged.ranking else vectors / LENGTHS[:item_count, None]
    for retriever, scored in ((merged.ranking, vectors), (merged.similar, divided)):
        found = retriever.search(QUERIES, counts, [restriction] * len(QUERIES))
        for query, count, each in zip(QUERIES, counts, found, strict=True):
            wanted = walked(query, scored, present, count)
            if scored is vectors:
                assert each.rows.tolist() == wanted.rows.tolist()
                assert each.scores.tobytes() == wanted.scores.tobytes()
            else:
                np.testing.assert_allclose(each.scores, wanted.scores, rtol=0, atol=1e-6)
                assert present[each.rows].all()
        alone = [
            retriever.search(query[None], [count], [restriction])[0]
            for query, count in zip(QUERIES, counts, strict=True)
        ]
        assert [each.rows.tolist() for each in alone] == [each.rows.tolist() for each in found]


def test_vectors_are_those_of_all_rows_also_of_what_is_gone(base: tuple[NDArray[np.float32], Base]) -> None:
    vectors, merging = base
    gone = NOTHING_GONE.copy()
    gone[::2] = True
    rows = np.array([ITEMS - 1, 0, BASE, BASE - 1, 1, 0])
    for is_gone in (NOTHING_GONE, gone):
        merged = merging.merged(vectors[BASE:], is_gone)
        np.testing.assert_array_equal(merged.ranking.vectors_of(rows), vectors[rows])
        np.testing.assert_allclose(merged.similar.vectors_of(rows), UNIT[rows], rtol=0, atol=1e-6)


def test_lists_for_what_came_find_at_least_what_they_would_in_the_lists_of_the_index() -> None:
    random = np.random.default_rng(7)
    centres = random.normal(size=(40, DIMENSION))
    vectors = (centres[random.integers(0, 40, 6_000)] + random.normal(size=(6_000, DIMENSION)) / 4).astype(np.float32)
    queries = (centres[random.integers(0, 40, 200)] + random.normal(size=(200, DIMENSION)) / 4).astype(np.float32)
    depth, counts, restrictions = Depth(10, 4, 1.5), [10] * 200, [UNRESTRICTED] * 200
    index = inverted_file(vectors[:5_000])
    grown = IndexedRetriever(index, [depth], vectors[:5_000]).with_items(
        StackedVectors(vectors[:5_000], vectors[5_000:]), np.zeros(6_000, np.bool_)
    )
    found = grown.search(queries, counts, restrictions)
    index.add(vectors[5_000:])
    added = IndexedRetriever(index, [depth], vectors).search(queries, counts, restrictions)
    best = ExactRetriever(vectors).search(queries, counts, restrictions)

    def recall(of: list[Found]) -> float:
        return float(
            np.mean([len(np.intersect1d(got.rows, each.rows)) for got, each in zip(of, best, strict=True)]) / 10
        )

    assert recall(found) >= recall(added) > 0.9
    assert any((each.rows >= 5_000).any() for each in found)


def test_of_many_that_went_none_takes_the_place_of_one_that_is_there() -> None:
    merging = BASES["index"][1]
    (best,) = ExactRetriever(VECTORS).search(QUERIES[:1], [1_000], [UNRESTRICTED])
    gone = NOTHING_GONE.copy()
    gone[best.rows[best.rows < BASE][:900]] = True
    merged = merging.merged(VECTORS[BASE:], gone)
    looked_at: list[int] = []
    exact = merged.ranking._exact  # type: ignore[attr-defined]
    exact.search = lambda *_: looked_at.append(1)
    (found,) = merged.ranking.search(QUERIES[:1], [20], [UNRESTRICTED])
    assert len(found.rows) == 20
    assert not looked_at


def test_base_and_merged_are_searched_at_once_by_two_threads() -> None:
    """While a merge is made in one thread, another serves."""
    vectors, merging = BASES["index"]
    retriever = merging.index
    assert retriever is not None
    counts, restrictions = [20] * 5, [UNRESTRICTED] * 5
    expected = [each.rows.tolist() for each in retriever.search(QUERIES, counts, restrictions)]
    merges: list[Retrievers] = []
    merger = threading.Thread(
        target=lambda: merges.extend(merging.merged(vectors[BASE:], NOTHING_GONE) for _ in range(20))
    )
    merger.start()
    while len(merges) < 20:
        assert [each.rows.tolist() for each in retriever.search(QUERIES, counts, restrictions)] == expected
    merger.join()


rows = st.lists(st.integers(0, 9), max_size=12).map(lambda each: np.array(each, np.int64))


@given(st.integers(1, 10), rows, st.data())
def test_stacked_and_picked_vectors_are_those_of_one_array(
    base_count: int, asked: NDArray[np.int64], data: st.DataObject
) -> None:
    whole = VECTORS[:10]
    stacked = StackedVectors(whole[:base_count], whole[base_count:])
    kept = np.flatnonzero(np.random.default_rng(data.draw(st.integers(0, 99))).random(10) < 0.5)
    for vectors, expected in ((stacked, whole), (PickedVectors(stacked, kept), whole[kept])):
        assert (len(vectors), vectors.shape) == (len(expected), expected.shape)
        start, stop = (data.draw(st.integers(0, 10)) for _ in range(2))
        np.testing.assert_array_equal(vectors[start:stop], expected[start:stop])
        there = asked[asked < len(expected)]
        np.testing.assert_array_equal(vectors.take(there, 0), expected[there])
        out = np.empty(len(expected), np.float32)
        vectors.dot(QUERIES[0], out=out)
        np.testing.assert_allclose(out, expected @ QUERIES[0], rtol=0, atol=1e-5)
    empty = np.array([[-1, 0], [9, -1]])
    np.testing.assert_array_equal(stacked.take(empty, 0, mode="wrap")[empty >= 0], whole[empty[empty >= 0]])
