"""Writes a row for each ranking, as Parquet, CSV or JSON lines by the file's suffix.

    user_id, item_ids, scores, path

The last three are empty where there is no ranking. Item ids and scores are lists, and in CSV joined by ``|``.

A file is made of parts, each of some rows and a file of its own kind, and joined without being in memory as a whole.
"""

import csv
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bascule.answers import RankingResult
from bascule.cli.row_query import LIST_SEPARATOR
from bascule.errors import BasculeError

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("user_id", "item_ids", "scores", "path")

OutputRow: TypeAlias = Mapping[str, Any]


def ranking_row(user_id: str, result: RankingResult) -> dict[str, Any]:
    """The row for what became of a query."""
    if isinstance(result, BasculeError):
        return dict.fromkeys(COLUMNS) | {"user_id": user_id}
    scores = result.scores.tolist()
    return {"user_id": user_id, "item_ids": result.item_ids, "scores": scores, "path": str(result.path)}


@dataclass(frozen=True)
class OutputFormat:
    """How to write one kind of file."""

    write_part: Callable[[Path, Sequence[OutputRow]], None]
    """Writes some of the rows, or none."""
    join: Callable[[Sequence[Path], Path], None]
    """Writes the file of all the rows: those of one part or more, in their order."""


def _write_csv(path: Path, rows: Sequence[OutputRow]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(map(_cell, row.values()) for row in rows)


def _cell(value: object) -> object:
    return LIST_SEPARATOR.join(map(str, value)) if isinstance(value, list) else value


def _join_csv(parts: Sequence[Path], whole: Path) -> None:
    _join_text(parts, whole, ",".join(COLUMNS) + "\n")


def write_json_lines(path: Path, rows: Sequence[OutputRow]) -> None:
    """Writes an object a line."""
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def join_json_lines(parts: Sequence[Path], whole: Path) -> None:
    """Writes the lines of the parts, in their order."""
    _join_text(parts, whole, "")


def _join_text(parts: Sequence[Path], whole: Path, header: str) -> None:
    with whole.open("wb") as file:
        file.write(header.encode())
        for part in parts:
            with part.open("rb") as lines:
                shutil.copyfileobj(lines, file)


def _write_parquet(path: Path, rows: Sequence[OutputRow]) -> None:
    import polars as pl

    columns = {name: [row[name] for row in rows] for name in COLUMNS}
    pl.DataFrame(
        [
            pl.Series("user_id", columns["user_id"], pl.String()),
            _lists("item_ids", columns["item_ids"], pl.String()),
            _lists("scores", columns["scores"], pl.Float32()),
            pl.Series("path", columns["path"], pl.String()),
        ]
    ).write_parquet(path)


def _lists(name: str, rows: "Sequence[list[Any] | None]", kind: "pl.DataType") -> "pl.Series":
    """A column of lists, or of null. The values are handed over as one column: list by list takes ten times as long."""
    import numpy as np
    import polars as pl

    values = pl.Series(name, [value for row in rows if row is not None for value in row], kind)
    place = np.arange(len(rows))
    of_row = pl.DataFrame({"row": np.repeat(place, [len(row or ()) for row in rows]), name: values})
    lists = of_row.group_by("row", maintain_order=True).agg(name)
    empty = pl.lit([], pl.List(kind))
    all_rows = pl.DataFrame({"row": place, "is_null": pl.Series([row is None for row in rows], dtype=pl.Boolean())})
    joined = all_rows.join(lists, on="row", how="left", maintain_order="left")
    found = pl.when("is_null").then(None).otherwise(pl.coalesce(name, empty)).alias(name)
    return joined.select(found).to_series()


def _join_parquet(parts: Sequence[Path], whole: Path) -> None:
    import polars as pl

    pl.scan_parquet(list(parts)).sink_parquet(whole)


OUTPUT_FORMATS = {
    ".parquet": OutputFormat(_write_parquet, _join_parquet),
    ".csv": OutputFormat(_write_csv, _join_csv),
    ".jsonl": OutputFormat(write_json_lines, join_json_lines),
}
"""By the file's suffix."""
