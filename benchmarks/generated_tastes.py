"""Generated logs whose tastes are known: linear ones, narrow ones, and such as two features decide together.

A user has ``HAD`` items, drawn one after the other from the user's chances, none twice, in no order; the last ones are
validation and test. What the chances are is said of each log.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_training.config import DataConfig
from bascule_training.splits import Given

USERS = 1_000
ITEMS = 200
HAD = 24
HELD_OUT = 4
"""Of a user's items so many are validation, and as many test."""

GENRES = 8
NARROWNESS = 30.0
"""The concentration of a taste on the sphere: 15 degrees from its middle the chance is 1/e of that in the middle."""

ZIPF = 0.8
KINDS = 4
"""How many values either feature has, and how many kinds of items there are."""

OWN_KIND = 0.9
"""How often an item is of the kind that a user's features decide."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tastes:
    """A generated log in three parts, and what it was drawn from.

    Attributes:
        name: what it is called.
        train: ``user_id, item_id: String, time: Int64``.
        validation: the same columns.
        test: the same columns.
        users: ``user_id, a, b: String``, two features that tell something of one of the logs alone.
        chances: float64 [users, items], that a user's next item is this one, by the numbers in the ids; rows sum to 1.
    """

    name: str
    train: pl.DataFrame
    validation: pl.DataFrame
    test: pl.DataFrame
    users: pl.DataFrame
    chances: Numbers

    def write(self, folder: Path) -> DataConfig:
        """Writes the parts as Parquet files; returns the configuration that reads them."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test, "users": self.users}
        paths = {name: folder / f"{name}.parquet" for name in parts}
        for name, part in parts.items():
            part.write_parquet(paths[name])
        split = Given(validation=paths["validation"], test=paths["test"])
        return DataConfig(interactions=paths["train"], users=paths["users"], split=split)


def linear(seed: int) -> Tastes:
    """A user is a mixture of genres, a genre a distribution over items.

    The chances are a product of [users, genres] and [genres, items]: a matrix of rank ``GENRES``.
    """
    random = np.random.default_rng([seed, 1])
    users = random.dirichlet(np.full(GENRES, 0.3), USERS)
    genres = 0.98 * random.dirichlet(np.full(ITEMS, 0.1), GENRES) + 0.02 / ITEMS
    return _drawn("linear", users @ genres, random)


def narrow(seed: int) -> Tastes:
    """Users u and items i are places on a sphere: unit vectors of 3 components.

    The chance is proportional to p exp(k u·i), with the popularity p by Zipf's law and k the ``NARROWNESS``: a von
    Mises-Fisher distribution around the user, times popularity. Its logarithm, k u·i + log p less what is the same for
    all items of a user, is a product of vectors of 4 components and a shift; the chances are a matrix of full rank.
    """
    random = np.random.default_rng([seed, 2])
    users, items = (_unit(random.normal(size=(count, 3))) for count in (USERS, ITEMS))
    popularity = np.arange(1, ITEMS + 1) ** -ZIPF
    chances = popularity * np.exp(NARROWNESS * (users @ items.T - 1.0))
    return _drawn("narrow", chances / chances.sum(axis=1, keepdims=True), random)


def together(seed: int) -> Tastes:
    """Features a and b of the users decide together: a user likes items of the kind (a + b) mod ``KINDS``.

    This is a Latin square: a alone says nothing of what a user likes, nor does b. A quarter of the users is validation
    or test; of them only the features are known.
    """
    random = np.random.default_rng([seed, 3])
    a, b = random.integers(0, KINDS, (2, USERS))
    kinds = np.arange(ITEMS) % KINDS
    is_own = kinds == ((a + b) % KINDS)[:, None]
    chances = np.where(is_own, OWN_KIND, (1.0 - OWN_KIND) / (KINDS - 1)) * (KINDS / ITEMS)
    drawn = _drawn("together", chances, random, a, b)
    part = pl.col("user_id").str.slice(1).cast(pl.Int64) % 8  # users stand in no order that tells anything
    log = pl.concat([drawn.train, drawn.validation, drawn.test]).sort("time", maintain_order=True)
    return Tastes(drawn.name, log.filter(part < 6), log.filter(part == 6), log.filter(part == 7), drawn.users, chances)


def _drawn(
    name: str,
    chances: Numbers,
    random: np.random.Generator,
    a: NDArray[np.int64] | None = None,
    b: NDArray[np.int64] | None = None,
) -> Tastes:
    # The largest sums of logarithms and Gumbel noise are a draw without replacement (Kool and others, Stochastic beams
    # and where to find them, 2019).
    keys = np.log(chances) + random.gumbel(size=chances.shape)
    had = random.permuted(np.argpartition(-keys, HAD, axis=1)[:, :HAD], axis=1)
    ends = (HAD - 2 * HELD_OUT, HAD - HELD_OUT)
    first, second, third = np.split(had, ends, axis=1)
    nothing = np.zeros(USERS, np.int64)
    numbers = pl.DataFrame(
        {"user": np.arange(USERS), "a": nothing if a is None else a, "b": nothing if b is None else b}
    )
    users = numbers.select(
        user_id=pl.format("u{}", pl.col("user")), a=pl.format("a{}", pl.col("a")), b=pl.format("b{}", pl.col("b"))
    )
    return Tastes(name, _log(first, 0), _log(second, ends[0]), _log(third, ends[1]), users, chances)


def _log(had: NDArray[np.int64], start: int) -> pl.DataFrame:
    """A row for each of the items [users, count]; the times count from ``start``."""
    users = np.repeat(np.arange(len(had)), had.shape[1])
    times = np.tile(np.arange(start, start + had.shape[1]), len(had))
    return pl.DataFrame({"user": users, "item": had.ravel(), "time": times}).select(
        user_id=pl.format("u{}", pl.col("user")), item_id=pl.format("i{}", pl.col("item")), time=pl.col("time")
    )


def _unit(vectors: Numbers) -> Numbers:
    unit: Numbers = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
