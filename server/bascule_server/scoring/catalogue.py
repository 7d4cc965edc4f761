"""The items of one model version: ids and rows, popularity, and the attributes to filter on, cap and show."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
from cachetools import LRUCache
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Manifest
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.stored_tables import reading_table
from bascule_server.retrieval.allowed import Allowed
from bascule_server.retrieval.retriever import Found, Restriction
from bascule_server.scoring.columns import Column, as_type, column_of
from bascule_server.scoring.item_ids import UNKNOWN, Ids, ItemIds, Known
from bascule_server.scoring.query import FeatureValue, Filter

_GROWTH = 8
"""How many times as many items are looked at where too few of the most popular may be found."""

MAX_FILTER_BYTES = 256 * 2**20
"""How much memory compiled sets of filters may come to take, those asked for last. With 20,000 items that is some 2,500
sets, with 10,000,000 some five to twelve; one that alone takes more is compiled each time."""


class Catalogue:
    """The items of a model version, by row. Nothing of it changes.

    Attributes:
        item_ids: the id of each row.
    """

    def __init__(self, item_ids: Ids, popularity: NDArray[np.float32], columns: Mapping[str, Column]) -> None:
        """Takes what is known of the items.

        Args:
            item_ids: the id of each row.
            popularity: float32 [items], each item's share of the training interactions, of which newer ones may count
                more.
            columns: the attributes, by name.
        """
        self.item_ids: Ids = item_ids
        self._popularity = popularity
        self._by_popularity = np.argsort(-popularity, kind="stable")
        self._columns = columns
        self._compiled: LRUCache[tuple[Filter, ...], Allowed] = LRUCache(
            MAX_FILTER_BYTES, getsizeof=lambda allowed: allowed.most_bytes
        )

    def __len__(self) -> int:
        return len(self.item_ids)

    def row(self, item_id: str) -> int | None:
        """The row of an id, or None where the catalogue does not have it."""
        (row,) = self.item_ids.rows([item_id]).tolist()
        return None if row == UNKNOWN else row

    def rows(self, item_ids: Sequence[str]) -> NDArray[np.int64]:
        """int64 [known], the rows of the ids that there are, in their order."""
        (found,) = self.known([item_ids])
        return found.rows

    def known(self, lists: Sequence[Sequence[str]]) -> list[Known]:
        """What there is of several lists of ids, which are looked up together."""
        return self.item_ids.known(lists)

    def present(self, known: Known) -> Known:
        """What there is of a list of ids now, of which some may have been there once."""
        return known

    def as_read(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [read], those of the rows that the query tower knows, as it knows them."""
        return rows

    def current(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [rows], where items stand now that the query tower knows by these rows."""
        return rows

    def popularity_of(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """float32 [rows], from 0 to 1."""
        return self._popularity[rows]

    def most_popular(self, count: int, restriction: Restriction) -> Found:
        """The most popular items that may be found, ``count`` or as many as remain; of equals the lower row."""
        looked_at = count + len(restriction.excluded)
        while True:
            rows = restriction.remaining(self._by_popularity[:looked_at])[:count]
            if len(rows) == count or looked_at >= len(self):
                return Found(rows, self._popularity[rows])
            looked_at *= _GROWTH

    def allowed(self, filters: tuple[Filter, ...]) -> Allowed | None:
        """The items that satisfy every filter, or None where there is no filter."""
        if not filters:
            return None
        found = self._compiled.get(filters)
        if found is None:
            found = self._compile(filters)
            with suppress(ValueError):  # it is too large to be kept
                self._compiled[filters] = found
        return found

    def column(self, attribute: str) -> Column:
        """The values of a declared attribute."""
        return self._columns[attribute]

    def attributes(self, rows: Iterable[int], names: Sequence[str]) -> list[dict[str, FeatureValue]]:
        """The named attributes of the items; an attribute that an item lacks is left out."""
        columns = [(name, self._columns[name]) for name in names]
        values = ({name: column.value(row) for name, column in columns} for row in rows)
        return [{name: value for name, value in item.items() if value is not None} for item in values]

    def _compile(self, filters: tuple[Filter, ...]) -> Allowed:
        mask = np.ones(len(self), np.bool_)
        for condition in filters:
            mask &= self._columns[condition.attribute].mask(condition)
        return Allowed(mask)


def read_catalogue(folder: Path, manifest: Manifest) -> Catalogue:
    """Reads ``items.parquet`` of an artifact.

    Raises:
        ArtifactError: it cannot be read, or is not what the manifest says.
    """
    path = folder / file_names.ITEMS
    with reading_table(path):
        names = [attribute.name for attribute in manifest.attributes]
        items = pl.read_parquet(path, columns=["item_id", "popularity", *names])
        columns = {
            attribute.name: column_of(items[attribute.name], attribute.kind) for attribute in manifest.attributes
        }
        item_ids = as_type(items["item_id"], pl.String())
        counts = as_type(items["popularity"], pl.Float64()).to_numpy()
        if (known := len(item_ids) - item_ids.null_count()) != manifest.item_count:
            raise ArtifactError(f"{path}: expected {manifest.item_count:,} item ids; got {known:,}")
        return Catalogue(ItemIds(item_ids), (counts / max(counts.sum(), 1.0)).astype(np.float32), columns)
