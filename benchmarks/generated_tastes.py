"""Generated logs whose tastes are known: linear ones, narrow ones, and such as two features decide together.

A user has ``HAD`` items, drawn one after the other from the user's chances, none twice, in no order; the last ones are
validation or test, of ``ASKED`` users each. What the chances are is said of each log.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_training.config import DataConfig
from bascule_training.data.splits import Given

USERS = 2_000
ITEMS = 400
HAD = 24
HELD_OUT = 4
"""Of a user's items so many are validation, and as many test."""

ASKED = 500
"""How many users are asked in validation, and how many others in the test."""

GENRES = 8
NARROWNESS = 30.0
"""The concentration of a taste on the sphere: 15 degrees from its middle the chance is 1/e of that in the middle."""

ZIPF = 0.8
KINDS = 2
"""How many values either feature has, and how many kinds of items there are."""

OWN_KIND = 0.9
"""How often an item is of the kind that a user's features decide."""

NO_FEATURES = np.zeros((2, USERS), np.int64)
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
    """Features a and b of the users, each 0 or 1, decide together: a user likes items of the kind a XOR b.

    a alone says nothing of what a user likes, nor does b. Within a kind the chances follow Zipf's law. Of the users in
    validation and test only the features are known.
    """
    random = np.random.default_rng([seed, 3])
    a, b = random.integers(0, KINDS, (2, USERS))
    kinds = random.permutation(ITEMS) % KINDS
    is_own = kinds == ((a + b) % KINDS)[:, None]
    chances = np.where(is_own, OWN_KIND, 1.0 - OWN_KIND) * np.arange(1, ITEMS + 1) ** -ZIPF
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = _drawn("together", chances, random, np.stack([a, b]))
    asked = pl.concat([drawn.validation, drawn.test])["user_id"].unique()
    return replace(drawn, train=drawn.train.filter(~pl.col("user_id").is_in(asked.to_list())))


def _drawn(
    name: str, chances: Numbers, random: np.random.Generator, features: NDArray[np.int64] = NO_FEATURES
) -> Tastes:
    # The largest sums of logarithms and Gumbel noise are a draw without replacement (Kool and others, Stochastic beams
    # and where to find them, 2019).
    keys = np.log(chances) + random.gumbel(size=chances.shape)
    had = random.permuted(np.argpartition(-keys, HAD, axis=1)[:, :HAD], axis=1)
    first, last = np.split(had, [HAD - HELD_OUT], axis=1)
    everyone = np.arange(USERS)  # in no order that tells anything
    for_validation, for_test = everyone[:ASKED], everyone[ASKED : 2 * ASKED]
    train = pl.concat([_log(everyone, first, 0), _log(everyone[2 * ASKED :], last[2 * ASKED :], HAD)])
    validation, test = (_log(users, last[users], HAD) for users in (for_validation, for_test))
    numbers = pl.DataFrame({"user": everyone, "a": features[0], "b": features[1]})
    users = numbers.select(
        pl.format("u{}", pl.col("user")).alias("user_id"), *(pl.col(each).cast(pl.String) for each in "ab")
    )
    return Tastes(name, train, validation, test, users, chances)


def _log(users: NDArray[np.int64], had: NDArray[np.int64], start: int) -> pl.DataFrame:
    """A row for each of the items [users, count]; the times count from ``start``."""
    times = np.tile(np.arange(start, start + had.shape[1]), len(had))
    return pl.DataFrame({"user": np.repeat(users, had.shape[1]), "item": had.ravel(), "time": times}).select(
        user_id=pl.format("u{}", pl.col("user")), item_id=pl.format("i{}", pl.col("item")), time=pl.col("time")
    )


def _unit(vectors: Numbers) -> Numbers:
    unit: Numbers = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
