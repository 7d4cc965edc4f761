"""An index is searched in as few lists as reach the recall that it declares, measured against scoring every item."""

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.retriever import UNRESTRICTED
from bascule_training.publishing.item_index import Built, build_index


def normal(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


CENTRES = normal(1, 20, 8)
VECTORS = CENTRES[np.random.default_rng(2).integers(0, 20, 6_000)] + 0.5 * normal(3, 6_000, 8)
QUERIES = CENTRES[np.random.default_rng(4).integers(0, 20, 200)] + 0.5 * normal(5, 200, 8)


def build(recall: float) -> Built:
    built = build_index(VECTORS, QUERIES, recall)
    assert built is not None
    return built


def recall_of(built: Built, count: int, queries: NDArray[np.float32]) -> float:
    asked = [count] * len(queries), [UNRESTRICTED] * len(queries)
    best, found = ExactRetriever(VECTORS).search(queries, *asked), built.retriever.search(queries, *asked)
    shares = [len(np.intersect1d(got.rows, wanted.rows)) / count for got, wanted in zip(found, best, strict=True)]
    return float(np.mean(shares))


@pytest.mark.parametrize("recall", [0.8, 0.9])
def test_the_declared_recall_is_reached_and_no_list_more_is_looked_through_than_that_takes(recall: float) -> None:
    built = build(recall)
    assert built.declared.lists == 128  # the power of two nearest to twice the root of 6,000
    assert built.declared.depths
    assert [depth.item_count for depth in built.declared.depths] == [30, 100, 300, 1_000][: len(built.declared.depths)]
    for depth in built.declared.depths:
        assert recall <= depth.recall < 1
        # Where the lists had fewer than were wanted, the retriever scored every item.
        assert recall_of(built, depth.item_count, QUERIES) >= depth.recall - 1e-9


def test_a_higher_recall_takes_more_lists_and_holds_for_other_queries_too() -> None:
    low, high = build(0.8), build(0.9)
    assert low.declared.depths[0].probes < high.declared.depths[0].probes
    others = CENTRES[np.random.default_rng(6).integers(0, 20, 200)] + 0.5 * normal(7, 200, 8)
    assert recall_of(high, 30, others) > 0.87


def test_every_item_is_in_one_list() -> None:
    index = build(0.9).index
    ids = [
        faiss.rev_swig_ptr(index.invlists.get_ids(each), index.invlists.list_size(each)).copy() for each in range(128)
    ]
    assert np.array_equal(np.sort(np.concatenate(ids)), np.arange(6_000))


def test_the_same_items_give_the_same_index() -> None:
    first, second = (faiss.serialize_index(build(0.9).index) for _ in range(2))
    assert np.array_equal(first, second)


def test_where_lists_do_not_help_there_is_no_index() -> None:
    # In 64 dimensions without clusters the best items lie in lists all over.
    assert build_index(normal(1, 2_000, 64), normal(2, 50, 64), 0.99) is None


def test_long_vectors_do_not_draw_all_items_into_their_lists() -> None:
    lengths = np.exp(normal(8, 6_000, 1))
    built = build_index(lengths * VECTORS, QUERIES, 0.5)
    assert built is not None
    sizes = [built.index.invlists.list_size(each) for each in range(128)]
    assert max(sizes) < 6_000 / 128 * 8
