"""Files of users, and the queries that their rows ask."""

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule import Query, ValueKind
from bascule.cli import input_rows
from bascule.cli.input_rows import InputError, format_of
from bascule.cli.row_query import query_of

FEATURES = {"age": ValueKind.NUMBER, "country": ValueKind.CATEGORY, "tags": ValueKind.CATEGORIES}

names = st.text("abcé\"',; ", min_size=1, max_size=5).filter(str.strip)
rows = st.lists(
    st.fixed_dictionaries(
        {"user_id": names, "history": st.lists(names, max_size=3), "age": st.none() | st.integers(0, 99)}
    ),
    min_size=1,
    max_size=5,
)


def write_csv(path: Path, table: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0].keys())
        writer.writeheader()
        for row in table:
            writer.writerow({**row, "history": "|".join(row["history"])})


def write_jsonl(path: Path, table: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in table))


def write_parquet(path: Path, table: list[dict[str, Any]]) -> None:
    schema = [("user_id", pl.String()), ("history", pl.List(pl.String)), ("age", pl.Int64())]
    pl.DataFrame(table, schema).write_parquet(path)


WRITERS = {".csv": write_csv, ".jsonl": write_jsonl, ".parquet": write_parquet}


@pytest.mark.parametrize("suffix", WRITERS)
@given(table=rows)
@settings(max_examples=25)
def test_the_same_rows_ask_the_same_in_every_format(
    suffix: str, table: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / f"users{suffix}"
    WRITERS[suffix](path, table)
    asked = [query_of(row, FEATURES) for row in format_of(path).read_rows(path)]
    assert asked == [
        Query(row["user_id"], tuple(row["history"]), {} if row["age"] is None else {"age": float(row["age"])})
        for row in table
    ]
    assert sorted(format_of(path).column_names(path)) == ["age", "history", "user_id"]
    assert format_of(path).count_rows(path) == len(table)


def test_parquet_is_read_by_slices_without_losing_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_rows, "SLICE_ROWS", 3)
    path = tmp_path / "users.parquet"
    pl.DataFrame({"user_id": range(10)}).write_parquet(path)
    assert [row["user_id"] for row in format_of(path).read_rows(path)] == list(range(10))


@pytest.mark.parametrize(
    ("row", "query"),
    [
        ({"user_id": 42}, Query("42")),
        ({"user_id": None, "history": ["a", None, 3]}, Query(history=("a", "3"))),
        (
            {"user_id": "1", "age": "31", "country": "", "tags": "x|y"},
            Query("1", features={"age": 31.0, "tags": ("x", "y")}),
        ),
        ({"user_id": "1", "country": 49, "height": 180}, Query("1", features={"country": "49"})),
    ],
)
def test_a_row_asks_its_query(row: dict[str, Any], query: Query) -> None:
    assert query_of(row, FEATURES) == query


def test_a_number_that_is_none_goes_to_the_server_as_it_is() -> None:
    assert query_of({"user_id": "1", "age": "old"}, FEATURES).features == {"age": "old"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("users.csv", b"user_id,age\n1,2\n3\n", "line 3: more or fewer cells than the 2 columns"),
        ("users.csv", b"user_id\n1,2\n", "line 2: more or fewer cells than the 1 columns"),
        ("users.csv", b"user_id\n\xff\n", "not readable as CSV: .*utf-8"),
        ("users.jsonl", b'{"user_id": "1"}\n{"user_id"\n', "line 2: not JSON"),
        ("users.jsonl", b"[1]\n", "line 1: expected a JSON object; got list"),
        ("users.parquet", b"PAR?", "not readable as Parquet"),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_named(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{message}"):
        _ = format_of(path).column_names(path), list(format_of(path).read_rows(path))


def test_a_suffix_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"users\.xlsx: expected a file that ends in \.parquet, \.csv, \.jsonl"):
        format_of(Path("users.xlsx"))


def test_empty_lines_of_json_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_text('\n{"user_id": "1"}\n\n')
    assert list(format_of(path).read_rows(path)) == [{"user_id": "1"}]
