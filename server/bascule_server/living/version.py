"""One version of a model with a catalogue that changes: from each change it makes the state that serves next."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from bascule.v1.catalogue_service_pb2 import CatalogueChange
from bascule_server.artifact import file_names
from bascule_server.living.came import Came, Item
from bascule_server.living.catalogue import LivingCatalogue
from bascule_server.living.items import ItemSchema, item_schema, readable_values
from bascule_server.living.merge import Merge, Merged
from bascule_server.living.merged_retrievers import Base
from bascule_server.living.retrieval import living_retrievers
from bascule_server.living.segments import Gone, Searched, Segment
from bascule_server.retrieval.retrievers import read_vectors
from bascule_server.scoring.encoder import FeaturesEncoder, read_vocabularies
from bascule_server.scoring.item_ids import UNKNOWN
from bascule_server.scoring.query import FeatureValue
from bascule_server.scoring.scorer import Scorer
from bascule_server.scoring.tower import LiteRtTower
from bascule_server.servable import ServableVersion

TAIL_ITEMS = 256
TAIL_SHARE = 4
"""Items that came last are a segment of their own, so that the next one has few to be put together with. Where they are
more than so many, and more than a quarter of those before them, all since the last merge become one segment."""

MOST_NAMES = 10
"""Of values that the log of the server tells."""

_log = structlog.get_logger()


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
    left_out_count: int
    """Values that items came with and that the version does not declare."""
    last_change: Timestamp | None


class LivingVersion:
    """Applies changes one after the other. Called by one thread at a time, which need not be the one that scores."""

    def __init__(self, servable: ServableVersion, folder: Path) -> None:
        """Takes a version as its artifact has it.

        Raises:
            ArtifactError: a vocabulary of the item features, or the items' vectors, cannot be read, or a file changed
                since it was verified.
        """
        self.manifest = servable.manifest
        self.schema: ItemSchema = item_schema(self.manifest)
        features = self.manifest.item_features
        self._encoder = FeaturesEncoder(features, read_vocabularies(folder, features))
        path = folder / file_names.ITEM_TOWER_LITERT
        self._tower = LiteRtTower(path) if features and path.is_file() else None
        retrievers = servable.scorer.retrievers
        self._base = Base(read_vectors(folder, self.manifest), retrievers)
        if servable.verified is not None:
            servable.verified.check()
        self._segment = Segment(0, servable.scorer.catalogue)
        item_count = self._segment.end_row
        self._is_gone = np.zeros(item_count, np.bool_)
        """Of the items of the base."""
        self._merged = Merged(None, Searched(0, item_count, retrievers), self._is_gone.copy())
        self._settled: Came | None = None
        """What came since the last merge, but for the tail."""
        self._tail: dict[str, Item] = {}
        self._unplaced: set[str] = set()
        self._has_warned = False
        self.state = State(servable.scorer, 0, item_count, 0, 0, 0, 0, None)
        """What serves."""

    @property
    def places_new_items(self) -> bool:
        """Whether there is an item tower."""
        return self._tower is not None

    def is_trained(self, item_ids: Sequence[str]) -> NDArray[np.bool_]:
        """bool [ids], whether training saw the item: then it keeps its vector whatever changes."""
        rows = self._segment.catalogue.item_ids.rows(item_ids)
        trained: NDArray[np.bool_] = self._popularity(rows) > 0
        return trained

    def _popularity(self, base_rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.where(base_rows == UNKNOWN, np.float32(0), self._segment.catalogue.popularity_of(base_rows))

    def apply(self, changes: Sequence[CatalogueChange], revision: int) -> State:
        """The state that knows of these changes too, of which the last one has this revision."""
        for change in changes:
            if change.upserted:
                self._upsert(change)
            if change.retired_item_ids:
                rows = self._segment.catalogue.item_ids.rows(change.retired_item_ids).tolist()
                for item_id, row in zip(change.retired_item_ids, rows, strict=True):
                    self._remove(item_id, row)
        if len(self._tail) > max(TAIL_ITEMS, (self._settled.count if self._settled else 0) // TAIL_SHARE):
            self._settle((self._settled.items() if self._settled else {}) | self._tail)
        return self._serve(revision, changes[-1].time if changes else self.state.last_change)

    def to_merge(self) -> Merge | None:
        """What is there now, to be merged; None where nothing came or went since the last merge, or nothing is left."""
        is_merged = self._settled is None and not self._tail and not self._gone_since_merge().any()
        if is_merged or not self.state.item_count:
            return None
        return Merge(self._base, self._all_that_came(), self._is_gone.copy(), self.manifest.attributes)

    def take_over(self, merged: Merged) -> State:
        """The state of now, with what was merged since ``to_merge`` in the place of what was before."""
        since = self._all_that_came()
        self._merged, self._settled, self._tail = merged, None, {}
        if merged.came is not None:
            since = merged.came.only(since)
        if since:
            self._settle(since)
        return self._serve(self.state.revision, self.state.last_change)

    def _upsert(self, change: CatalogueChange) -> None:
        items = {item.item_id: readable_values(item, self.schema) for item in change.upserted}
        rows = self._segment.catalogue.item_ids.rows(list(items))
        popularity = self._popularity(rows)
        trained = popularity > 0
        kept = iter(self._base.vectors.take(rows[trained], axis=0))
        placed = self._placed([each.values for each, keeps in zip(items.values(), trained, strict=True) if not keeps])
        of_item = zip(items.items(), rows.tolist(), popularity.tolist(), strict=True)
        for (item_id, (values, left_out)), row, popular in of_item:
            self._remove(item_id, row)
            if popular > 0:
                vector = next(kept)
            elif placed is None:
                self._unplaced.add(item_id)
                continue
            else:
                vector = next(placed)
            self._tail[item_id] = Item(values, vector, popular, row, len(left_out))
        self._warn({name for each in items.values() for name in each.left_out})

    def _placed(self, items: Sequence[Mapping[str, FeatureValue]]) -> Iterator[NDArray[np.float32]] | None:
        """The vectors of new items; None where nothing can place them."""
        if self._tower is None:
            return None
        return iter(self._tower.vectors(self._encoder.encode(items)) if items else ())

    def _remove(self, item_id: str, base_row: int) -> None:
        self._unplaced.discard(item_id)
        self._tail.pop(item_id, None)
        for came in self._layers():
            came.remove(item_id)
        if base_row != UNKNOWN:
            self._is_gone[base_row] = True

    def _warn(self, left_out: set[str]) -> None:
        """Says once that something of the log cannot be served by this version."""
        if self._has_warned or not (left_out or self._unplaced):
            return
        self._has_warned = True
        _log.warning(
            "catalogue changes not served in full",
            model=self.manifest.model,
            version=self.manifest.version,
            left_out_values=sorted(left_out)[:MOST_NAMES],
            has_item_tower=self._tower is not None,
        )

    def _layers(self) -> list[Came]:
        return [came for came in (self._merged.came, self._settled) if came is not None]

    def _all_that_came(self) -> dict[str, Item]:
        """And did not go again."""
        items: dict[str, Item] = {}
        for came in self._layers():
            items |= came.items()
        return items | self._tail

    def _settle(self, items: Mapping[str, Item]) -> None:
        self._settled, self._tail = Came(items, self._merged.searched.end_row, self.manifest.attributes), {}

    def _gone_since_merge(self) -> NDArray[np.bool_]:
        """bool [rows that were merged], what would be found though it is gone."""
        since = self._is_gone & ~self._merged.is_gone
        return since if self._merged.came is None else np.concatenate([since, self._merged.came.is_gone])

    def _serve(self, revision: int, last_change: Timestamp | None) -> State:
        layers = self._layers()
        if self._tail:
            end = layers[-1].segment.end_row if layers else self._segment.end_row
            layers.append(Came(self._tail, end, self.manifest.attributes))
        upserted_count = sum(came.count for came in layers)
        gone_count = int(np.count_nonzero(self._is_gone))
        self.state = State(
            self._scorer_of(layers),
            revision,
            item_count=len(self._is_gone) - gone_count + upserted_count,
            upserted_count=upserted_count,
            retired_count=gone_count - sum(came.replaced_count for came in layers),
            unplaced_count=len(self._unplaced),
            left_out_count=sum(came.left_out_count for came in layers),
            last_change=last_change,
        )
        return self.state

    def _scorer_of(self, layers: Sequence[Came]) -> Scorer:
        segments = [self._segment, *(came.segment for came in layers)]
        gone = Gone(np.concatenate([self._is_gone, *(came.is_gone for came in layers)]), segments)
        catalogue = LivingCatalogue(segments, gone, [attribute.name for attribute in self.manifest.attributes])
        since = [came for came in layers if came is not self._merged.came]
        parts = [self._merged.searched, *(came.searched for came in since)]
        found_still = np.concatenate([self._gone_since_merge(), *(came.is_gone for came in since)])
        return self.state.scorer.with_items(catalogue, living_retrievers(parts, Gone(found_still, parts)))
