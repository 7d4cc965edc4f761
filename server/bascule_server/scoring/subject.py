"""Finds out what is known about the one a query is for, which decides the path that answers it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import (
    RANKING_PATH_COLD,
    RANKING_PATH_HISTORY,
    RANKING_PATH_PERSONALISED,
    RANKING_PATH_POPULAR,
    RANKING_PATH_SIMILAR,
    RANKING_PATH_VECTOR,
    RankingPath,
)
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_server.scoring.item_ids import Known
from bascule_server.scoring.known_users import KnownUsers
from bascule_server.scoring.query import FeatureValue, ItemNotFoundError, Query

TOWER_PATHS = frozenset(
    {
        RANKING_PATH_PERSONALISED,
        RANKING_PATH_HISTORY,
        RANKING_PATH_COLD,
    }
)
"""The paths on which the query tower makes the vector."""


class Subject(NamedTuple):
    """What is known about the one a query is for."""

    path: RankingPath.ValueType
    history: NDArray[np.int64]
    """int64 [items], the rows by which the query tower knows them, oldest first."""
    features: Mapping[str, FeatureValue]
    had: NDArray[np.int64]
    """int64 [items], rows of the catalogue: the history as it is to be excluded."""
    item_row: int | None = None
    """The row of the item, where the query is one."""
    unknown_item_ids: Sequence[str] = ()
    """Ids of the history that the catalogue does not have."""


_NO_ROWS = np.empty(0, np.int64)


class Subjects:
    """Looks up users and items."""

    def __init__(self, catalogue: Catalogue, users: KnownUsers, features: FeaturesEncoder) -> None:
        self._catalogue = catalogue
        self._users = users
        self._features = features

    def with_catalogue(self, catalogue: Catalogue) -> "Subjects":
        """The same users, and other items."""
        return Subjects(catalogue, self._users, self._features)

    def of(self, query: Query, history: Known) -> Subject:
        """What is known about the one a query is for, with what the catalogue has of its history.

        Raises:
            ItemNotFoundError: it is an item that the catalogue does not have.
        """
        if query.vector is not None:
            return Subject(RANKING_PATH_VECTOR, _NO_ROWS, {}, _NO_ROWS)
        if query.item_id is not None:
            row = self._catalogue.row(query.item_id)
            if row is None:
                raise ItemNotFoundError
            return Subject(RANKING_PATH_SIMILAR, _NO_ROWS, {}, _NO_ROWS, item_row=row)
        return self._user(query, history)

    def _user(self, query: Query, history: Known) -> Subject:
        had = history.rows
        read = self._catalogue.as_read(had)
        features = query.features
        known = self._users.find(query.user_id) if query.user_id else None
        if known is not None:
            if not query.history:
                read, had = known.history, self._catalogue.current(known.history)
            features = {**known.features, **features}
        path = self._path(known is not None, read, features)
        return Subject(path, read, features, had, unknown_item_ids=history.unknown)

    def _path(
        self, is_known: bool, history: NDArray[np.int64], features: Mapping[str, FeatureValue]
    ) -> RankingPath.ValueType:
        if is_known:
            return RANKING_PATH_PERSONALISED
        if len(history):
            return RANKING_PATH_HISTORY
        if self._features.knows_any(features):
            return RANKING_PATH_COLD
        return RANKING_PATH_POPULAR
