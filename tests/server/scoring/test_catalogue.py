"""Ids lead to rows and back, and a filter lets through the items that its words describe."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.artifact_pb2 import AttributeKind, Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.messages.encoding import encode_feature_value
from bascule_server.scoring import catalogue
from bascule_server.scoring.catalogue import Catalogue, read_catalogue
from bascule_server.scoring.columns import Categories, Numbers, column_of, microseconds_of, moment_of
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.query import AnyOf, Filter, InRange, NoneOf

MOMENT, MICROSECOND = datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), timedelta(microseconds=1)
"""One microsecond before what is counted from."""

POPULARITY = np.array([0.4, 0.3, 0.2, 0.1], np.float32)

CATALOGUE = Catalogue(
    ItemIds(["a", "b", "c", "d"]),
    POPULARITY,
    {
        "title": Categories([("A",), ("B",), ("A",), ()], multi_valued=False),
        "genres": Categories([("new", "sad"), ("old",), (), ("sad",)], multi_valued=True),
        "year": Numbers(np.array([1990, 2000, np.nan, 2010])),
        "released": column_of(pl.Series([MOMENT, None, MOMENT + MICROSECOND, None]), AttributeKind.ATTRIBUTE_KIND_TIME),
    },
)

MANIFEST = Manifest(item_count=3)
MANIFEST.attributes.add(name="title", kind=AttributeKind.ATTRIBUTE_KIND_CATEGORICAL)
MANIFEST.attributes.add(name="genres", kind=AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED)
MANIFEST.attributes.add(name="year", kind=AttributeKind.ATTRIBUTE_KIND_NUMERIC)

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "popularity": [6, 3, 1],
        "title": ["A", None, "C"],
        "genres": [["sad", "new"], None, []],
        "year": [1990, 2000, None],
    }
)


def passed(*filters: Filter) -> list[str]:
    allowed = CATALOGUE.allowed(filters)
    assert allowed is not None
    return CATALOGUE.item_ids.of(allowed.rows.tolist())


def read(folder: Path, items: pl.DataFrame) -> Catalogue:
    items.write_parquet(folder / file_names.ITEMS)
    return read_catalogue(folder, MANIFEST)


def test_an_id_has_its_row_and_an_unknown_one_has_none() -> None:
    assert [CATALOGUE.row(item_id) for item_id in ("a", "d", "x", "")] == [0, 3, None, None]
    assert len(CATALOGUE) == 4


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "x", "y", ""])))
def test_rows_keep_their_order_and_unknown_ids_theirs(item_ids: list[str]) -> None:
    ((rows, unknown),) = CATALOGUE.known([item_ids])
    assert rows.tolist() == CATALOGUE.rows(item_ids).tolist()
    assert CATALOGUE.item_ids.of(rows.tolist()) == [each for each in item_ids if each in "abcd" and each]
    assert list(unknown) == [each for each in item_ids if each not in ("a", "b", "c", "d")]
    assert rows.dtype == np.int64


def test_filters_are_compiled_once_and_those_asked_for_last_are_kept_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    years = [(InRange("year", 0, 3_000 + number),) for number in range(4)]
    # Of 4 items a set takes 4 bytes, and 16 for what is added to scores.
    monkeypatch.setattr(catalogue, "MAX_FILTER_BYTES", 60)
    small = Catalogue(CATALOGUE.item_ids, POPULARITY, {"year": CATALOGUE.column("year")})
    first, second = small.allowed(years[0]), small.allowed(years[1])
    assert small.allowed(years[0]) is first
    small.allowed(years[2])
    small.allowed(years[3])
    assert small.allowed(years[0]) is first
    assert small.allowed(years[1]) is not second


def test_a_set_of_filters_that_is_too_large_to_be_kept_holds_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "MAX_FILTER_BYTES", 10)
    small = Catalogue(CATALOGUE.item_ids, POPULARITY, {"year": CATALOGUE.column("year")})
    for _ in range(2):
        allowed = small.allowed((InRange("year", 1990, 2000),))
        assert allowed is not None
        assert allowed.rows.tolist() == [0, 1]


def test_any_of_lets_through_items_with_one_of_the_values() -> None:
    assert passed(AnyOf("title", frozenset({"A"}))) == ["a", "c"]
    assert passed(AnyOf("genres", frozenset({"sad", "old"}))) == ["a", "b", "d"]
    assert passed(AnyOf("genres", frozenset({"unheard"}))) == []


def test_none_of_lets_through_items_without_the_values_and_those_without_any() -> None:
    assert passed(NoneOf("title", frozenset({"A"}))) == ["b", "d"]
    assert passed(NoneOf("genres", frozenset({"sad"}))) == ["b", "c"]
    assert passed(NoneOf("genres", frozenset({"unheard"}))) == ["a", "b", "c", "d"]


def test_a_range_holds_its_ends_and_nothing_without_a_number() -> None:
    assert passed(InRange("year", 1990, 2000)) == ["a", "b"]
    assert passed(InRange("year", 1991, 1999)) == []
    assert passed(InRange("year", -np.inf, np.inf)) == ["a", "b", "d"]


def test_a_range_of_moments_holds_its_ends_and_nothing_without_a_moment() -> None:
    assert passed(InRange("released", -1, 0)) == ["a", "c"]
    assert passed(InRange("released", -np.inf, -1)) == ["a"]
    assert passed(InRange("released", 0, np.inf)) == ["c"]
    assert passed(InRange("released", 1, np.inf)) == []


@given(st.datetimes(timezones=st.just(UTC)), st.integers(-3, 3))
def test_moments_are_told_apart_to_the_microsecond(moment: datetime, away: int) -> None:
    microseconds = microseconds_of(moment)
    assert moment_of(microseconds) == moment
    column = column_of(pl.Series([moment]), AttributeKind.ATTRIBUTE_KIND_TIME)
    assert column.value(0) == moment
    assert column.mask(InRange("", microseconds + away, microseconds + away)).tolist() == [away == 0]


def test_an_item_must_satisfy_every_filter() -> None:
    assert passed(AnyOf("genres", frozenset({"sad"})), InRange("year", 2000, np.inf)) == ["d"]


def test_no_filter_restricts_nothing() -> None:
    assert CATALOGUE.allowed(()) is None


def test_a_filter_on_an_attribute_of_another_kind_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="expected InRange"):
        CATALOGUE.allowed((AnyOf("year", frozenset({"1990"})),))
    with pytest.raises(TypeError, match="expected AnyOf or NoneOf"):
        CATALOGUE.allowed((InRange("title", 0, 1),))


@given(
    st.lists(st.lists(st.sampled_from("pqrs"), max_size=4).map(tuple), min_size=1, max_size=6),
    st.frozensets(st.sampled_from("pqrsx"), max_size=3),
)
def test_categories_are_filtered_by_what_each_item_has(items: list[tuple[str, ...]], values: frozenset[str]) -> None:
    column = Categories(items, multi_valued=True)
    assert column.mask(AnyOf("", values)).tolist() == [bool(values & set(item)) for item in items]
    assert column.mask(NoneOf("", values)).tolist() == [not values & set(item) for item in items]
    assert [column.value(row) for row in range(len(items))] == [item or None for item in items]


def test_the_attributes_of_an_item_lack_what_it_has_not() -> None:
    assert CATALOGUE.attributes([3, 0, 2], ["title", "genres", "year", "released"]) == [
        {"genres": ("sad",), "year": 2010.0},
        {"title": "A", "genres": ("new", "sad"), "year": 1990.0, "released": MOMENT},
        {"title": "A", "released": MOMENT + MICROSECOND},
    ]


def test_a_catalogue_is_read_as_it_was_written(tmp_path: Path) -> None:
    catalogue = read(tmp_path, ITEMS)
    assert catalogue.item_ids.of(range(3)) == ["a", "b", "c"]
    assert catalogue.popularity_of(np.arange(3)).tolist() == np.array([0.6, 0.3, 0.1], np.float32).tolist()
    assert catalogue.attributes(range(3), ["title", "genres", "year"]) == [
        {"title": "A", "genres": ("sad", "new"), "year": 1990.0},
        {"year": 2000.0},
        {"title": "C"},
    ]


def test_absent_values_within_a_list_are_left_out(tmp_path: Path) -> None:
    genres = pl.Series("genres", [[None, "new"], [None], ["sad"]])
    catalogue = read(tmp_path, ITEMS.with_columns(genres))
    assert catalogue.attributes(range(3), ["genres"]) == [{"genres": ("new",)}, {}, {"genres": ("sad",)}]


def test_without_interactions_every_item_is_equally_unpopular(tmp_path: Path) -> None:
    assert read(tmp_path, ITEMS.with_columns(popularity=pl.lit(0))).popularity_of(np.arange(3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("items", "complaint"),
    [
        (ITEMS.head(2), "expected 3 item ids; got 2"),
        (ITEMS.with_columns(item_id=pl.lit("a")), "expected 3 distinct ids; got 1"),
        (ITEMS.with_columns(item_id=pl.Series(["a", None, "b"])), "expected 3 item ids; got 2"),
        (ITEMS.drop("year"), "year"),
        (ITEMS.with_columns(year=pl.lit("late")), "late"),
        (ITEMS.drop("popularity"), "popularity"),
    ],
)
def test_items_that_the_manifest_does_not_describe_are_refused(
    tmp_path: Path, items: pl.DataFrame, complaint: str
) -> None:
    with pytest.raises(ArtifactError, match=complaint):
        read(tmp_path, items)


def test_a_file_that_is_no_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / file_names.ITEMS).write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=file_names.ITEMS):
        read_catalogue(tmp_path, MANIFEST)
    with pytest.raises(ArtifactError, match=file_names.ITEMS):
        read_catalogue(tmp_path / "elsewhere", MANIFEST)


FAR = pl.Series([1 << 62] * 3)
HOSTILE = {
    "numbers": FAR,
    "milliseconds": FAR.cast(pl.Datetime("ms")),
    "microseconds": FAR.cast(pl.Datetime("us", "UTC")),
    "structures": pl.Series([{"a": 1}] * 3),
    "lists": pl.Series([[1], None, [2, 3]]),
    "lists of lists": pl.Series([[["a"]], None, []]),
    "nothing": pl.Series([None] * 3),
    "bytes": pl.Series([b"\xff"] * 3),
    "truths": pl.Series([True, False, None]),
}
OF_ALL_KINDS = Manifest(item_count=3, attributes=MANIFEST.attributes)
OF_ALL_KINDS.attributes.add(name="released", kind=AttributeKind.ATTRIBUTE_KIND_TIME)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("column", [*ITEMS.columns, "released"])
def test_whatever_a_column_holds_it_is_read_and_can_be_shown_or_refused(tmp_path: Path, column: str, kind: str) -> None:
    items = ITEMS.with_columns(released=pl.Series([MOMENT] * 3)).with_columns(HOSTILE[kind].alias(column))
    items.write_parquet(tmp_path / file_names.ITEMS)
    try:
        found = read_catalogue(tmp_path, OF_ALL_KINDS)
    except ArtifactError:
        return
    names = [attribute.name for attribute in OF_ALL_KINDS.attributes]
    for values in found.attributes(range(3), names):
        assert {name: encode_feature_value(value) for name, value in values.items()}
