"""An index finds what scoring every item finds, but for what its declared recall allows, and always as many."""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import IndexDepth, ItemIndex
from bascule_server.artifact.reading import ArtifactError
from bascule_server.retrieval import indexed as indexed_retrieval
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.exact import ExactRetriever
from bascule_server.retrieval.indexed import Depth, IndexedRetriever, open_index
from bascule_server.retrieval.retriever import UNRESTRICTED, Found, Restriction, products

ITEMS, DIMENSION, LISTS = 3_000, 8, 32


def inverted_file(vectors: NDArray[np.float32], lists: int) -> "faiss.IndexIVF":
    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(vectors.shape[1]),
        vectors.shape[1],
        lists,
        faiss.ScalarQuantizer.QT_8bit,
        faiss.METRIC_INNER_PRODUCT,
    )
    index.cp.min_points_per_centroid = 1
    index.train(vectors)
    index.add(vectors)
    return index


RANDOM = np.random.default_rng(5)
VECTORS = RANDOM.normal(size=(ITEMS, DIMENSION)).astype(np.float32)
QUERIES = RANDOM.normal(size=(40, DIMENSION)).astype(np.float32)
INDEX = inverted_file(VECTORS, LISTS)
EXACT = ExactRetriever(VECTORS)
EVERYTHING = Depth(item_count=200, probes=LISTS, overfetch=2.0)
"""Looks through every list, so that nothing can be missing but what 8 bits confuse."""


@pytest.fixture(autouse=True)
def few_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    """In so small a catalogue every filter would allow few items."""
    monkeypatch.setattr(indexed_retrieval, "MOST_SCORED", 100)


def indexed(*depths: Depth) -> IndexedRetriever:
    return IndexedRetriever(INDEX, depths or [EVERYTHING], VECTORS)


def assert_equal(found: Sequence[Found], expected: Sequence[Found]) -> None:
    for got, wanted in zip(found, expected, strict=True):
        assert got.rows.tolist() == wanted.rows.tolist()
        assert got.scores.tolist() == wanted.scores.tolist()
        assert (got.rows.dtype, got.scores.dtype) == (wanted.rows.dtype, wanted.scores.dtype)


def allowing(rows: Sequence[int]) -> Restriction:
    allowed = np.zeros(ITEMS, np.bool_)
    allowed[rows] = True
    return Restriction(UNRESTRICTED.excluded, Allowed(allowed))


def test_in_all_lists_the_best_of_all_items_are_found_with_their_exact_scores() -> None:
    counts, restrictions = [50] * len(QUERIES), [UNRESTRICTED] * len(QUERIES)
    assert_equal(indexed().search(QUERIES, counts, restrictions), EXACT.search(QUERIES, counts, restrictions))


def test_in_few_lists_scores_are_exact_and_in_order_and_few_of_the_best_are_missing() -> None:
    retriever = indexed(Depth(10, 8, 2.0))
    found = retriever.search(QUERIES, [10] * 40, [UNRESTRICTED] * 40)
    best = EXACT.search(QUERIES, [10] * 40, [UNRESTRICTED] * 40)
    for query, each in zip(QUERIES, found, strict=True):
        assert each.scores.tolist() == products(query, VECTORS[each.rows]).tolist()
        assert (np.diff(each.scores) <= 0).all()
    shares = [len(np.intersect1d(got.rows, wanted.rows)) / 10 for got, wanted in zip(found, best, strict=True)]
    assert 0.9 < np.mean(shares) < 1


def test_excluded_items_are_passed_over_and_the_next_best_take_their_places() -> None:
    best = EXACT.search(QUERIES, [30] * 40, [UNRESTRICTED] * 40)
    restrictions = [Restriction(each.rows[::2]) for each in best]
    found = indexed().search(QUERIES, [15] * 40, restrictions)
    assert [each.rows.tolist() for each in found] == [each.rows[1::2].tolist() for each in best]
    # What was passed over for one query is found again for the next.
    assert_equal(indexed().search(QUERIES, [30] * 40, [UNRESTRICTED] * 40), best)


def test_more_exclusions_than_any_depth_reaches_are_kept_to() -> None:
    (best,) = EXACT.search(QUERIES[:1], [1_000], [UNRESTRICTED])
    restriction = Restriction(best.rows[:900])
    (found,) = indexed(Depth(20, LISTS, 2.0)).search(QUERIES[:1], [20], [restriction])
    assert found.rows.tolist() == best.rows[900:920].tolist()


@pytest.mark.parametrize("share", [0.002, 0.03, 0.4, 0.9], ids=["few", "some", "many", "most"])
def test_a_filter_leaves_the_best_of_the_allowed(share: float) -> None:
    random = np.random.default_rng(1)
    restrictions = [
        Restriction(random.integers(0, ITEMS, 5), Allowed(random.random(ITEMS) < share)) for _ in range(len(QUERIES))
    ]
    counts = [5] * len(QUERIES)
    found, expected = indexed().search(QUERIES, counts, restrictions), EXACT.search(QUERIES, counts, restrictions)
    assert [len(each.rows) for each in found] == [len(each.rows) for each in expected]
    shares = [np.isin(wanted.rows, got.rows).mean() for got, wanted in zip(found, expected, strict=True)]
    assert np.mean(shares) == 1 if share * ITEMS <= 100 else np.mean(shares) > 0.98


def test_under_a_filter_that_lies_on_one_side_the_best_are_found_in_some_of_the_lists() -> None:
    allowed = Allowed(VECTORS[:, 0] > 1.0)
    restrictions = [Restriction(UNRESTRICTED.excluded, allowed)] * len(QUERIES)
    counts = [10] * len(QUERIES)
    found, expected = indexed().search(QUERIES, counts, restrictions), EXACT.search(QUERIES, counts, restrictions)
    for query, each in zip(QUERIES, found, strict=True):
        assert allowed.has(each.rows).all()
        assert each.scores.tolist() == products(query, VECTORS[each.rows]).tolist()
    shares = [len(np.intersect1d(got.rows, wanted.rows)) / 10 for got, wanted in zip(found, expected, strict=True)]
    assert np.mean(shares) > 0.97


def test_ten_of_a_whole_catalogue_are_found_however_few_lists_are_looked_through() -> None:
    rows = np.random.default_rng(2).choice(ITEMS, 10, replace=False).tolist()
    (found,) = indexed(Depth(100, 1, 1.0)).search(QUERIES[:1], [10], [allowing(rows)])
    assert sorted(found.rows.tolist()) == sorted(rows)


def test_where_the_lists_have_too_few_every_item_is_scored() -> None:
    (best,) = EXACT.search(QUERIES[:1], [200], [UNRESTRICTED])
    (found,) = indexed(Depth(200, 1, 1.0)).search(QUERIES[:1], [200], [UNRESTRICTED])
    assert found.rows.tolist() == best.rows.tolist()


def test_more_than_any_depth_reaches_are_found_by_scoring_every_item() -> None:
    (found,) = indexed(Depth(10, 1, 1.0)).search(QUERIES[:1], [ITEMS + 5], [UNRESTRICTED])
    (best,) = EXACT.search(QUERIES[:1], [ITEMS], [UNRESTRICTED])
    assert found.rows.tolist() == best.rows.tolist()


def test_nothing_is_found_where_nothing_is_allowed() -> None:
    (found,) = indexed().search(QUERIES[:1], [10], [allowing([])])
    assert found.rows.tolist() == []


def test_the_smallest_depth_that_reaches_what_is_wanted_and_excluded_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    retriever = indexed(Depth(10, 3, 1.0), Depth(40, 5, 2.0))
    asked: list[tuple[int, int]] = []
    candidates = retriever._candidates

    def noted(queries: NDArray[np.float32], each: indexed_retrieval._Pass) -> NDArray[np.int64]:
        asked.append((each.rescored, each.probes))
        return candidates(queries, each)

    monkeypatch.setattr(retriever, "_candidates", noted)
    retriever.search(QUERIES[:3], [10, 10, 5], [UNRESTRICTED, Restriction(np.arange(7)), UNRESTRICTED])
    # 17 wanted or excluded, twice, in the next multiple of 16.
    assert asked == [(16, 3), (48, 5)]


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_query_finds_the_same_alone_and_in_any_batch(data: st.DataObject) -> None:
    retriever = indexed(Depth(10, 2, 1.2), Depth(60, 4, 1.5))
    chosen = data.draw(st.lists(st.integers(0, len(QUERIES) - 1), min_size=1, max_size=30))
    counts = [data.draw(st.integers(1, 80)) for _ in chosen]
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    filters = [None, *(Allowed(random.random(ITEMS) < share) for share in (0.002, 0.05, 0.5, 0.9))]
    restrictions = [
        Restriction(random.integers(0, ITEMS, int(random.integers(0, 70))), filters[random.integers(len(filters))])
        for _ in chosen
    ]
    together = retriever.search(QUERIES[chosen], counts, restrictions)
    alone = [
        retriever.search(QUERIES[[query]], [count], [restriction])[0]
        for query, count, restriction in zip(chosen, counts, restrictions, strict=True)
    ]
    assert_equal(together, alone)


def test_a_query_of_nothing_but_zeros_is_answered() -> None:
    (found,) = indexed().search(np.zeros((1, DIMENSION), np.float32), [5], [UNRESTRICTED])
    assert len(set(found.rows.tolist())) == 5
    assert found.scores.tolist() == [0] * 5


def declared(**fields: object) -> ItemIndex:
    depths = [IndexDepth(item_count=10, probes=4, overfetch=1.5, recall=0.9)]
    return ItemIndex(**{"lists": LISTS, "depths": depths, **fields})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("index") / "index.faiss"
    faiss.write_index(INDEX, str(path))
    return path


def test_an_index_that_was_written_is_searched_as_declared(written: Path) -> None:
    opened = open_index(written, declared(), VECTORS)
    counts, restrictions = [7] * len(QUERIES), [UNRESTRICTED] * len(QUERIES)
    assert_equal(
        opened.search(QUERIES, counts, restrictions),
        indexed(Depth(10, 4, 1.5)).search(QUERIES, counts, restrictions),
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lists": LISTS + 1}, r"got \(32, 3000, 8\) lists, items and components; expected \(33, 3000, 8\)"),
        ({"depths": []}, "got the depths"),
        ({"depths": [IndexDepth(item_count=10, probes=LISTS + 1, overfetch=1)]}, "got the depths"),
        ({"depths": [IndexDepth(item_count=10, probes=1, overfetch=0.5)]}, "got the depths"),
        ({"depths": [IndexDepth(item_count=10, probes=1, overfetch=1e9)]}, "got the depths"),
        ({"depths": [IndexDepth(item_count=0, probes=1, overfetch=1)]}, "got the depths"),
        (
            {"depths": [IndexDepth(item_count=count, probes=1, overfetch=1) for count in (20, 10)]},
            "expected them in order",
        ),
    ],
)
def test_an_index_that_is_not_as_declared_is_refused(written: Path, fields: dict[str, object], said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        open_index(written, declared(**fields), VECTORS)


def test_an_index_of_other_items_is_refused(written: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected \(32, 2999, 8\)"):
        open_index(written, declared(), VECTORS[1:])


def test_what_is_no_index_or_another_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "index.faiss"
    path.write_bytes(b"IxFI" + bytes(40))
    with pytest.raises(ArtifactError, match=r"index\.faiss: "):
        open_index(path, declared(), VECTORS)
    flat = faiss.IndexFlatIP(DIMENSION)
    flat.add(VECTORS)
    faiss.write_index(flat, str(path))
    with pytest.raises(ArtifactError, match="got IndexFlatIP; expected an IndexIVFScalarQuantizer"):
        open_index(path, declared(), VECTORS)


def test_the_choice_between_few_items_and_many_lists_does_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    restriction = Restriction(UNRESTRICTED.excluded, Allowed(np.arange(ITEMS) % 3 == 0))
    found = []
    for most in (0, ITEMS):
        monkeypatch.setattr(indexed_retrieval, "MOST_SCORED", most)
        found.append(indexed().search(QUERIES[:1], [20], [restriction]))
    assert_equal(*found)
