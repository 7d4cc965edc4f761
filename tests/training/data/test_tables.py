from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bascule_training.data.tables import (
    DataError,
    InteractionColumns,
    fingerprint,
    read_interactions,
    read_items,
    read_users,
    split_multi_valued,
    unix_seconds,
)

RATED = InteractionColumns(value="rating")
TIMELESS = InteractionColumns(time=None)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def log_file(folder: Path, *rows: str, header: str = "user_id,item_id,time") -> Path:
    return written(folder / "log.csv", "\n".join([header, *rows]) + "\n")


def error_of(path: Path, columns: InteractionColumns = InteractionColumns()) -> str:  # noqa: B008
    with pytest.raises(DataError) as caught:
        read_interactions(path, columns)
    return str(caught.value)


def canonical(*rows: tuple[str, str, int]) -> pl.DataFrame:
    schema = {"user_id": pl.String, "item_id": pl.String, "time": pl.Int64}
    return pl.DataFrame(rows, schema, orient="row")


def test_interactions_come_in_time_order_and_ties_in_file_order(tmp_path: Path) -> None:
    frame = read_interactions(log_file(tmp_path, "a,x,20", "b,y,10", "a,z,20", "b,x,5"))
    assert frame.columns == ["user_id", "item_id", "time"]
    assert frame.dtypes == [pl.Categorical, pl.Categorical, pl.Int64]
    assert frame.rows() == [("b", "x", 5), ("b", "y", 10), ("a", "x", 20), ("a", "z", 20)]


def test_tsv_and_parquet_give_what_csv_gives(tmp_path: Path) -> None:
    from_csv = read_interactions(log_file(tmp_path, "a,x,2", "b,y,1"))
    tsv = written(tmp_path / "log.tsv", "user_id\titem_id\ttime\na\tx\t2\nb\ty\t1\n")
    parquet = tmp_path / "log.parquet"
    pl.read_csv(tmp_path / "log.csv").write_parquet(parquet)
    assert read_interactions(tsv).equals(from_csv)
    assert read_interactions(parquet).equals(from_csv)


def test_a_quotation_mark_in_tsv_is_a_character_like_any_other(tmp_path: Path) -> None:
    items = read_items(written(tmp_path / "items.tsv", 'item_id\ttitle\na\t"Boot" Das\nb\tNo "end\n'))
    assert items["title"].to_list() == ['"Boot" Das', 'No "end']


def test_an_empty_name_of_a_column_means_that_there_is_none() -> None:
    assert InteractionColumns(time="", value="") == InteractionColumns(time=None, value=None)


def test_columns_are_found_by_the_names_given(tmp_path: Path) -> None:
    path = log_file(tmp_path, "9,x,a,4.5", header="at,what,who,stars")
    columns = InteractionColumns(user="who", item="what", time="at", value="stars")
    frame = read_interactions(path, columns)
    assert frame.to_dicts() == [{"user_id": "a", "item_id": "x", "time": 9, "value": 4.5}]


def test_ids_in_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    frame = read_interactions(log_file(tmp_path, "007,1.0,1"))
    assert frame.row(0)[:2] == ("007", "1.0")


def test_integer_and_categorical_ids_become_strings(tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    items = pl.Series(["x", "y"], dtype=pl.Categorical)
    pl.DataFrame({"user_id": [7, 8], "item_id": items, "time": [1, 2]}).write_parquet(path)
    assert read_interactions(path).rows() == [("7", "x", 1), ("8", "y", 2)]


def test_data_without_time_has_null_times_and_file_order(tmp_path: Path) -> None:
    frame = read_interactions(log_file(tmp_path, "b,y", "a,x", header="user_id,item_id"), TIMELESS)
    assert frame.schema["time"] == pl.Int64
    assert frame.rows() == [("b", "y", None), ("a", "x", None)]


def test_a_least_value_keeps_the_liked_ones_alone(tmp_path: Path) -> None:
    path = log_file(tmp_path, "a,x,1,3", "a,y,2,4", "a,z,3,5", header="user_id,item_id,time,rating")
    assert read_interactions(path, RATED, min_value=4)["item_id"].to_list() == ["y", "z"]
    with pytest.raises(DataError, match=r"column 'rating' has no value of 6 or more"):
        read_interactions(path, RATED, min_value=6)
    with pytest.raises(DataError, match="no column of values is named"):
        read_interactions(path, min_value=4)


def test_repeats_are_kept_unless_the_first_alone_is_asked_for(tmp_path: Path) -> None:
    path = log_file(tmp_path, "a,x,3", "a,x,1", "a,y,2")
    assert read_interactions(path)["time"].to_list() == [1, 2, 3]
    assert read_interactions(path, deduplicate=True).rows() == [("a", "x", 1), ("a", "y", 2)]


@pytest.mark.parametrize(
    ("cell", "seconds"),
    [
        ("86400", 86_400),
        ("-1", -1),
        ("1970-01-02", 86_400),
        ("1970-01-01T00:00:01", 1),
        ("1970-01-01 00:00:01.9", 1),
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_times_are_unix_seconds_or_iso_8601(tmp_path: Path, cell: str, seconds: int) -> None:
    assert read_interactions(log_file(tmp_path, f"a,x,{cell}"))["time"].to_list() == [seconds]


@pytest.mark.parametrize(
    "times",
    [
        pl.Series([date(1970, 1, 2)]),
        pl.Series([datetime(1970, 1, 2)]),
        pl.Series([datetime(1970, 1, 2, tzinfo=UTC)]),
        pl.Series([datetime(1970, 1, 2)], dtype=pl.Datetime("ns")),
        pl.Series([86_400], dtype=pl.UInt32),
    ],
    ids=lambda series: str(series.dtype),
)
def test_times_in_parquet_are_integers_dates_or_datetimes(tmp_path: Path, times: pl.Series) -> None:
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": ["a"], "item_id": ["x"], "time": times}).write_parquet(path)
    assert read_interactions(path)["time"].to_list() == [86_400]


@given(st.datetimes(timezones=st.just(UTC), min_value=datetime(1900, 1, 1)))
def test_a_moment_is_the_same_as_datetime_text_and_number(moment: datetime) -> None:
    seconds = unix_seconds(moment)
    assert unix_seconds(moment.isoformat()) == unix_seconds(str(seconds)) == seconds
    assert seconds <= moment.timestamp() < seconds + 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,x,soon", "column 'time': row 2: got 'soon'; expected whole unix seconds"),
        ("a,x,1.5", "column 'time': row 2: got '1.5'; expected whole unix seconds"),
        ("a,x,", "column 'time': row 2: got an empty cell; expected whole unix seconds"),
        ("a,x,1700000000000", "column 'time': row 2: got '1700000000000'; expected whole unix seconds of the years"),
        (",x,1", "column 'user_id': row 2: the id is empty"),
        ('a,"",1', "column 'item_id': row 2: the id is empty"),
    ],
)
def test_a_bad_cell_is_named_by_file_column_and_row(tmp_path: Path, row: str, message: str) -> None:
    path = log_file(tmp_path, "a,x,1", row, "a,y,later")
    assert f"{path}: {message}" in error_of(path)


FAR = {
    "days": pl.Series([19_000, 2**31 - 1], dtype=pl.Int32).cast(pl.Date),
    "ms": pl.Series([0, 2**63 - 1]).cast(pl.Datetime("ms")),
    "us": pl.Series([0, -(2**63)]).cast(pl.Datetime("us", "UTC")),
    "year 10000": pl.Series([0, 253_402_300_800_000]).cast(pl.Datetime("ms")),
    # The last hour of the year 9999 in UTC is in the year 10000 in Tokyo.
    "zone": pl.Series([0, 253_402_300_799_000]).cast(pl.Datetime("ms", "Asia/Tokyo")),
}
"""Dates in the second row that Python does not have, and what shows a cell of which ends the process or the run."""


@pytest.mark.parametrize("dates", FAR.values(), ids=FAR)
def test_a_date_of_no_calendar_is_named_wherever_it_is(tmp_path: Path, dates: pl.Series) -> None:
    path = tmp_path / "table.parquet"
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "time": dates}).write_parquet(path)
    for read in (read_interactions, read_users, read_items):
        with pytest.raises(DataError, match=r"column 'time': row 2: got a date -?[0-9,]+ (days|ms|us) after 1970; exp"):
            read(path)


def test_the_first_and_the_last_moment_of_the_calendar_are_read(tmp_path: Path) -> None:
    ends = pl.Series([datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)])
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": ["a", "b"], "item_id": ["x", "y"], "time": ends}).write_parquet(path)
    assert read_interactions(path)["time"].to_list() == [-62_135_596_800, 253_402_300_799]


def test_a_number_of_seconds_beyond_64_bits_is_named(tmp_path: Path) -> None:
    assert "row 1: got '99999999999999999999'; expected whole" in error_of(log_file(tmp_path, f"a,x,{'9' * 20}"))


def test_the_context_is_read_beside_each_kind_in_its_type(tmp_path: Path) -> None:
    path = log_file(tmp_path, "a,x,2,7,tv|pc,true", "a,y,1,,,", header="user_id,item_id,time,hour,devices,is_new")
    kinds = {"hour": "bucketed", "devices": "multi_valued", "is_new": "categorical"}
    frame = read_interactions(path, context=kinds)
    frame_of_kinds = frame.select(list(kinds))
    assert frame_of_kinds.rows() == [(None, [], None), (7.0, ["tv", "pc"], "true")]
    assert frame_of_kinds.dtypes == [pl.Float64, pl.List(pl.String), pl.String]
    assert fingerprint(frame) == fingerprint(read_interactions(path))


def test_a_context_that_is_not_there_is_an_error_or_without_values(tmp_path: Path) -> None:
    path = log_file(tmp_path, "a,x,1,tv", header="user_id,item_id,time,device")
    with pytest.raises(DataError, match=r"column 'devices' is missing \(is it 'device'\?\)"):
        read_interactions(path, context={"devices": "categorical"})
    assert read_interactions(path, context={"devices": "text"}, needs_context=False)["devices"].to_list() == [None]
    with pytest.raises(DataError, match="column 'device': holds String; expected numbers, since it is standardised"):
        read_interactions(path, context={"device": "standardised"})
    with pytest.raises(DataError, match="column 'time': holds String; expected numbers"):
        read_interactions(path, context={"time": "bucketed"})


@pytest.mark.parametrize("cell", ["good", "", "nan", "inf"])
def test_a_value_that_is_no_number_is_named(tmp_path: Path, cell: str) -> None:
    path = log_file(tmp_path, f"a,x,1,{cell}", header="user_id,item_id,time,rating")
    assert "column 'rating': row 1: got " in error_of(path, RATED)


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        ("user_id", [1.0], "column 'user_id': holds Float64; expected ids that are strings or integers"),
        ("item_id", [True], "column 'item_id': holds Boolean; expected ids"),
        ("time", [1.5], "column 'time': holds Float64; expected whole unix seconds"),
        ("rating", [["5"]], "column 'rating': holds List(String); expected numbers"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path: Path, column: str, cells: list[object], message: str) -> None:
    path = tmp_path / "log.parquet"
    good: dict[str, list[object]] = {"user_id": ["a"], "item_id": ["x"], "time": [1], "rating": [5]}
    pl.DataFrame({**good, column: cells}).write_parquet(path)
    assert message in error_of(path, RATED)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = log_file(tmp_path, "a,x,1", header="userid,item_id,time")
    assert error_of(path) == (f"{path}: column 'user_id' is missing (is it 'userid'?); there are userid, item_id, time")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert error_of(tmp_path / "log.csv") == f"{tmp_path}/log.csv: there is no such file"


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    assert "got a file of the kind '.json'; expected one of .csv, .tsv, .parquet" in error_of(tmp_path / "log.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "the file is empty; expected a header and rows"),
        ("user_id,item_id,time\n", "there are columns but no rows"),
    ],
)
def test_an_empty_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    assert message in error_of(written(tmp_path / "log.csv", content))


def test_a_file_that_is_not_what_its_suffix_says_is_refused(tmp_path: Path) -> None:
    assert "the file cannot be read" in error_of(written(tmp_path / "log.parquet", "user_id,item_id,time\na,x,1\n"))


def test_a_row_with_too_many_cells_is_refused(tmp_path: Path) -> None:
    assert "the file cannot be read" in error_of(log_file(tmp_path, "a,x,1", "a,x,1,2"))


@pytest.mark.parametrize("wrong", [{"item": "user_id"}, {"usr": "who"}, {"user": ""}])
def test_wrong_names_of_columns_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        InteractionColumns.model_validate(wrong)


def test_users_and_items_keep_their_features_and_order(tmp_path: Path) -> None:
    users = written(tmp_path / "users.csv", "age,id,country\n30,02,DE\n40,01,\n")
    assert read_users(users, "id").to_dicts() == [
        {"user_id": "02", "age": 30, "country": "DE"},
        {"user_id": "01", "age": 40, "country": None},
    ]
    items = tmp_path / "items.parquet"
    pl.DataFrame({"genres": [["War"], []], "item_id": [2, 1]}).write_parquet(items)
    assert read_items(items).to_dicts() == [{"item_id": "2", "genres": ["War"]}, {"item_id": "1", "genres": []}]


def test_a_duplicate_item_is_named_with_both_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "items.csv", "item_id,year\nx,1\ny,2\nx,3\ny,4\n")
    with pytest.raises(DataError) as caught:
        read_items(path)
    assert str(caught.value) == f"{path}: column 'item_id': rows 1 and 3 have the same id 'x'"


def test_a_second_column_that_looks_like_the_ids_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "items.csv", "sku,item_id\nx,1\n")
    with pytest.raises(DataError, match="no other may be called 'item_id'"):
        read_items(path, "sku")


def test_cells_with_several_values_become_lists() -> None:
    frame = pl.DataFrame({"genres": ["Action|War", "Drama", " War | ", "", None]})
    lists = split_multi_valued(frame, "genres")
    assert lists["genres"].to_list() == [["Action", "War"], ["Drama"], ["War"], [], []]
    assert split_multi_valued(lists, "genres").equals(lists)


def test_a_column_without_any_value_becomes_empty_lists() -> None:
    assert split_multi_valued(pl.DataFrame({"genres": [None]}), "genres")["genres"].to_list() == [[]]


def test_splitting_numbers_or_a_missing_column_is_refused() -> None:
    frame = pl.DataFrame({"genres": [1]})
    with pytest.raises(DataError, match="column 'genres' holds Int64; expected strings"):
        split_multi_valued(frame, "genres")
    with pytest.raises(DataError, match=r"column 'genre' is missing \(is it 'genres'\?\)"):
        split_multi_valued(frame, "genre")


def test_a_fingerprint_is_the_same_for_equal_rows_however_they_are_stored() -> None:
    whole = canonical(("a", "x", 1), ("b", "y", 2))
    chunked = pl.concat([whole[:1], whole[1:]], rechunk=False)
    assert fingerprint(whole) == fingerprint(chunked)
    interned = whole.with_columns(pl.col("user_id", "item_id").cast(pl.Categorical))
    assert fingerprint(whole) == fingerprint(interned)
    assert len(fingerprint(whole)) == 64


@pytest.mark.parametrize(
    "other",
    [
        canonical(("b", "y", 2), ("a", "x", 1)),
        canonical(("a", "x", 1)),
        canonical(("a", "x", 1), ("b", "y", 3)),
        canonical(("ab", "x", 1), ("", "y", 2)),
        canonical(("a", "x", 1), ("b", "y", 2)).with_columns(value=pl.lit(1.0)),
        canonical(("a", "x", 1), ("b", "y", 2)).with_columns(time=pl.lit(None, pl.Int64)),
    ],
)
def test_a_fingerprint_differs_where_anything_does(other: pl.DataFrame) -> None:
    assert fingerprint(canonical(("a", "x", 1), ("b", "y", 2))) != fingerprint(other)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.integers(0, 9)), min_size=1, max_size=8))
def test_parquet_gives_back_every_interaction(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    canonical(*rows).write_parquet(path)
    assert read_interactions(path).rows() == sorted(rows, key=lambda row: row[2])
