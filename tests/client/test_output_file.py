"""Files of rankings."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule import Failure, NotFoundError, Ranking, RankingPath
from bascule.cli.output_file import COLUMNS, OUTPUT_FORMATS, ranking_row

RANKING = Ranking(["a", "b"], np.array([2, 0.5], np.float32), RankingPath.COLD)
ERROR = NotFoundError(Failure(StatusCode.NOT_FOUND, "no"))


def written(path: Path, *lists: list[dict[str, Any]]) -> Path:
    """A file of parts of these rows."""
    output_format = OUTPUT_FORMATS[path.suffix]
    parts = [path.with_name(f"{number}.part") for number, _ in enumerate(lists)]
    for part, rows in zip(parts, lists, strict=True):
        output_format.write_part(part, rows)
    output_format.join(parts, path)
    return path


def row(number: int) -> dict[str, Any]:
    return ranking_row(str(number), ERROR if number == 1 else RANKING)


def in_threes(numbers: range) -> list[range]:
    return [numbers[start : start + 3] for start in range(0, len(numbers), 3)]


def test_csv_joins_what_is_a_list(tmp_path: Path) -> None:
    text = written(tmp_path / "out.csv", [row(0)], [row(1)]).read_text()
    assert text == "user_id,item_ids,scores,path\n0,a|b,2.0|0.5,cold\n1,,,\n"


def test_json_lines_hold_lists(tmp_path: Path) -> None:
    first, second = written(tmp_path / "out.jsonl", [row(0)], [row(1)]).read_text().splitlines()
    assert first == '{"user_id": "0", "item_ids": ["a", "b"], "scores": [2.0, 0.5], "path": "cold"}'
    assert second == '{"user_id": "1", "item_ids": null, "scores": null, "path": null}'


@pytest.mark.parametrize("row_count", [0, 1, 2, 3, 7])
def test_parquet_holds_every_row_in_order_however_many_parts_it_took(tmp_path: Path, row_count: int) -> None:
    parts = [[row(number) for number in numbers] for numbers in in_threes(range(row_count))]
    table = pl.read_parquet(written(tmp_path / "out.parquet", *(parts or [[]])))
    assert table.schema == {
        "user_id": pl.String,
        "item_ids": pl.List(pl.String),
        "scores": pl.List(pl.Float32),
        "path": pl.String,
    }
    assert table["user_id"].to_list() == [str(number) for number in range(row_count)]
    assert table["item_ids"].to_list() == [None if number == 1 else ["a", "b"] for number in range(row_count)]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.none() | st.lists(st.text("ab\N{ROCKET}", max_size=3), max_size=4), max_size=9))
def test_parquet_holds_lists_of_any_length(tmp_path: Path, lists: list[list[str] | None]) -> None:
    path = tmp_path / "out.parquet"
    scores = [None if each is None else [float(len(text)) for text in each] for each in lists]
    rows = [
        {"user_id": "u", "item_ids": each, "scores": values, "path": None}
        for each, values in zip(lists, scores, strict=True)
    ]
    written(path, rows)
    table = pl.read_parquet(path)
    assert table["item_ids"].to_list() == lists
    assert table["scores"].to_list() == scores


def test_a_row_has_every_column() -> None:
    assert tuple(ranking_row("1", RANKING)) == tuple(ranking_row("1", ERROR)) == COLUMNS
