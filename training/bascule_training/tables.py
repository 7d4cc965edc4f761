"""Interactions, users and items from Parquet, CSV or TSV files, in one canonical form.

DataError   what is wrong with the data, naming file, column and row

Rows are counted from 1, the header of a CSV file left out.
"""

import difflib
import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_SEPARATORS = {".csv": ",", ".tsv": "\t"}
_SUFFIXES = (*_SEPARATORS, ".parquet")
_VALUE_SEPARATOR = "|"
_SLICE_ROWS = 1_000_000
# The years 1 to 9999: what a google.protobuf.Timestamp can say, and what milliseconds taken for seconds fall out of.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_TIME_FORMS = "whole unix seconds of the years 1 to 9999, an ISO 8601 string or a datetime"


class DataError(ValueError):
    """The data is not what it must be."""


class InteractionColumns(BaseModel):
    """What the columns of the interactions are called in their file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str = Field(default="user_id", min_length=1)
    item: str = Field(default="item_id", min_length=1)
    time: str | None = "time"
    """None, or "" since TOML has no null: the data has no time, and its rows are taken to be in time order."""
    value: str | None = None
    """How much the user liked the item, such as a rating."""

    @field_validator("time", "value")
    @classmethod
    def _empty_is_none(cls, name: str | None) -> str | None:
        return name or None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns that are read."""
        return tuple(name for name in (self.user, self.item, self.time, self.value) if name is not None)

    @model_validator(mode="after")
    def _are_distinct(self) -> "InteractionColumns":
        if len(set(self.names)) < len(self.names):
            raise ValueError(f"got the columns {', '.join(self.names)}; expected each to be named once")
        return self


def read_interactions(
    path: Path,
    columns: InteractionColumns = InteractionColumns(),  # noqa: B008 - it is frozen
    *,
    min_value: float | None = None,
    deduplicate: bool = False,
) -> pl.DataFrame:
    """Reads the log of who had what, and when.

    Args:
        path: a ``.parquet``, ``.csv`` or ``.tsv`` file. Ids are strings or integers; times are whole unix seconds,
            ISO 8601 strings or datetimes, in UTC where they name no offset; fractions of a second are cut off.
        columns: what its columns are called; others are not read.
        min_value: rows with a lower value are left out: only what a user liked is an interaction.
        deduplicate: whether only the first interaction of a user with an item is kept.

    Returns:
        ``user_id: Categorical, item_id: Categorical, time: Int64`` (unix seconds; null where the data has no time) and,
        if ``columns`` names one, ``value: Float64``; sorted by time, rows of one second in the order of the file. An id
        takes 4 bytes a row, however long it is.

    Raises:
        DataError: the file or a column is missing, or a cell is empty or of the wrong form, or no row is left.
    """
    if min_value is not None and columns.value is None:
        raise DataError(f"{path}: a least value of {min_value:g} is asked for, but no column of values is named")
    table = _Table.read(path, columns.names, interned=(columns.user, columns.item))
    frame = pl.DataFrame(
        {
            "user_id": table.ids(columns.user).cast(pl.Categorical),
            "item_id": table.ids(columns.item).cast(pl.Categorical),
            "time": pl.repeat(None, len(table.frame), dtype=pl.Int64, eager=True)
            if columns.time is None
            else table.times(columns.time),
        }
    )
    if columns.value is not None:
        frame = frame.with_columns(table.values(columns.value).alias("value"))
    frame = frame.sort("time", maintain_order=True)
    if min_value is not None:
        frame = frame.filter(pl.col("value") >= min_value)
        if frame.is_empty():
            raise DataError(f"{path}: column '{columns.value}' has no value of {min_value:g} or more")
    return without_repetitions(frame) if deduplicate else frame


def without_repetitions(interactions: pl.DataFrame) -> pl.DataFrame:
    """The interactions, in their order, without those of a user with an item that the user had before."""
    return interactions.unique(["user_id", "item_id"], keep="first", maintain_order=True)


def read_users(path: Path, id_column: str = "user_id") -> pl.DataFrame:
    """Reads the users: ``user_id: String``, distinct, then every other column as it is, in the order of the file.

    Raises:
        DataError: the file or the column is missing, there is no row, or an id is empty or there twice.
    """
    return _read_entities(path, id_column, "user_id")


def read_items(path: Path, id_column: str = "item_id") -> pl.DataFrame:
    """Reads the items: ``item_id: String``, distinct, then every other column as it is, in the order of the file.

    Raises:
        DataError: the file or the column is missing, there is no row, or an id is empty or there twice.
    """
    return _read_entities(path, id_column, "item_id")


def split_multi_valued(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Makes lists of the cells of one column, ``Action|War`` becoming ``["Action", "War"]``; lists stay as they are.

    An empty cell becomes an empty list; blanks around a value and empty values are dropped.

    Raises:
        DataError: there is no such column, or it holds neither strings nor lists of strings.
    """
    if column not in frame.columns:
        raise DataError(_missing_column(column, frame.columns))
    dtype = frame.schema[column]
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        return frame
    if dtype not in (pl.String, pl.Null):  # CSV has no type for a column without any value
        raise DataError(f"column '{column}' holds {dtype}; expected strings with '{_VALUE_SEPARATOR}' between values")
    values = pl.col(column).cast(pl.String).fill_null("").str.split(_VALUE_SEPARATOR)
    stripped = pl.element().str.strip_chars()
    return frame.with_columns(values.list.eval(stripped.filter(stripped != "")))


def in_utc(column: pl.Series) -> pl.Series:
    """A column of dates or times as Datetime in UTC, to the microsecond; without a time zone they are taken as UTC."""
    times = column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None)))
    zoned = times.dt.replace_time_zone("UTC") if times.dtype.time_zone is None else times  # type: ignore[attr-defined]
    return zoned.dt.convert_time_zone("UTC")


def fingerprint(interactions: pl.DataFrame) -> str:
    """SHA-256 of canonical interactions in lower-case hexadecimal: equal rows in equal order, equal fingerprint."""
    digest = hashlib.sha256()
    for column in interactions.iter_columns():
        digest.update(f"{column.name} {len(column)} {column.null_count()} ".encode())
        for start in range(0, len(column), _SLICE_ROWS):
            digest.update(_bytes_of(column.slice(start, _SLICE_ROWS).drop_nulls()))
    return digest.hexdigest()


def unix_seconds(moment: str | datetime) -> int:
    """Unix seconds of a moment: a datetime, an ISO 8601 string, or a string of whole unix seconds.

    A moment without an offset is in UTC; fractions of a second are cut off.

    Raises:
        ValueError: the string is neither.
    """
    if isinstance(moment, str):
        try:
            return int(moment)
        except ValueError:
            moment = datetime.fromisoformat(moment.strip())
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() // 1)


class _Table:
    """A file's columns, and its name for the errors about them."""

    def __init__(self, path: Path, frame: pl.DataFrame) -> None:
        self.path = path
        self.frame = frame

    @classmethod
    def read(
        cls, path: Path, columns: tuple[str, ...], *, interned: tuple[str, ...] = (), others: bool = False
    ) -> "_Table":
        """Reads ``columns``, of CSV as strings, and with ``others`` every other column in the type that it seems.

        Strings and integers of the columns ``interned`` become categories while the file is read.
        """
        if path.suffix.lower() not in _SUFFIXES:
            raise DataError(f"{path}: got a file of the kind '{path.suffix}'; expected one of {', '.join(_SUFFIXES)}")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        try:
            scan = _scan(path, columns)
            schema = scan.collect_schema()
            names = schema.names()
            for column in columns:
                if column not in names:
                    raise DataError(f"{path}: {_missing_column(column, names)}")
            ids = [name for name in interned if schema[name] == pl.String or schema[name].is_integer()]
            scan = scan.with_columns(pl.col(ids).cast(pl.String).cast(pl.Categorical))
            frame = (scan if others else scan.select(columns)).collect()
        except pl.exceptions.NoDataError:
            raise DataError(f"{path}: the file is empty; expected a header and rows") from None
        except (PolarsError, OSError) as error:
            raise DataError(f"{path}: the file cannot be read: {str(error).splitlines()[0]}") from error
        if frame.is_empty():
            raise DataError(f"{path}: there are columns but no rows")
        return cls(path, frame)

    def ids(self, column: str) -> pl.Series:
        """String or Categorical [rows], none empty."""
        cells = self.frame[column]
        if not (cells.dtype.is_integer() or cells.dtype in (pl.String, pl.Categorical, pl.Enum)):
            raise self._error(column, f"holds {cells.dtype}; expected ids that are strings or integers")
        ids = cells if cells.dtype == pl.Categorical else cells.cast(pl.String)
        self._refuse(column, ids.is_null() | (ids == ""), "the id is empty")
        return ids

    def times(self, column: str) -> pl.Series:
        """Int64 [rows], unix seconds."""
        cells = self.frame[column]
        if cells.dtype == pl.String:
            seconds = cells.cast(pl.Int64, strict=False)
            if seconds.null_count():
                seconds = pl.Series(column, [_seconds_or_none(cell) for cell in cells], pl.Int64)
        elif cells.dtype.is_integer():
            seconds = cells.cast(pl.Int64, strict=False)
        elif cells.dtype in (pl.Datetime, pl.Date):
            seconds = cells.dt.epoch("s")
        else:
            raise self._error(column, f"holds {cells.dtype}; expected {_TIME_FORMS}")
        bad = ~seconds.is_between(_FIRST_SECOND, _LAST_SECOND).fill_null(value=False)
        self._refuse(column, bad, f"got {{}}; expected {_TIME_FORMS}")
        return seconds

    def values(self, column: str) -> pl.Series:
        """Float64 [rows], finite."""
        cells = self.frame[column]
        if not (cells.dtype.is_numeric() or cells.dtype == pl.String):
            raise self._error(column, f"holds {cells.dtype}; expected numbers")
        numbers = cells.cast(pl.Float64, strict=False)
        self._refuse(column, ~numbers.is_finite().fill_null(value=False), "got {}; expected a finite number")
        return numbers

    def refuse_duplicates(self, column: str, ids: pl.Series) -> None:
        again = ~ids.is_first_distinct()
        if again.any():
            row = int(again.arg_true()[0])
            first = int((ids == ids[row]).arg_true()[0])
            raise self._error(column, f"rows {first + 1} and {row + 1} have the same id '{ids[row]}'")

    def _refuse(self, column: str, bad: pl.Series, what: str) -> None:
        """Raises for the first row that is bad; ``{}`` in ``what`` becomes its cell."""
        if bad.any():
            row = int(bad.arg_true()[0])
            cell = self.frame[column][row]
            shown = "an empty cell" if cell is None else repr(cell)
            raise self._error(column, f"row {row + 1}: {what.format(shown)}")

    def _error(self, column: str, what: str) -> DataError:
        return DataError(f"{self.path}: column '{column}': {what}")


def _scan(path: Path, strings: tuple[str, ...]) -> pl.LazyFrame:
    """The file as it will be read; ``strings`` are kept as they are written: 007 must not become 7."""
    if path.suffix.lower() == ".parquet":
        return pl.scan_parquet(path, glob=False)
    return pl.scan_csv(
        path,
        glob=False,
        separator=_SEPARATORS[path.suffix.lower()],
        quote_char=None if path.suffix.lower() == ".tsv" else '"',
        schema_overrides=dict.fromkeys(strings, pl.String),
        infer_schema_length=None,
    )


def _read_entities(path: Path, id_column: str, canonical: str) -> pl.DataFrame:
    table = _Table.read(path, (id_column,), others=True)
    others = table.frame.drop(id_column)
    if canonical in others.columns:
        raise DataError(f"{path}: the ids are in column '{id_column}', so no other may be called '{canonical}'")
    ids = table.ids(id_column).cast(pl.String)
    table.refuse_duplicates(id_column, ids)
    return others.insert_column(0, ids.alias(canonical))


def _missing_column(column: str, names: list[str]) -> str:
    close = difflib.get_close_matches(column, names, n=1)
    hint = f" (is it '{close[0]}'?)" if close else ""
    return f"column '{column}' is missing{hint}; there are {', '.join(names) or 'none'}"


def _seconds_or_none(cell: str | None) -> int | None:
    try:
        return None if cell is None else unix_seconds(cell)
    except (ValueError, OverflowError):
        return None


def _bytes_of(column: pl.Series) -> bytes:
    """Bytes that differ where the values do: lengths, then text, for strings; little-endian numbers for numbers."""
    if column.dtype in (pl.String, pl.Categorical):
        column = column.cast(pl.String)
        return column.str.len_bytes().to_numpy().astype("<u4").tobytes() + "".join(column.str.join("")).encode()
    return column.to_numpy().astype(np.dtype("<f8" if column.dtype.is_float() else "<i8")).tobytes()
