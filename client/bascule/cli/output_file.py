"""Writes one row for each ranking, as Parquet, CSV or JSON lines by the file's suffix.

    user_id, item_ids, scores, path

The last three are empty where there is no ranking. Item ids and scores are lists, and in CSV joined by ``|``.

A file is written beside its final place and moved there when it is complete: whoever looks sees all of it or nothing.
"""

import csv
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from bascule.answers import RankingResult
from bascule.cli.row_query import LIST_SEPARATOR
from bascule.errors import BasculeError

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("user_id", "item_ids", "scores", "path")

PART_ROWS = 32_768
"""Rows of a Parquet file that are in memory at once."""


def ranking_row(user_id: str, result: RankingResult) -> dict[str, Any]:
    """The row for what became of a query."""
    if isinstance(result, BasculeError):
        return dict.fromkeys(COLUMNS) | {"user_id": user_id}
    scores = result.scores.tolist()
    return {"user_id": user_id, "item_ids": result.item_ids, "scores": scores, "path": str(result.path)}


class OutputFile(ABC):
    """A context manager that puts the file into its place at the end, or removes every trace after an exception."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))

    @abstractmethod
    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""

    @abstractmethod
    def _finish(self) -> Path:
        """Completes the file, and says where in the scratch folder it is."""

    @abstractmethod
    def _close(self) -> None:
        """Lets go of what is open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish().replace(self.path)
        finally:
            self._close()
            shutil.rmtree(self._scratch)


class TextFile(OutputFile):
    """A line for each row."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = (self._scratch / path.name).open("w", encoding="utf-8", newline="")

    def _finish(self) -> Path:
        self._close()
        return self._scratch / self.path.name

    def _close(self) -> None:
        self._file.close()


class CsvFile(TextFile):
    """A header, then a line for each row."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._rows = csv.DictWriter(self._file, COLUMNS, lineterminator="\n")
        self._rows.writeheader()

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        self._rows.writerow({name: _cell(value) for name, value in row.items()})


class JsonLinesFile(TextFile):
    """A JSON object for each row."""

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        self._file.write(json.dumps(row, ensure_ascii=False) + "\n")


class ParquetFile(OutputFile):
    """Files of some rows each, joined at the end without being in memory together."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._rows: list[Mapping[str, Any]] = []
        self._part_count = 0

    def write(self, row: Mapping[str, Any]) -> None:
        """Adds a row."""
        self._rows.append(row)
        if len(self._rows) == PART_ROWS:
            self._write_part()

    def _write_part(self) -> None:
        import polars as pl

        part = self._scratch / f"{self._part_count:08}.parquet"
        columns = {name: [row[name] for row in self._rows] for name in COLUMNS}
        pl.DataFrame(
            [
                pl.Series("user_id", columns["user_id"], pl.String()),
                _lists("item_ids", columns["item_ids"], pl.String()),
                _lists("scores", columns["scores"], pl.Float32()),
                pl.Series("path", columns["path"], pl.String()),
            ]
        ).write_parquet(part)
        self._part_count += 1
        self._rows.clear()

    def _finish(self) -> Path:
        import polars as pl

        if self._rows or not self._part_count:
            self._write_part()
        whole = self._scratch / "whole"
        pl.scan_parquet(sorted(self._scratch.glob("*.parquet"))).sink_parquet(whole)
        return whole

    def _close(self) -> None:
        self._rows.clear()


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


OUTPUT_FILES: dict[str, Callable[[Path], OutputFile]] = {
    ".parquet": ParquetFile,
    ".csv": CsvFile,
    ".jsonl": JsonLinesFile,
}
"""What writes a file, by its suffix."""


def _cell(value: object) -> object:
    return LIST_SEPARATOR.join(map(str, value)) if isinstance(value, list) else value
