"""One version of a model with a catalogue that changes: from each change it makes the state that serves next."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Attribute, AttributeKind
from bascule.v1.catalogue_service_pb2 import CatalogueChange
from bascule_server import artifact
from bascule_server.catalogue import Catalogue
from bascule_server.columns import column_of
from bascule_server.encoder import FeaturesEncoder, read_vocabularies
from bascule_server.item_ids import UNKNOWN, ItemIds
from bascule_server.living.catalogue import LivingCatalogue
from bascule_server.living.items import ItemSchema, item_schema, readable_values
from bascule_server.living.retrieval import living_retrievers
from bascule_server.living.segments import Gone, Segment
from bascule_server.query import FeatureValue
from bascule_server.retrievers import exact_retrievers
from bascule_server.scorer import Scorer
from bascule_server.servable import ServableVersion
from bascule_server.tower import LiteRtTower

TAIL_ITEMS = 256
TAIL_SHARE = 4
"""Items that came last are a segment of their own, so that the next one has few to be put together with. Where they are
more than so many, and more than a quarter of those before them, all of them become one segment."""

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


class State(NamedTuple):
    """The catalogue at one revision. Nothing of it changes."""

    scorer: Scorer
    revision: int
    item_count: int
    """Items that can be found."""
    upserted_count: int
    """Of these, items that came or changed since the version was made."""
    retired_count: int
    """Items of the version that are gone, and have no other in their place."""
    unplaced_count: int
    """Items that came, which the model cannot place."""
    last_change: Timestamp | None


class LivingVersion:
    """Applies changes one after the other. Called by one thread at a time, which need not be the one that scores."""

    def __init__(self, servable: ServableVersion, folder: Path) -> None:
        """Takes a version as its artifact has it.

        Raises:
            ArtifactError: a vocabulary of the item features cannot be read, or a file changed since it was verified.
        """
        self._scorer = servable.scorer
        self.manifest = servable.manifest
        self.schema: ItemSchema = item_schema(self.manifest)
        self._attributes: Sequence[Attribute] = self.manifest.attributes
        features = self.manifest.item_features
        self._encoder = FeaturesEncoder(features, read_vocabularies(folder, features))
        path = folder / artifact.ITEM_TOWER_LITERT
        self._tower = LiteRtTower(path) if features and path.is_file() else None
        if servable.verified is not None:
            servable.verified.check()
        self._base = Segment(0, self._scorer.catalogue, self._scorer.retrievers)
        self._gone_of_base = np.zeros(len(self._base.catalogue), np.bool_)
        self._settled: dict[str, Item] = {}
        """Items of the segment behind the base, also those that went since."""
        self._settled_segment: Segment | None = None
        self._left: set[str] = set()
        """Of these, the ones that went or were replaced."""
        self._tail: dict[str, Item] = {}
        self._unplaced: set[str] = set()
        self.state = State(self._scorer, 0, len(self._gone_of_base), 0, 0, 0, None)
        """What serves."""

    @property
    def places_new_items(self) -> bool:
        """Whether there is an item tower."""
        return self._tower is not None

    def is_trained(self, item_ids: Sequence[str]) -> NDArray[np.bool_]:
        """bool [ids], whether training saw the item: then it keeps its vector whatever changes."""
        rows = self._base.catalogue.item_ids.rows(item_ids)
        trained: NDArray[np.bool_] = self._popularity(rows) > 0
        return trained

    def _popularity(self, base_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(base_rows == UNKNOWN, np.float32(0), self._base.catalogue.popularity_of(base_rows))

    def apply(self, changes: Sequence[CatalogueChange], revision: int) -> State:
        """The state that knows of these changes too, of which the last one has this revision."""
        # What serves refers to the array.
        self._gone_of_base = self._gone_of_base.copy()
        for change in changes:
            if change.upserted:
                self._upsert(change)
            if change.retired_item_ids:
                rows = self._base.catalogue.item_ids.rows(change.retired_item_ids).tolist()
                for item_id, row in zip(change.retired_item_ids, rows, strict=True):
                    self._remove(item_id, row)
        if len(self._tail) > max(TAIL_ITEMS, len(self._settled) // TAIL_SHARE):
            self._settle()
        present = self._present().values()
        replaced = sum(item.base_row != UNKNOWN for item in present)
        gone_count = int(np.count_nonzero(self._gone_of_base))
        self.state = State(
            self._scorer_of_now(),
            revision,
            item_count=len(self._gone_of_base) - gone_count + len(present),
            upserted_count=len(present),
            retired_count=gone_count - replaced,
            unplaced_count=len(self._unplaced),
            last_change=changes[-1].time if changes else self.state.last_change,
        )
        return self.state

    def _upsert(self, change: CatalogueChange) -> None:
        items = {item.item_id: readable_values(item, self.schema) for item in change.upserted}
        rows = self._base.catalogue.item_ids.rows(list(items))
        popularity = self._popularity(rows)
        trained = popularity > 0
        kept = iter(self._base.retrievers.ranking.vectors_of(rows[trained]))
        placed = self._placed([values for values, keeps in zip(items.values(), trained, strict=True) if not keeps])
        of_item = zip(items.items(), rows.tolist(), popularity.tolist(), strict=True)
        for (item_id, values), row, popular in of_item:
            self._remove(item_id, row)
            if popular > 0:
                vector = next(kept)
            elif placed is None:
                self._unplaced.add(item_id)
                continue
            else:
                vector = next(placed)
            self._tail[item_id] = Item(values, vector, popular, row)

    def _placed(self, items: Sequence[Mapping[str, FeatureValue]]) -> Iterator[NDArray[np.float32]] | None:
        """The vectors of new items; None where nothing can place them."""
        if self._tower is None:
            return None
        return iter(self._tower.vectors(self._encoder.encode(items)) if items else ())

    def _remove(self, item_id: str, base_row: int) -> None:
        self._unplaced.discard(item_id)
        self._tail.pop(item_id, None)
        if item_id in self._settled:
            self._left.add(item_id)
        if base_row != UNKNOWN:
            self._gone_of_base[base_row] = True

    def _present(self) -> dict[str, Item]:
        """The items that came, but for those that went again."""
        kept = {item_id: item for item_id, item in self._settled.items() if item_id not in self._left}
        return kept | self._tail

    def _settle(self) -> None:
        self._settled, self._left, self._tail = self._present(), set(), {}
        self._settled_segment = self._segment(self._settled, len(self._gone_of_base))

    def _scorer_of_now(self) -> Scorer:
        segments, gone = [self._base], [self._gone_of_base]
        if self._settled_segment is not None:
            segments.append(self._settled_segment)
            gone.append(np.array([item_id in self._left for item_id in self._settled], np.bool_))
        if self._tail:
            segments.append(self._segment(self._tail, segments[-1].end_row))
            gone.append(np.zeros(len(self._tail), np.bool_))
        all_gone = Gone(np.concatenate(gone), segments)
        catalogue = LivingCatalogue(segments, all_gone, [attribute.name for attribute in self._attributes])
        return self._scorer.with_items(catalogue, living_retrievers(segments, all_gone))

    def _segment(self, items: Mapping[str, Item], first_row: int) -> Segment:
        columns = {
            attribute.name: column_of(
                pl.Series(
                    attribute.name,
                    [_as_attribute(item.values.get(attribute.name), attribute.kind) for item in items.values()],
                    _DTYPES.get(attribute.kind, pl.String()),
                ),
                attribute.kind,
            )
            for attribute in self._attributes
        }
        popularity = np.array([item.popularity for item in items.values()], np.float32)
        return Segment(
            first_row,
            Catalogue(ItemIds(list(items)), popularity, columns),
            exact_retrievers(np.stack([item.vector for item in items.values()])),
            np.array([item.base_row for item in items.values()], np.int64),
        )


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
