"""What comes back: a ranking."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from bascule.arrays import Float32Array
from bascule.query import FeatureValue

ItemAttributes: TypeAlias = Mapping[str, FeatureValue]
"""The attributes of one item, by name. One that the item lacks is absent."""


class RankingPath(StrEnum):
    """How a ranking was made. Scores of different paths cannot be compared."""

    PERSONALISED = "personalised"
    """By the query tower, for a user whom the model knows."""
    HISTORY = "history"
    """By the query tower, from the history of a user whom the model does not know."""
    COLD = "cold"
    """By the query tower, from features alone."""
    POPULAR = "popular"
    """Nothing about the query was known. The score is the item's share of all interactions, from 0 to 1; newer ones may
    count more."""
    SIMILAR = "similar"
    """Items similar to an item. The score is a cosine, from -1 to 1."""
    VECTOR = "vector"
    """For the vector that the caller gave."""
    UNKNOWN = "unknown"
    """In a way that this version of the client does not know."""


class Shortfall(StrEnum):
    """Why a ranking has fewer items than were asked for."""

    RESTRICTED = "restricted"
    """No more items are left by what the query excludes, its candidates and the filters."""
    CAP = "cap"
    """No more items fit within the cap."""
    MIN_SCORE = "min_score"
    """No more items score as high as was asked for."""
    UNKNOWN = "unknown"
    """A reason that this version of the client does not know."""


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The best items for one query."""

    item_ids: list[str]
    """Best first; at equal scores in the order of the catalogue. With ``diversity``, in the order in which they were
    taken."""
    scores: Float32Array
    """float32 [items], parallel to ``item_ids``. Higher is better."""
    path: RankingPath = RankingPath.UNKNOWN
    unknown_item_ids: tuple[str, ...] = ()
    """Ids of the query that the catalogue does not have: the first 100 distinct ones."""
    attributes: list[ItemAttributes] | None = None
    """Parallel to ``item_ids``; None where none were asked for, or nothing was ranked."""
    because: list[list[str]] | None = None
    """Parallel to ``item_ids``: ids of the query's history that are most like the item, the most alike first. None
    where none were asked for, or no history was read."""
    shortfall: Shortfall | None = None
    """Why there are fewer items than were asked for; None where there are as many."""
    is_ranked: bool = False
    """Whether the model's ranking tower ordered the items, and the scores are its."""
    model: str = ""
    """The model that ranked."""
    version: int = 0
    """Its version."""
    catalogue_revision: int = 0
    """How many changes of the catalogue it knows of, where that may change; see ``CatalogueClient``."""
