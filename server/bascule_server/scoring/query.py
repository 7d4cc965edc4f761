"""What the scorer is asked and what it answers, free of the wire: a question is a query and what is wanted of it.

    Question(query, Rank(...))  -> Ranking
    Question(query, Score(...)) -> ItemScores
    Question(query, Embed())    -> QueryVector

The service builds these from messages and training builds them from data. What they hold has been validated: ids may
be unknown, but features and attributes are declared and have the declared kind, and numbers are finite.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import SHORTFALL_UNSPECIFIED, RankingPath, Shortfall
from bascule_server.scoring.item_ids import ListedItems

FeatureValue: TypeAlias = str | float | tuple[str, ...] | datetime
"""The value of a feature or an attribute: a category, a number, several categories, or, of an attribute, a moment."""


NO_FEATURES: Mapping[str, FeatureValue] = MappingProxyType({})


class Query(NamedTuple):
    """Whom or what to answer for.

    A user (``user_id``, ``history``, ``features``, any of them empty), or an item (``item_id``), or a vector.
    """

    user_id: str = ""
    history: Sequence[str] = ()
    """Item ids, oldest first."""
    features: Mapping[str, FeatureValue] = NO_FEATURES
    item_id: str | None = None
    vector: NDArray[np.float32] | None = None
    """float32 [dimension]."""
    excluded_item_ids: Sequence[str] = ()
    candidate_item_ids: Sequence[str] = ()
    """Where not empty, no other item is ranked."""


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Items of which a value of ``attribute`` is among ``values``."""

    attribute: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Items of which no value of ``attribute`` is among ``values``."""

    attribute: str
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class InRange:
    """Items of which ``attribute`` lies in [low, high]; of a moment these are microseconds since 1970 in UTC."""

    attribute: str
    low: float
    high: float


Filter: TypeAlias = AnyOf | NoneOf | InRange


@dataclass(frozen=True, slots=True)
class Cap:
    """At most ``max_count`` items that share a value of ``attribute``."""

    attribute: str
    max_count: int


@dataclass(frozen=True, slots=True)
class Rank:
    """Asks for the best items. Hashable, so that questions with equal options can be answered together."""

    item_count: int = 10
    exclude_history: bool = True
    filters: tuple[Filter, ...] = ()
    cap: Cap | None = None
    min_score: float | None = None
    diversity: float = 0.0
    """From 0 to 1, see ``diversity.py``."""
    forbid_fallback: bool = False
    """Whether a query about which nothing is known gets no ranking."""
    because_count: int = 0
    """How many items of the history to name for each item, that are most like it."""
    attributes: tuple[str, ...] = ()
    """Names of the item attributes to return."""
    skip_ranking: bool = False
    """Whether retrieval alone orders the items."""


@dataclass(frozen=True, slots=True)
class Score:
    """Asks for the scores of given items."""

    item_ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class Embed:
    """Asks for the query's vector."""


class Question(NamedTuple):
    """One row of work: a query and what is wanted of it."""

    query: Query
    ask: Rank | Score | Embed


class Ranking(NamedTuple):
    """The best items, best first; at equal scores in the order of the catalogue."""

    items: ListedItems
    scores: NDArray[np.float32]
    """float32 [items], higher is better."""
    path: RankingPath.ValueType
    unknown_item_ids: list[str]
    """Ids of the query that the catalogue does not have: the first 100 distinct ones."""
    attributes: list[dict[str, FeatureValue]] | None = None
    """The items' attributes, where any were asked for."""
    shortfall: Shortfall.ValueType = SHORTFALL_UNSPECIFIED
    """Why there are fewer than were asked for."""
    because: list[list[str]] | None = None
    """Ids of the history for each of the items, where any were asked for and a history was read."""
    is_ranked: bool = False
    """Whether the ranking tower ordered the items; the scores are then its."""

    @property
    def item_ids(self) -> list[str]:
        """The items' ids, made anew each time."""
        return self.items.ids


@dataclass(frozen=True, slots=True)
class ItemScores:
    """The scores of the items asked for, in the order asked."""

    scores: NDArray[np.float32]
    """float32 [items]; NaN where the catalogue does not have the item."""
    path: RankingPath.ValueType
    unknown_item_ids: list[str]


@dataclass(frozen=True, slots=True)
class QueryVector:
    """The vector of a query."""

    vector: NDArray[np.float32]
    """float32 [dimension]."""
    path: RankingPath.ValueType


class QueryError(Exception):
    """A query that cannot be answered, though it is valid. It concerns one row and is returned, not raised."""


class ItemNotFoundError(QueryError):
    """The query is an item that the catalogue does not have."""


class NothingKnownError(QueryError):
    """A vector, or a ranking without a fallback, was asked of a query about which the model knows nothing."""


Answer: TypeAlias = Ranking | ItemScores | QueryVector | QueryError
