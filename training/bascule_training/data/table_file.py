"""A table in a file: its columns, each read as what it is to be, and errors that name the file, the column and the row.

DataError   what is wrong with the data

Rows are counted from 1, the header of a CSV file left out.
"""

import difflib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

SEPARATORS = {".csv": ",", ".tsv": "\t"}
_VALUE_SEPARATOR = "|"
_SUFFIXES = (*SEPARATORS, ".parquet")
# The years 1 to 9999: what a google.protobuf.Timestamp can say, and what milliseconds taken for seconds fall out of.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_TIME_FORMS = "whole unix seconds of the years 1 to 9999, an ISO 8601 string or a datetime"
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY_SECONDS = 86_400


TYPES: Mapping[str, pl.DataType] = {
    "standardised": pl.Float64(),
    "bucketed": pl.Float64(),
    "multi_valued": pl.List(pl.String),
    "categorical": pl.String(),
    "text": pl.String(),
}
"""The type of a column of each kind of feature."""


class DataError(ValueError):
    """The data is not what it must be."""


class TableFile:
    """A file's columns, and its name for the errors about them."""

    def __init__(self, path: Path, frame: pl.DataFrame, names: list[str]) -> None:
        """``names`` are those of all columns of the file, of which ``frame`` has some."""
        self.path = path
        self.frame = frame
        self._names = names

    @classmethod
    def read(
        cls,
        path: Path,
        columns: tuple[str, ...],
        *,
        interned: tuple[str, ...] = (),
        features: tuple[str, ...] | None = (),
    ) -> "TableFile":
        """Reads columns of a file.

        Args:
            path: of the file.
            columns: those that must be there; of CSV as strings.
            interned: strings and integers of these become categories while the file is read.
            features: further ones, each in the type that it seems to be, where they are there. None: all others.

        Raises:
            DataError: the file cannot be read, a column is missing, there is no row, or a date is none of the years 1
                to 9999.
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
                    raise DataError(f"{path}: {missing_column(column, names)}")
            ids = [name for name in interned if schema[name] == pl.String or schema[name].is_integer()]
            scan = scan.with_columns(pl.col(ids).cast(pl.String).cast(pl.Categorical))
            wanted = names if features is None else [name for name in names if name in (*columns, *features)]
            frame = scan.select(wanted).collect()
        except pl.exceptions.NoDataError:
            raise DataError(f"{path}: the file is empty; expected a header and rows") from None
        except (PolarsError, OSError) as error:
            raise DataError(f"{path}: the file cannot be read: {str(error).splitlines()[0]}") from error
        if frame.is_empty():
            raise DataError(f"{path}: there are columns but no rows")
        table = cls(path, frame, names)
        table._refuse_other_years()
        return table

    def ids(self, column: str) -> pl.Series:
        """String or Categorical [rows], none empty."""
        cells = self.frame[column]
        if not (cells.dtype.is_integer() or cells.dtype in (pl.String, pl.Categorical, pl.Enum)):
            raise self._error(column, f"holds {cells.dtype}; expected ids that are strings or integers")
        ids = cells if cells.dtype == pl.Categorical else cells.cast(pl.String)
        self.refuse(column, ids.is_null() | (ids == ""), "the id is empty")
        return ids

    def times(self, column: str) -> pl.Series:
        """Int64 [rows], unix seconds."""
        cells = self.frame[column]
        if cells.dtype == pl.String:
            seconds = cells.cast(pl.Int64, strict=False)
            if seconds.null_count():
                seconds = pl.Series(column, [_seconds_or_none(cell) for cell in cells], pl.Int64, strict=False)
        elif cells.dtype.is_integer():
            seconds = cells.cast(pl.Int64, strict=False)
        elif cells.dtype in (pl.Datetime, pl.Date):
            seconds = cells.dt.epoch("s")
        else:
            raise self._error(column, f"holds {cells.dtype}; expected {_TIME_FORMS}")
        bad = ~seconds.is_between(_FIRST_SECOND, _LAST_SECOND).fill_null(value=False)
        self.refuse(column, bad, f"got {{}}; expected {_TIME_FORMS}")
        return seconds

    def values(self, column: str) -> pl.Series:
        """Float64 [rows], finite."""
        cells = self.frame[column]
        if not (cells.dtype.is_numeric() or cells.dtype == pl.String):
            raise self._error(column, f"holds {cells.dtype}; expected numbers")
        numbers = cells.cast(pl.Float64, strict=False)
        self.refuse(column, ~numbers.is_finite().fill_null(value=False), "got {}; expected a finite number")
        return numbers

    def features(self, kinds: Mapping[str, str], *, needs: bool) -> list[pl.Series]:
        """The columns of features, each of the one type of its kind.

        Args:
            kinds: by the name of a column its kind, as in ``config.FeatureConfig``.
            needs: whether all must be there; else one that is not has no values.

        Returns:
            Float64 [rows] of numbers, where NaN is null; List(String) of several values, and String of all else.
        """
        return [self._feature(name, kind, needs=needs).alias(name) for name, kind in kinds.items()]

    def _feature(self, column: str, kind: str, *, needs: bool) -> pl.Series:
        if column not in self.frame.columns:
            if needs:
                raise DataError(f"{self.path}: {missing_column(column, self._names)}")
            return pl.Series(column, [None], TYPES[kind]).new_from_index(0, len(self.frame))
        cells = self.frame[column]
        match kind:
            case "multi_valued":
                return split_multi_valued(self.frame, column)[column]
            case "standardised" | "bucketed":
                if not (cells.dtype.is_numeric() or cells.dtype == pl.Null):
                    raise self._error(column, f"holds {cells.dtype}; expected numbers, since it is {kind}")
                numbers = cells.cast(pl.Float64).fill_nan(None)
                self.refuse(column, numbers.is_infinite().fill_null(value=False), "got {}; expected a finite number")
                return numbers
            case _:
                if cells.dtype not in (pl.String, pl.Categorical, pl.Enum, pl.Boolean, pl.Null):
                    raise self._error(column, f"holds {cells.dtype}; expected text, since it is {kind}")
                return cells.cast(pl.String)

    def refuse_duplicates(self, column: str, ids: pl.Series) -> None:
        """Raises DataError where two rows have one id."""
        again = ~ids.is_first_distinct()
        if again.any():
            row = int(again.arg_true()[0])
            first = int((ids == ids[row]).arg_true()[0])
            raise self._error(column, f"rows {first + 1} and {row + 1} have the same id '{ids[row]}'")

    def refuse(self, column: str, bad: pl.Series, what: str) -> None:
        """Raises DataError for the first row that is bad; ``{}`` in ``what`` becomes its cell."""
        if bad.any():
            row = int(bad.arg_true()[0])
            cell = self.frame[column][row]
            shown = "an empty cell" if cell is None else repr(cell)
            raise self._error(column, f"row {row + 1}: {what.format(shown)}")

    def _refuse_other_years(self) -> None:
        """Raises DataError for a date that Python does not have: it would end the run where it is first shown."""
        for column, dtype in self.frame.schema.items():
            if isinstance(dtype, pl.Date | pl.Datetime):
                unit = "days" if isinstance(dtype, pl.Date) else dtype.time_unit
                self._refuse_other_numbers(column, self.frame[column].to_physical(), unit)
                if getattr(dtype, "time_zone", None) is not None:  # the clock there may show another year
                    self._refuse_other_numbers(
                        column, self.frame[column].dt.replace_time_zone(None).to_physical(), unit
                    )

    def _refuse_other_numbers(self, column: str, numbers: pl.Series, unit: str) -> None:
        low, high = (
            second // _DAY_SECONDS if unit == "days" else second * _PER_SECOND[unit]
            for second in (_FIRST_SECOND, _LAST_SECOND)
        )
        # A day beyond nanoseconds of 64 bits cannot be in the column.
        low, high = max(low, -(2**63)), min(high + _PER_SECOND.get(unit, 1) - 1, 2**63 - 1)
        bad = ~numbers.is_between(low, high).fill_null(value=True)
        if bad.any():
            row = int(bad.arg_true()[0])
            raise self._error(
                column,
                f"row {row + 1}: got a date {numbers[row]:,} {unit} after 1970; expected one of the years 1 to 9999",
            )

    def _error(self, column: str, what: str) -> DataError:
        return DataError(f"{self.path}: column '{column}': {what}")


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


def split_multi_valued(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """Makes lists of the cells of one column, ``Action|War`` becoming ``["Action", "War"]``; lists stay as they are.

    An empty cell becomes an empty list; blanks around a value and empty values are dropped.

    Raises:
        DataError: there is no such column, or it holds neither strings nor lists of strings.
    """
    if column not in frame.columns:
        raise DataError(missing_column(column, frame.columns))
    dtype = frame.schema[column]
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        return frame
    if dtype not in (pl.String, pl.Null):  # CSV has no type for a column without any value
        raise DataError(f"column '{column}' holds {dtype}; expected strings with '{_VALUE_SEPARATOR}' between values")
    values = pl.col(column).cast(pl.String).fill_null("").str.split(_VALUE_SEPARATOR)
    stripped = pl.element().str.strip_chars()
    return frame.with_columns(values.list.eval(stripped.filter(stripped != "")))


def missing_column(column: str, names: list[str]) -> str:
    """What to say of a column that there is not."""
    close = difflib.get_close_matches(column, names, n=1)
    hint = f" (is it '{close[0]}'?)" if close else ""
    return f"column '{column}' is missing{hint}; there are {', '.join(names) or 'none'}"


def _scan(path: Path, strings: tuple[str, ...]) -> pl.LazyFrame:
    """The file as it will be read; ``strings`` are kept as they are written: 007 must not become 7."""
    if path.suffix.lower() == ".parquet":
        return pl.scan_parquet(path, glob=False)
    return pl.scan_csv(
        path,
        glob=False,
        separator=SEPARATORS[path.suffix.lower()],
        quote_char=None if path.suffix.lower() == ".tsv" else '"',
        schema_overrides=dict.fromkeys(strings, pl.String),
        infer_schema_length=None,
    )


def _seconds_or_none(cell: str | None) -> int | None:
    try:
        return None if cell is None else unix_seconds(cell)
    except (ValueError, OverflowError):
        return None
