"""A generated log with planted tastes: something to learn where no data may be fetched.

What is planted, so that a model can find it:

- Each item belongs to one taste, its first genre; each user has a mixture of tastes, most of it one or two.
- Within a taste popularity follows Zipf's law.
- The items of a taste have an order, and a user often goes from one to the next: the order of a history tells more
  than its set.
- Age and country of a user, and year and price of an item, hint at the taste, for users and items without history.

No user has an item twice.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GENRES = ("Action", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Horror", "Romance")
COUNTRIES = ("AR", "BR", "CA", "DE", "FR", "IN", "JP", "US")
_TASTES = len(GENRES)

_START = 1_704_067_200  # 2024-01-01 in UTC
_SECONDS = 365 * 86_400
_ZIPF_EXPONENT = 0.9
_CONCENTRATION = 0.2  # of the Dirichlet distribution of a user's tastes: the lower, the fewer tastes
_ANY_TASTE = 0.1  # how often a user ignores the own tastes
_FOLLOWS = 0.4  # how often a user goes on to the next item of the taste
_SECOND_GENRE = 0.3
_OWN_COUNTRY = 0.6  # how often a user is of the country of the main taste
_ACTIVITY_DEVIATION = 0.7  # of the logarithm of how many items a user has
_REDRAWS = 3
_BLOCK_ROWS = 1_000_000


@dataclass(frozen=True, slots=True)
class Generated:
    """The generated tables.

    Attributes:
        interactions: ``user_id, item_id: String, time: Int64`` (unix seconds), in time order.
        users: ``user_id: String, age: Int64, country: String``.
        items: ``item_id: String, title: String, genres: List(String), year: Int64, price: Float64, released: Date``.
    """

    interactions: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame


def generate(users: int = 1_000, items: int = 500, interactions: int = 30_000, seed: int = 0) -> Generated:
    """Generates exactly so many users, items and interactions; equal arguments give equal tables.

    Raises:
        ValueError: fewer than 1 user, fewer than 8 items (one of each taste), fewer interactions than users, or more
            than half of all pairs of user and item.
    """
    _check(users, items, interactions, seed)
    rng = np.random.default_rng(seed)
    catalogue = _Catalogue.draw(rng, items)
    mixtures = rng.dirichlet(np.full(_TASTES, _CONCENTRATION), users)
    mixtures = (1 - _ANY_TASTE) * mixtures + _ANY_TASTE / _TASTES
    counts = _interaction_counts(rng, users, interactions, most=items // 2)
    cumulative = np.cumsum(mixtures[:, :-1], axis=1)
    blocks = [_interactions_of(rng, catalogue, cumulative, block) for block in _user_blocks(counts)]
    return Generated(
        pl.concat(blocks).sort("time", maintain_order=True),
        _user_table(rng, mixtures),
        catalogue.table(rng),
    )


def write(generated: Generated, folder: Path) -> None:
    """Writes ``interactions.parquet``, ``users.parquet`` and ``items.parquet``; makes the folder where it is missing.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    generated.interactions.write_parquet(folder / "interactions.parquet")
    generated.users.write_parquet(folder / "users.parquet")
    generated.items.write_parquet(folder / "items.parquet")


def _check(users: int, items: int, interactions: int, seed: int) -> None:
    if users < 1:
        raise ValueError(f"got {users} users; expected at least 1")
    if items < _TASTES:
        raise ValueError(f"got {items} items; expected at least {_TASTES}, one of each taste")
    if not users <= interactions <= users * (items // 2):
        raise ValueError(
            f"got {interactions:,} interactions; expected from {users:,}, one a user, to {users * (items // 2):,},"
            " half of the items a user"
        )
    if seed < 0:
        raise ValueError(f"got the seed {seed}; expected 0 or more")


@dataclass(frozen=True, slots=True)
class _Catalogue:
    """Items by place: those of one taste stand together, the most popular first.

    Attributes:
        numbers: int64 [items], the number in the id of the item at each place.
        tastes: int64 [items], the taste of the item at each place, ascending.
        starts: int64 [tastes], the place where each taste begins.
        sizes: int64 [tastes], the number of items of each taste.
        cumulative: float64 [items], taste + the share of the taste's popularity up to and with this place.
    """

    numbers: Ints
    tastes: Ints
    starts: Ints
    sizes: Ints
    cumulative: Floats

    @classmethod
    def draw(cls, rng: np.random.Generator, items: int) -> "_Catalogue":
        tastes = np.sort(np.arange(items) % _TASTES)
        sizes = np.bincount(tastes, minlength=_TASTES)
        starts = np.cumsum(sizes) - sizes
        shares = [np.cumsum(np.arange(1, size + 1) ** -_ZIPF_EXPONENT) for size in sizes]
        cumulative = np.concatenate([taste + share / share[-1] for taste, share in enumerate(shares)])
        return cls(rng.permutation(items), tastes, starts, sizes, cumulative)

    def choose(self, rng: np.random.Generator, tastes: Ints) -> Ints:
        """int64 [rows], a place in each taste, by popularity."""
        places = np.searchsorted(self.cumulative, tastes + rng.random(len(tastes)), side="right")
        return np.minimum(places, len(self.cumulative) - 1)

    def advance(self, places: Ints, steps: Ints) -> Ints:
        """int64 [rows], the places so many items on in the order of the taste, after its last one its first."""
        tastes = self.tastes[places]
        starts = self.starts[tastes]
        advanced: Ints = starts + (places - starts + steps) % self.sizes[tastes]
        return advanced

    def table(self, rng: np.random.Generator) -> pl.DataFrame:
        """The items in the order of their numbers."""
        tastes = self.tastes[np.argsort(self.numbers)]
        count = len(tastes)
        others = (tastes + rng.integers(1, _TASTES, count)) % _TASTES
        has_other = rng.random(count) < _SECOND_GENRE
        numbers = pl.int_range(count, eager=True)
        first = pl.Series(np.asarray(GENRES)[tastes])
        second = pl.Series(np.asarray(GENRES)[others])
        return pl.select(
            item_id=pl.format("i{}", numbers),
            title=pl.format("{} No. {}", first, numbers),
            genres=pl.when(pl.Series(has_other)).then(pl.concat_list(first, second)).otherwise(pl.concat_list(first)),
            year=pl.Series(np.clip(np.rint(rng.normal(1_985 + 5 * tastes, 6)), 1_950, 2_023).astype(np.int64)),
            price=pl.Series(np.round(rng.lognormal(np.log(4 + 2 * tastes), 0.3), 2)),
        ).with_columns(
            released=pl.date("year", 1, 1) + pl.duration(days=pl.lit(pl.Series(rng.integers(0, 365, count))))
        )


def _user_table(rng: np.random.Generator, mixtures: Floats) -> pl.DataFrame:
    main = mixtures.argmax(axis=1)
    count = len(main)
    countries = np.where(rng.random(count) < _OWN_COUNTRY, main, rng.integers(0, len(COUNTRIES), count))
    return pl.select(
        user_id=pl.format("u{}", pl.int_range(count)),
        age=pl.Series(np.clip(np.rint(rng.normal(20 + 6 * main, 6)), 16, 90).astype(np.int64)),
        country=pl.Series(np.asarray(COUNTRIES)[countries]),
    )


def _interaction_counts(rng: np.random.Generator, users: int, interactions: int, most: int) -> Ints:
    """int64 [users], log-normal around the mean, at least 3 each where there are so many, at most ``most``."""
    least = min(3, interactions // users)
    activity = rng.lognormal(0, _ACTIVITY_DEVIATION, users)
    spare = interactions - least * users
    counts: Ints = np.minimum(least + np.floor(spare * activity / activity.sum()).astype(np.int64), most)
    while missing := interactions - int(counts.sum()):
        counts[np.flatnonzero(counts < most)[:missing]] += 1
    return counts


def _user_blocks(counts: Ints) -> Iterator[Ints]:
    """Users row by row, each as often as it interacts, in blocks that bound the memory of the drawing."""
    block = np.cumsum(counts) // _BLOCK_ROWS
    for users in np.split(np.arange(len(counts)), np.flatnonzero(np.diff(block)) + 1):
        yield np.repeat(users, counts[users])


def _interactions_of(rng: np.random.Generator, catalogue: _Catalogue, cumulative: Floats, users: Ints) -> pl.DataFrame:
    """The interactions of a block of users.

    Args:
        rng: where chance comes from.
        catalogue: the items.
        cumulative: float64 [all users, tastes - 1], each user's shares of the tastes up to and with this one.
        users: int64 [rows], ascending.
    """
    places = _walk(rng, catalogue, cumulative, users)
    _redraw_repeats(rng, catalogue, cumulative, users, places)
    seconds = _START + (_SECONDS * _sorted_fractions(rng, users)).astype(np.int64)
    return pl.select(
        user_id=pl.format("u{}", pl.Series(users)),
        item_id=pl.format("i{}", pl.Series(catalogue.numbers[places])),
        time=pl.Series(seconds),
    )


def _walk(rng: np.random.Generator, catalogue: _Catalogue, cumulative: Floats, users: Ints) -> Ints:
    """int64 [rows], places: each chosen by the user's tastes or the one after the place before."""
    follows = rng.random(len(users)) < _FOLLOWS
    follows[np.flatnonzero(np.diff(users, prepend=-1))] = False
    rows = np.arange(len(users))
    origins = np.maximum.accumulate(np.where(follows, 0, rows))
    chosen = catalogue.choose(rng, _draw_tastes(rng, cumulative, users))
    return catalogue.advance(chosen[origins], rows - origins)


def _draw_tastes(rng: np.random.Generator, cumulative: Floats, users: Ints) -> Ints:
    """int64 [rows], a taste from the mixture of each row's user."""
    tastes: Ints = np.sum(cumulative[users] < rng.random((len(users), 1)), axis=1, dtype=np.int64)
    return tastes


def _redraw_repeats(
    rng: np.random.Generator, catalogue: _Catalogue, cumulative: Floats, users: Ints, places: Ints
) -> None:
    """Replaces, in ``places``, what a user had before: by taste, and where that does not help, by any item."""
    count = len(catalogue.numbers)
    rows = np.arange(len(users))
    for attempt in itertools.count():
        again = rows[_is_repeat(users[rows] * count + places[rows])]
        if not len(again):
            return
        if attempt < _REDRAWS:
            places[again] = catalogue.choose(rng, _draw_tastes(rng, cumulative, users[again]))
        else:
            places[again] = rng.integers(0, count, len(again))
        rows = np.flatnonzero(np.isin(users, users[again]))


def _is_repeat(keys: Ints) -> NDArray[np.bool_]:
    again = np.ones(len(keys), np.bool_)
    again[np.unique(keys, return_index=True)[1]] = False
    return again


def _sorted_fractions(rng: np.random.Generator, users: Ints) -> Floats:
    """float64 [rows], from 0 to 1, ascending for each user. ``users`` is ascending, so one sort is enough."""
    fractions: Floats = np.sort(users + rng.random(len(users))) - users
    return fractions
