"""Reads a file of users to score, a slice at a time.

    users.parquet   columns; a history and other lists are list columns
    users.csv       a header; the values of a list stand in one cell, separated by |
    users.jsonl     an object a line; lists are arrays

The column ``user_id`` must be there; ``history`` may be, and any of the features that the model declares.
"""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

SLICE_ROWS = 65_536
"""Rows of a Parquet file that are in memory at once. For each slice the row groups that it touches are read anew, and
these are often as large."""

Row: TypeAlias = Mapping[str, Any]


class InputError(Exception):
    """The file cannot be read as what its name says: one sentence that names it."""


@dataclass(frozen=True)
class Format:
    """How to read one kind of file. Each function raises InputError where the file is not of that kind, or OSError."""

    read_rows: Callable[[Path], Iterator[Row]]
    """The rows, from the first to the last. A value that is not there is None."""
    column_names: Callable[[Path], list[str]]
    """The names of the columns; of JSON lines, those of the first one."""
    count_rows: Callable[[Path], int]
    """How many rows there are; of text about so many, by its lines."""


def format_of(path: Path) -> Format:
    """The format that the file's suffix names.

    Raises:
        InputError: It names none that there is.
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_parquet(path: Path) -> Iterator[Row]:
    import polars as pl

    frame = pl.scan_parquet(path)
    try:
        for start in range(0, _count_parquet(path), SLICE_ROWS):
            yield from frame.slice(start, SLICE_ROWS).collect().iter_rows(named=True)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, "Parquet", error) from error


def _parquet_columns(path: Path) -> list[str]:
    import polars as pl

    try:
        return list(pl.read_parquet_schema(path))
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, "Parquet", error) from error


def _count_parquet(path: Path) -> int:
    import polars as pl

    count: int = pl.scan_parquet(path).select(pl.len()).collect().item()
    return count


def _read_csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        try:
            for row in rows:
                if None in row or None in row.values():
                    expected = len(rows.fieldnames or ())
                    raise InputError(f"{path}, line {rows.line_num}: more or fewer cells than the {expected} columns")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            raise _unreadable(path, "CSV", error) from error


def _csv_columns(path: Path) -> list[str]:
    with path.open(encoding="utf-8", newline="") as file:
        try:
            return list(csv.DictReader(file).fieldnames or ())
        except (csv.Error, UnicodeDecodeError) as error:
            raise _unreadable(path, "CSV", error) from error


def _read_json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _json_object(path, number, line)


def _json_object(path: Path, number: int, line: bytes) -> Row:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}, line {number}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {number}: expected a JSON object; got {type(row).__name__}")
    return row


def _json_columns(path: Path) -> list[str]:
    return list(next(_read_json_lines(path), ()))


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


def _count_data_lines(path: Path) -> int:
    return max(_count_lines(path) - 1, 0)


def _unreadable(path: Path, kind: str, error: Exception) -> InputError:
    first_line = str(error).partition("\n")[0]
    return InputError(f"{path}: not readable as {kind}: {first_line}")


FORMATS = {
    ".parquet": Format(_read_parquet, _parquet_columns, _count_parquet),
    ".csv": Format(_read_csv, _csv_columns, _count_data_lines),
    ".jsonl": Format(_read_json_lines, _json_columns, _count_lines),
}
