"""Items that came since a version was made, and the segments that they make."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Attribute, AttributeKind
from bascule_server.living.segments import Searched, Segment
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.columns import column_of
from bascule_server.scoring.item_ids import UNKNOWN, ItemIds
from bascule_server.scoring.query import FeatureValue

_DTYPES: Mapping[AttributeKind.ValueType, pl.DataType] = {
    AttributeKind.ATTRIBUTE_KIND_NUMERIC: pl.Float64(),
    AttributeKind.ATTRIBUTE_KIND_TIME: pl.Datetime("us", "UTC"),
    AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED: pl.List(pl.String),
}


class Item(NamedTuple):
    """An item that came since the version was made."""

    values: Mapping[str, FeatureValue]
    vector: NDArray[np.float32]
    """float32 [dimension]."""
    popularity: float
    """That of the item in whose place it came, or 0."""
    base_row: int
    """The row of the base that had its id, or -1."""
    left_out_count: int
    """How many values it came with that the version does not declare."""


class Came:
    """Items that came, of which some may have gone again.

    Attributes:
        segment: of all of them.
        vectors: float32 [items, dimension].
        is_gone: bool [items], which of them went or were replaced.
    """

    def __init__(self, items: Mapping[str, Item], first_row: int, attributes: Sequence[Attribute]) -> None:
        """``items``, at least one, by their ids, have successive rows from ``first_row`` on."""
        self._items = items
        self.segment = _segment(items, first_row, attributes)
        self.vectors = np.stack([item.vector for item in items.values()])
        self.is_gone = np.zeros(len(items), np.bool_)
        self._left_out = np.array([item.left_out_count for item in items.values()], np.int64)

    @cached_property
    def searched(self) -> Searched:
        """They, to be searched by themselves."""
        return Searched(self.segment.first_row, self.segment.end_row, exact_retrievers(self.vectors))

    def remove(self, item_id: str) -> None:
        """The item of this id, if there is one, is gone."""
        if item_id in self._items:
            self.is_gone[self.segment.catalogue.item_ids.rows([item_id])] = True

    def items(self) -> dict[str, Item]:
        """Those that are not gone, by their ids."""
        gone = self.is_gone.tolist()
        return {item_id: item for (item_id, item), went in zip(self._items.items(), gone, strict=True) if not went}

    def only(self, items: Mapping[str, Item]) -> dict[str, Item]:
        """Removes all but those of these items that are in it, and returns the others."""
        others = {item_id: item for item_id, item in items.items() if self._items.get(item_id) is not item}
        for item_id, item in self._items.items():
            if items.get(item_id) is not item:
                self.remove(item_id)
        return others

    @property
    def count(self) -> int:
        """How many are not gone."""
        return len(self.is_gone) - int(np.count_nonzero(self.is_gone))

    @property
    def replaced_count(self) -> int:
        """How many of these have the id of an item of the base."""
        base_rows = self.segment.base_rows
        return 0 if base_rows is None else int(np.count_nonzero((base_rows != UNKNOWN) & ~self.is_gone))

    @property
    def left_out_count(self) -> int:
        """How many values these came with that the version does not declare."""
        return int(self._left_out[~self.is_gone].sum())


def _segment(items: Mapping[str, Item], first_row: int, attributes: Sequence[Attribute]) -> Segment:
    columns = {
        attribute.name: column_of(
            pl.Series(
                attribute.name,
                [_as_attribute(item.values.get(attribute.name), attribute.kind) for item in items.values()],
                _DTYPES.get(attribute.kind, pl.String()),
            ),
            attribute.kind,
        )
        for attribute in attributes
    }
    popularity = np.array([item.popularity for item in items.values()], np.float32)
    base_rows = np.array([item.base_row for item in items.values()], np.int64)
    return Segment(first_row, Catalogue(ItemIds(list(items)), popularity, columns), base_rows)


def _as_attribute(value: FeatureValue | None, kind: AttributeKind.ValueType) -> object:
    """The value, where it is one of an attribute of this kind and not of a feature with its name."""
    expected = {
        AttributeKind.ATTRIBUTE_KIND_NUMERIC: float,
        AttributeKind.ATTRIBUTE_KIND_TIME: datetime,
        AttributeKind.ATTRIBUTE_KIND_MULTI_VALUED: tuple,
    }.get(kind, str)
    if not isinstance(value, expected):
        return None
    return list(value) if isinstance(value, tuple) else value
