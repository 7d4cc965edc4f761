"""The items of one model version: ids and rows, popularity, and the attributes to filter on, cap and show."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import polars as pl
from cachetools import LRUCache
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Manifest
from bascule_server import artifact
from bascule_server.allowed import Allowed
from bascule_server.artifact import ArtifactError
from bascule_server.columns import Column, column_of
from bascule_server.item_ids import UNKNOWN, ItemIds, Known
from bascule_server.query import FeatureValue, Filter

MAX_FILTER_BYTES = 256 * 2**20
"""How much memory compiled sets of filters may come to take, those asked for last. With 20,000 items that is some 2,500
sets, with 10,000,000 some five to twelve; one that alone takes more is compiled each time."""


class Catalogue:
    """The items of a model version, by row. Nothing of it changes.

    Attributes:
        item_ids: the id of each row.
        popularity: float32 [items], each item's share of the training interactions, of which newer ones may count more.
    """

    def __init__(self, item_ids: ItemIds, popularity: NDArray[np.float32], columns: dict[str, Column]) -> None:
        self.item_ids = item_ids
        self.popularity = popularity
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
    path = folder / artifact.ITEMS
    try:
        names = [attribute.name for attribute in manifest.attributes]
        items = pl.read_parquet(path, columns=["item_id", "popularity", *names])
        columns = {
            attribute.name: column_of(items[attribute.name], attribute.kind) for attribute in manifest.attributes
        }
        item_ids = items["item_id"].cast(pl.String)
        counts = items["popularity"].cast(pl.Float64).to_numpy()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ArtifactError(f"{path}: {error}") from error
    if (known := len(item_ids) - item_ids.null_count()) != manifest.item_count:
        raise ArtifactError(f"{path}: expected {manifest.item_count:,} item ids; got {known:,}")
    try:
        ids = ItemIds(item_ids)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}") from error
    return Catalogue(ids, (counts / max(counts.sum(), 1.0)).astype(np.float32), columns)
