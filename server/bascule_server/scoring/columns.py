"""The attributes of items, a column each: which items satisfy a condition, and what an item has."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import AttributeKind
from bascule_server.scoring.query import AnyOf, FeatureValue, Filter, InRange, NoneOf

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_NO_TIME = np.iinfo(np.int64).min
_FIRST_TIME, _LAST_TIME = ((end.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND for end in (datetime.min, datetime.max))


class Column(Protocol):
    """One attribute of all items."""

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """bool [items], whether the item satisfies a condition on this attribute."""

    def value(self, row: int) -> FeatureValue | None:
        """The value of one item, or None where it has none."""


def column_of(values: pl.Series, kind: AttributeKind.ValueType) -> Column:
    """The column of an attribute, by its values in the order of the items. Raises as polars does, or ``ValueError``."""
    if kind == AttributeKind.ATTRIBUTE_KIND_NUMERIC:
        return Numbers(as_type(values, pl.Float64()).fill_null(np.nan).to_numpy())
    if kind == AttributeKind.ATTRIBUTE_KIND_TIME:
        return Times(_microseconds(as_type(values, pl.Datetime("us", "UTC"))))
    if kind == AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED:
        several = as_type(values, pl.List(pl.String())).list.drop_nulls()
        return Categories([tuple(item or ()) for item in several.to_list()], multi_valued=True)
    return Categories(
        [() if item is None else (item,) for item in as_type(values, pl.String()).to_list()], multi_valued=False
    )


def as_type(values: pl.Series, kind: pl.DataType) -> pl.Series:
    """The values as ones of another type. Raises as polars does, or ``ValueError`` where they cannot be."""
    found = values.cast(kind)
    # A structure becomes one of such values.
    if found.dtype != kind:
        raise ValueError(f"{values.name}: got {values.dtype}; expected {kind}")
    return found


def _microseconds(moments: pl.Series) -> NDArray[np.int64]:
    """int64 [items], since 1970. Raises ``ValueError`` where a moment is one that nobody could be told of."""
    numbers = moments.to_physical()
    if not numbers.is_between(_FIRST_TIME, _LAST_TIME).fill_null(True).all():
        raise ValueError(f"{moments.name}: got a moment that is not from the year 1 to 9999")
    return numbers.fill_null(_NO_TIME).to_numpy()


class Numbers:
    """A numeric attribute: float64 [items], NaN where the item has none."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """See ``Column``; the condition is a range."""
        if not isinstance(condition, InRange):
            raise TypeError(f"got {type(condition).__name__} on a numeric attribute; expected InRange")
        return (self._values >= condition.low) & (self._values <= condition.high)

    def value(self, row: int) -> FeatureValue | None:
        """See ``Column``."""
        value = float(self._values[row])
        return None if np.isnan(value) else value


class Times:
    """An attribute of moments: int64 [items], microseconds since 1970 in UTC; the lowest number where there is none."""

    def __init__(self, microseconds: NDArray[np.int64]) -> None:
        self._microseconds = microseconds

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """See ``Column``; the condition is a range, in microseconds since 1970."""
        if not isinstance(condition, InRange):
            raise TypeError(f"got {type(condition).__name__} on an attribute of moments; expected InRange")
        # Whole numbers are compared as such: as float64, not all of them could be told apart.
        has_any: NDArray[np.bool_] = self._microseconds != _NO_TIME
        has_any &= (self._microseconds >= condition.low) & (self._microseconds <= condition.high)
        return has_any

    def value(self, row: int) -> FeatureValue | None:
        """See ``Column``."""
        microseconds = int(self._microseconds[row])
        return None if microseconds == _NO_TIME else moment_of(microseconds)


def microseconds_of(moment: datetime) -> int:
    """Microseconds from 1970 in UTC to an aware ``moment``."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(microseconds: int) -> datetime:
    """The moment so many microseconds after 1970, in UTC."""
    return _EPOCH + microseconds * _MICROSECOND


class Categories:
    """A categorical or multi-valued attribute, as codes: those of item i stand from offsets[i] to offsets[i + 1]."""

    def __init__(self, values: Sequence[tuple[str, ...]], *, multi_valued: bool) -> None:
        self._multi_valued = multi_valued
        self._names = sorted({name for item in values for name in item})
        self._codes_by_name = {name: code for code, name in enumerate(self._names)}
        self._codes = np.array([self._codes_by_name[name] for item in values for name in item], np.int32)
        self._offsets = np.concatenate([[0], np.cumsum([len(item) for item in values])]).astype(np.int64)

    def mask(self, condition: Filter) -> NDArray[np.bool_]:
        """See ``Column``; the condition is one on categories."""
        if not isinstance(condition, AnyOf | NoneOf):
            raise TypeError(f"got {type(condition).__name__} on a categorical attribute; expected AnyOf or NoneOf")
        wanted = [self._codes_by_name[name] for name in condition.values if name in self._codes_by_name]
        hits = np.concatenate([[0], np.cumsum(np.isin(self._codes, wanted))])
        has_any = hits[self._offsets[1:]] > hits[self._offsets[:-1]]
        return has_any if isinstance(condition, AnyOf) else ~has_any

    def value(self, row: int) -> FeatureValue | None:
        """See ``Column``."""
        names = tuple(self._names[code] for code in self._codes[self._offsets[row] : self._offsets[row + 1]])
        if self._multi_valued:
            return names or None
        return names[0] if names else None
