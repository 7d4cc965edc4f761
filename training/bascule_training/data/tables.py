"""Interactions, users and items from Parquet, CSV or TSV files, in one canonical form.

DataError   what is wrong with the data, naming file, column and row

Rows are counted from 1, the header of a CSV file left out.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from bascule_training.data.table_file import DataError, TableFile, split_multi_valued, unix_seconds

__all__ = [
    "CANONICAL_COLUMNS",
    "DataError",
    "InteractionColumns",
    "fingerprint",
    "in_utc",
    "read_interactions",
    "read_items",
    "read_outcomes",
    "read_users",
    "split_multi_valued",
    "unix_seconds",
    "without_repetitions",
]

CANONICAL_COLUMNS = ("user_id", "item_id", "time", "value", "label", "list_id")
"""What a column of interactions and of outcomes may be called here that is none of the context."""

Kinds = Mapping[str, str]
"""By the name of a column of the context its kind, as in ``config.FeatureConfig``."""

_NONE: Kinds = MappingProxyType({})
_SLICE_ROWS = 1_000_000


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
    context: Kinds = _NONE,
    needs_context: bool = True,
) -> pl.DataFrame:
    """Reads the log of who had what, and when.

    Args:
        path: a ``.parquet``, ``.csv`` or ``.tsv`` file. Ids are strings or integers; times are whole unix seconds,
            ISO 8601 strings or datetimes, in UTC where they name no offset; fractions of a second are cut off.
        columns: what its columns are called; others are not read.
        min_value: rows with a lower value are left out: only what a user liked is an interaction.
        deduplicate: whether only the first interaction of a user with an item is kept.
        context: further columns, and the kinds of feature that they are.
        needs_context: whether these must be there; else one that is not has no values.

    Returns:
        ``user_id: Categorical, item_id: Categorical, time: Int64`` (unix seconds; null where the data has no time) and,
        if ``columns`` names one, ``value: Float64``; then the context, as ``TableFile.features`` has it; sorted by
        time, rows of one second in the order of the file. An id takes 4 bytes a row, however long it is.

    Raises:
        DataError: the file or a column is missing, or a cell is empty or of the wrong form, or no row is left.
    """
    if min_value is not None and columns.value is None:
        raise DataError(f"{path}: a least value of {min_value:g} is asked for, but no column of values is named")
    table = TableFile.read(path, columns.names, interned=(columns.user, columns.item), features=tuple(context))
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
    frame = frame.with_columns(table.features(context, needs=needs_context))
    frame = frame.sort("time", maintain_order=True)
    if min_value is not None:
        frame = frame.filter(pl.col("value") >= min_value)
        if frame.is_empty():
            raise DataError(f"{path}: column '{columns.value}' has no value of {min_value:g} or more")
    return without_repetitions(frame) if deduplicate else frame


def read_outcomes(path: Path, context: Kinds = _NONE) -> pl.DataFrame:
    """Reads the log of what users were shown, and what they turned to of it.

    Args:
        path: a file with the columns ``user_id``, ``item_id``, ``time`` (when it was shown, as of interactions) and
            ``label`` (0 where the user did not turn to the item, else how much that counts: 1, or a weight), and
            perhaps ``list_id``; rows without one are of one list where user and time are equal.
        context: further columns, and the kinds of feature that they are.

    Returns:
        ``user_id: String, item_id: String, time: Int64, label: Float64, list: UInt32`` and the context, in the order of
        the file. The rows of a list have equal numbers, and its earliest time.

    Raises:
        DataError: the file or a column is missing, a cell is empty or of the wrong form, no label is above 0, or a list
            has several users.
    """
    table = TableFile.read(path, ("user_id", "item_id", "time", "label"), features=("list_id", *context))
    table.refuse(
        "label", table.values("label") < 0, "got {}; expected 0 for what the user did not turn to, else 1 or a weight"
    )
    frame = pl.DataFrame(
        {name: table.ids(name) for name in ("user_id", "item_id")}
        | {"time": table.times("time"), "label": table.values("label")}
    ).with_columns(table.features(context, needs=True))
    if not (frame["label"] > 0).any():
        raise DataError(f"{path}: column 'label' has nothing above 0, so there is nothing to learn")
    if "list_id" not in table.frame.columns:
        return frame.with_columns(list=pl.struct("user_id", "time").rank("dense"))
    frame = frame.with_columns(list=table.ids("list_id").rank("dense"))
    table.refuse(
        "list_id", frame.select(pl.col("user_id").n_unique().over("list") > 1).to_series(), "{} has several users"
    )
    return frame.with_columns(pl.col("time").min().over("list"))


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


def in_utc(column: pl.Series) -> pl.Series:
    """A column of dates or times as Datetime in UTC, to the microsecond; without a time zone they are taken as UTC."""
    times = column.cast(pl.Datetime("us", getattr(column.dtype, "time_zone", None)))
    zoned = times.dt.replace_time_zone("UTC") if times.dtype.time_zone is None else times  # type: ignore[attr-defined]
    return zoned.dt.convert_time_zone("UTC")


def fingerprint(interactions: pl.DataFrame) -> str:
    """SHA-256 of canonical interactions in lower-case hexadecimal: equal rows in equal order, equal fingerprint.

    The context is left out, so that it does not depend on what is read of it.
    """
    digest = hashlib.sha256()
    for column in interactions.select(pl.col(name) for name in CANONICAL_COLUMNS if name in interactions.columns):
        digest.update(f"{column.name} {len(column)} {column.null_count()} ".encode())
        for start in range(0, len(column), _SLICE_ROWS):
            digest.update(_bytes_of(column.slice(start, _SLICE_ROWS).drop_nulls()))
    return digest.hexdigest()


def _read_entities(path: Path, id_column: str, canonical: str) -> pl.DataFrame:
    table = TableFile.read(path, (id_column,), features=None)
    others = table.frame.drop(id_column)
    if canonical in others.columns:
        raise DataError(f"{path}: the ids are in column '{id_column}', so no other may be called '{canonical}'")
    ids = table.ids(id_column).cast(pl.String)
    table.refuse_duplicates(id_column, ids)
    return others.insert_column(0, ids.alias(canonical))


def _bytes_of(column: pl.Series) -> bytes:
    """Bytes that differ where the values do: lengths, then text, for strings; little-endian numbers for numbers."""
    if column.dtype in (pl.String, pl.Categorical):
        column = column.cast(pl.String)
        return column.str.len_bytes().to_numpy().astype("<u4").tobytes() + "".join(column.str.join("")).encode()
    return column.to_numpy().astype(np.dtype("<f8" if column.dtype.is_float() else "<i8")).tobytes()
