"""Ids find their rows and rows their ids, however the ids are looked up and whatever they are made of."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.v1.recommendation_service_pb2 import Ranking
from bascule_server.scoring import item_ids
from bascule_server.scoring.item_ids import UNKNOWN, ItemIds

IDS = st.text(max_size=200).filter(lambda text: len(text.encode()) <= 256)


@pytest.fixture(params=["dict", "table"], autouse=True)
def lookup(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs each test with few ids, and again as if they were many, which are taken a few at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_ids, "_STRINGS_AT_ONCE", 3)
        if request.param == "table":
            patch.setattr(item_ids, "MAX_IN_DICT", 0)
        yield


any_fixture = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_an_id_has_the_row_where_it_stands() -> None:
    ids = ItemIds(["b", "a", "cc"])
    rows = ids.rows(["cc", "x", "a", "b", "a"])
    assert rows.tolist() == [2, UNKNOWN, 1, 0, 1]
    assert rows.dtype == np.int64


def test_a_column_of_ids_is_taken_as_a_list_of_them_is() -> None:
    texts = ["b", "", "é" * 100, "cc"]
    ids = ItemIds(pl.Series(texts))
    assert list(ids) == texts
    assert ids.rows([*texts, "x"]).tolist() == [0, 1, 2, 3, UNKNOWN]


def test_an_id_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 4 distinct ids; got 3"):
        ItemIds(["a", "b", "a", "c"])


def test_a_row_has_its_id() -> None:
    ids = ItemIds(["b", "a", "cc"])
    assert (len(ids), ids[2], ids.of([1, 1, 0]), list(ids)) == (3, "cc", ["a", "a", "b"], ["b", "a", "cc"])


def test_without_ids_there_are_no_rows() -> None:
    assert ItemIds(["a"]).rows([]).tolist() == []
    assert ItemIds(["a"]).of([]) == []
    assert ItemIds(["a"]).listed([]) == []


def test_what_is_encoded_is_the_field_of_a_ranking() -> None:
    ids = ItemIds(["b", "a", "c" * 127, "d" * 128, "e" * 256, "é"])
    listed = ids.listed([np.array([1, 0]), np.array([], np.int64), np.array([5, 4, 3, 2])])
    found = [list(Ranking.FromString(each.encoded_ids).item_ids) for each in listed]
    assert found == [["a", "b"], [], ["é", "e" * 256, "d" * 128, "c" * 127]]
    assert [each.ids for each in listed] == found


@pytest.mark.parametrize("count", [0, 1, 64, 65, 200])
def test_one_list_is_encoded_as_it_is_beside_others(count: int) -> None:
    ids = ItemIds([f"{'i' * number}{number}" for number in range(200)])
    rows = np.arange(200)[::-1][:count]
    (alone,) = ids.listed([rows])
    assert alone.encoded_ids == ids.listed([np.array([3]), rows])[1].encoded_ids


def test_another_id_of_the_same_hash_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = ItemIds(["ab", "c"])
    if isinstance(ids._lookup, item_ids._Table):
        first = ids._lookup._hashes[0]
        monkeypatch.setattr(item_ids._Text, "hashes", lambda text: np.full(len(text.lengths), first))
        assert ids.rows(["xy", "ab", "abc"]).tolist() == [UNKNOWN, 0, UNKNOWN]


def test_items_of_one_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_ids._Text, "hashes", lambda text: np.zeros(len(text.lengths), np.uint64))
    assert ItemIds(["a", "b"]).rows(["b", "a", "c"]).tolist() == [1, 0, UNKNOWN]


@any_fixture
@given(st.lists(IDS, min_size=1, max_size=40, unique=True), st.lists(IDS, max_size=10), st.randoms())
def test_lookups_agree_with_a_list(known: list[str], others: list[str], random: object) -> None:
    ids = ItemIds(known)
    asked = [*known, *others]
    random.shuffle(asked)  # type: ignore[attr-defined]
    lists = [asked, [], known, asked[::-1]]
    for part, (rows, unknown) in zip(lists, ids.known(lists), strict=True):
        assert rows.tolist() == [known.index(each) for each in part if each in known]
        assert list(unknown) == [each for each in part if each not in known]
    assert ids.rows(asked).tolist() == [known.index(each) if each in known else UNKNOWN for each in asked]
    assert ids.of(range(len(known))) == known
    (listed,) = ids.listed([np.arange(len(known))])
    assert listed.encoded_ids == Ranking(item_ids=known).SerializeToString()
