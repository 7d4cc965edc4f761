"""Several segments, of which some items are gone, are searched as if there were one that never had these."""

from collections.abc import Sequence

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule_server.living.catalogue import JoinedAllowed
from bascule_server.living.retrieval import living_retrievers
from bascule_server.living.segments import Gone, Searched
from bascule_server.retrieval import indexed as indexed_retrieval
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.indexed import Depth, IndexedRetriever
from bascule_server.retrieval.retriever import Found, Restriction, products
from bascule_server.retrieval.retrievers import exact_retrievers

BASE, SETTLED, TAIL, DIMENSION, LISTS = 2_000, 120, 30, 8, 16
ITEMS = BASE + SETTLED + TAIL

RANDOM = np.random.default_rng(3)
VECTORS = RANDOM.normal(size=(ITEMS, DIMENSION)).astype(np.float32)
DIRECTIONS = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
QUERIES = RANDOM.normal(size=(3, DIMENSION)).astype(np.float32)
QUERIES /= np.linalg.norm(QUERIES, axis=1, keepdims=True)


def indexed(vectors: NDArray[np.float32]) -> IndexedRetriever:
    """Looks through every list, and at so many that 8 bits confuse none of the best."""
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(DIMENSION), DIMENSION, LISTS, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return IndexedRetriever(index, [Depth(item_count=100, probes=LISTS, overfetch=4.0)], vectors)


@pytest.fixture(scope="module", params=["exact base", "index"])
def parts(request: pytest.FixtureRequest) -> list[Searched]:
    bounds = ((0, BASE), (BASE, BASE + SETTLED), (BASE + SETTLED, ITEMS))
    found = [Searched(first, end, exact_retrievers(VECTORS[first:end])) for first, end in bounds]
    if request.param == "index":
        found[0].retrievers = found[0].retrievers._replace(ranking=indexed(VECTORS[:BASE]))
    return found


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


def best_first(query: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.argsort(-(VECTORS @ query), kind="stable")


@st.composite
def masks(draw: st.DrawFn, share: st.SearchStrategy[float]) -> NDArray[np.bool_]:
    """So many of the rows by chance."""
    return np.random.default_rng(draw(st.integers(0, 2**32))).random(ITEMS) < draw(share)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(
    gone=masks(st.sampled_from([0.0, 0.001, 0.1, 0.9])),
    best_gone=st.sampled_from([0, 1, 40, 400]),
    allowed=st.none() | masks(st.sampled_from([0.0, 0.01, 0.3, 1.0])),
    excluded=st.lists(st.integers(0, ITEMS - 1), max_size=20),
    counts=st.lists(st.sampled_from([1, 3, 20, 100, ITEMS]), min_size=3, max_size=3),
)
def test_what_is_found_is_what_a_walk_over_all_that_is_there_finds(
    parts: list[Searched],
    gone: NDArray[np.bool_],
    best_gone: int,
    allowed: NDArray[np.bool_] | None,
    excluded: Sequence[int],
    counts: Sequence[int],
) -> None:
    gone[best_first(QUERIES[0])[:best_gone]] = True
    within = (
        None if allowed is None else JoinedAllowed([Allowed(allowed[each.first_row : each.end_row]) for each in parts])
    )
    restriction = Restriction(np.array(excluded, np.int64), within)
    present = ~gone & (True if allowed is None else allowed)
    present[excluded] = False
    living = living_retrievers(parts, Gone(gone, parts))
    for retriever, vectors in ((living.ranking, VECTORS), (living.similar, DIRECTIONS)):
        found = retriever.search(QUERIES, counts, [restriction] * 3)
        for query, count, each in zip(QUERIES, counts, found, strict=True):
            wanted = walked(query, vectors, present, count)
            assert each.rows.tolist() == wanted.rows.tolist()
            np.testing.assert_allclose(each.scores, wanted.scores, rtol=0, atol=1e-6)


def test_vectors_are_those_of_the_rows_of_every_segment(parts: list[Searched]) -> None:
    living = living_retrievers(parts, Gone(np.zeros(ITEMS, np.bool_), parts))
    rows = np.array([ITEMS - 1, 0, BASE, BASE - 1, BASE + SETTLED, 0])
    np.testing.assert_array_equal(living.ranking.vectors_of(rows), VECTORS[rows])
