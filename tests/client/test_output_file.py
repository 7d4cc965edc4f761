"""Files of rankings."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule import Failure, NotFoundError, Ranking, RankingPath
from bascule.cli import output_file
from bascule.cli.output_file import COLUMNS, OUTPUT_FILES, ranking_row

RANKING = Ranking(["a", "b"], np.array([2, 0.5], np.float32), RankingPath.COLD)
ERROR = NotFoundError(Failure(StatusCode.NOT_FOUND, "no"))

suffixes = pytest.mark.parametrize("suffix", OUTPUT_FILES)


def written(path: Path, row_count: int) -> Path:
    with OUTPUT_FILES[path.suffix](path) as file:
        for number in range(row_count):
            file.write(ranking_row(str(number), ERROR if number == 1 else RANKING))
    return path


def test_csv_joins_what_is_a_list(tmp_path: Path) -> None:
    text = written(tmp_path / "out.csv", 2).read_text()
    assert text == "user_id,item_ids,scores,path\n0,a|b,2.0|0.5,cold\n1,,,\n"


def test_json_lines_hold_lists(tmp_path: Path) -> None:
    first, second = written(tmp_path / "out.jsonl", 2).read_text().splitlines()
    assert first == '{"user_id": "0", "item_ids": ["a", "b"], "scores": [2.0, 0.5], "path": "cold"}'
    assert second == '{"user_id": "1", "item_ids": null, "scores": null, "path": null}'


@pytest.mark.parametrize("row_count", [0, 1, 2, 3, 7])
def test_parquet_holds_every_row_in_order_however_many_parts_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row_count: int
) -> None:
    monkeypatch.setattr(output_file, "PART_ROWS", 3)
    table = pl.read_parquet(written(tmp_path / "out.parquet", row_count))
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
    with OUTPUT_FILES[".parquet"](path) as file:
        for each in lists:
            scores = None if each is None else [float(len(text)) for text in each]
            file.write({"user_id": "u", "item_ids": each, "scores": scores, "path": None})
    table = pl.read_parquet(path)
    assert table["item_ids"].to_list() == lists
    assert table["scores"].to_list() == [
        None if each is None else [float(len(text)) for text in each] for each in lists
    ]


@suffixes
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_not_finished_leaves_no_trace(tmp_path: Path, suffix: str, error: type[BaseException]) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("earlier")

    def write_half() -> None:
        with OUTPUT_FILES[suffix](path) as file:
            file.write(ranking_row("1", RANKING))
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


@suffixes
def test_nothing_but_the_file_is_left(tmp_path: Path, suffix: str) -> None:
    path = written(tmp_path / f"out{suffix}", 3)
    assert list(tmp_path.iterdir()) == [path]


def test_a_row_has_every_column() -> None:
    assert tuple(ranking_row("1", RANKING)) == tuple(ranking_row("1", ERROR)) == COLUMNS
