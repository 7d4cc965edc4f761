"""What to recommend for, and how: the values that go into a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FeatureValue: TypeAlias = str | int | float | Sequence[str] | datetime
"""The value of a feature or an attribute: a category, a number, several categories, or, of an attribute, a moment."""

VectorValues: TypeAlias = "Sequence[float] | NDArray[np.floating]"
"""The components of a vector: as many as the model's dimension, finite; sent as float32."""

VersionLabel: TypeAlias = Literal["stable", "canary"]
"""The role of a version in its model's plan, which operators set."""


def checked_moment(moment: datetime, name: str) -> datetime:
    """The moment.

    Raises:
        ValueError: It has no time zone, so that nobody knows when it is.
    """
    if moment.utcoffset() is None:
        raise ValueError(
            f"{name}: got {moment!r}; expected one with a time zone, such as datetime(2026, 1, 1, tzinfo=UTC)"
        )
    return moment


@dataclass(frozen=True, slots=True)
class Query:
    """Whom or what to answer for: a user, or an item, or a vector.

    A user may be known by id, by history, by features, or by any of them together. With none of them the most popular
    items are ranked.

    Raises:
        ValueError: It is about more than one of them.
    """

    user_id: str = ""
    history: Sequence[str] = ()
    """Ids of the items that the user interacted with, oldest first. At most 10,000."""
    features: Mapping[str, FeatureValue] = field(default_factory=dict)
    """Values of the features that the model declares, by name. ``Client.models`` lists them."""
    item_id: str | None = None
    """Ranks the items similar to this one."""
    vector: VectorValues | None = None
    """float [dimension], such as ``Client.embed`` returns."""
    excluded_item_ids: Sequence[str] = ()
    """Items that must not be recommended. At most 10,000."""
    candidate_item_ids: Sequence[str] | None = None
    """Only these items may be recommended. From 1 to 10,000; None: any item. An empty list cannot be sent."""

    def __post_init__(self) -> None:
        subjects = {
            "a user": self.user_id != "" or len(self.history) > 0 or len(self.features) > 0,
            "an item": self.item_id is not None,
            "a vector": self.vector is not None,
        }
        given = [name for name, is_given in subjects.items() if is_given]
        if len(given) > 1:
            raise ValueError(f"a query is about a user, an item or a vector; got {' and '.join(given)}")


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Items of which at least one value of ``attribute`` is among ``values``."""

    attribute: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Items of which no value of ``attribute`` is among ``values``; those without the attribute too."""

    attribute: str
    values: Sequence[str]


@dataclass(frozen=True, slots=True)
class InRange:
    """Items of which ``attribute``, a number or a moment, lies from ``min`` to ``max``, both included.

    Raises:
        TypeError: One end is a number, and the other a moment.
        ValueError: Neither end is given, or a moment has no time zone.
    """

    attribute: str
    min: float | datetime | None = None
    max: float | datetime | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.min, self.max) if end is not None]
        if not ends:
            raise ValueError(f"a range of {self.attribute!r} needs min, max or both; got neither")
        if len({isinstance(end, datetime) for end in ends}) > 1:
            raise TypeError(f"a range of {self.attribute!r} is of numbers or of moments; got one of each")
        for end in ends:
            if isinstance(end, datetime):
                checked_moment(end, f"a range of {self.attribute!r}")

    @property
    def is_of_moments(self) -> bool:
        """Whether its ends are moments, and not numbers."""
        return isinstance(self.min, datetime) or isinstance(self.max, datetime)


Filter: TypeAlias = AnyOf | NoneOf | InRange


@dataclass(frozen=True, slots=True)
class Cap:
    """At most ``max_count`` items, 1 or more, that share a value of ``attribute``."""

    attribute: str
    max_count: int


class RankingOptions(TypedDict, total=False):
    """How to rank, and by which model. The keywords of every method that ranks."""

    count: int
    """How many items: 10 where not given, at least 1; above 1,000 is taken as 1,000."""
    exclude_history: bool
    """Whether items in the query's history stay out of its ranking: True where not given."""
    filters: Sequence[Filter]
    """Restrictions on the items' attributes; an item must satisfy all of them. At most 32."""
    cap: Cap | None
    """At most so many items with the same value of one attribute."""
    min_score: float | None
    """Items with a lower score stay out."""
    diversity: float
    """How much items that are unlike each other are preferred, from 0, where not given, to 1: maximal marginal
    relevance, of which ``RankingOptions.diversity`` in the definitions of the API has the formula."""
    forbid_fallback: bool
    """Whether a query about which nothing is known gets no ranking but NOTHING_KNOWN: False where not given."""
    because_count: int
    """How many items of the history to name for each item, that are most like it: 0 where not given, at most 10."""
    attributes: Sequence[str]
    """Names of the attributes to return with each item. At most 32."""
    skip_ranking: bool
    """Whether retrieval alone orders the items, where the model has a ranking tower: False where not given."""
    model: str
    """The model's name; the client's own where not given."""
    version: int
    """Its version; 0, where not given: the one that ``label`` names."""
    label: VersionLabel | None
    """In the place of a version, its role: ``stable`` or ``canary``, whoever the user is, and NotFoundError where no
    canary serves. None, where not given: the stable one, or for the users of its share the canary."""
