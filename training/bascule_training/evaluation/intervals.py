"""How far a figure can be trusted: intervals over users, differences between models, deviations over seeds.

A metric is a mean over users, and other users would have given another one. The bootstrap says how far from it: users
are drawn again with replacement, and their mean is taken (Efron and Tibshirani, An introduction to the bootstrap, 1993,
with percentile intervals). Equal values and equal seeds give equal intervals.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1_000
"""How often users are drawn again."""

LEVEL = 0.95
"""The share of the resampled means that lies within an interval."""

DRAWS_AT_A_TIME = 2**22
"""How many drawn users are held at a time: 32 MiB."""

Key = TypeVar("Key", bound=Hashable)


class Interval(NamedTuple):
    """Where a mean may well lie."""

    low: float
    high: float

    @property
    def half_width(self) -> float:
        """Half of what lies between the ends."""
        return (self.high - self.low) / 2


class Difference(NamedTuple):
    """How far one model is ahead of another, paired over users."""

    mean: float
    standard_error: float
    interval: Interval

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval.low > 0 or self.interval.high < 0


class Spread(NamedTuple):
    """A figure over several seeds."""

    mean: float
    deviation: float
    """The standard deviation of a sample; 0 of a single seed."""


def bootstrap(
    values: Mapping[Key, NDArray[np.float64]], weights: NDArray[np.float64] | None = None, *, seed: int = 0
) -> dict[Key, Interval]:
    """The 95 % interval of each mean over the users, all from the same draws.

    Args:
        values: each float64 [users].
        weights: float64 [users], what each user counts in the mean; None: all alike.
        seed: of the draws.
    """
    count = len(next(iter(values.values())))
    weights = np.ones(count) if weights is None else weights
    sums = np.column_stack([*(each * weights for each in values.values()), weights])  # [users, means + 1]
    drawn = np.concatenate([counts @ sums for counts in _draws(count, seed)])
    means = drawn[:, :-1] / drawn[:, -1:]
    ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {key: Interval(float(low), float(high)) for key, low, high in zip(values, *ends, strict=True)}


def _draws(count: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """Blocks of float64 [resamples, users], how often each user was drawn."""
    rng = np.random.default_rng(seed)
    size = max(1, DRAWS_AT_A_TIME // count)
    for start in range(0, RESAMPLES, size):
        rows = min(size, RESAMPLES - start)
        users = rng.integers(0, count, (rows, count))
        places = users + count * np.arange(rows)[:, None]
        yield np.bincount(places.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)


def paired_difference(
    one: NDArray[np.float64], other: NDArray[np.float64], weights: NDArray[np.float64] | None = None
) -> Difference:
    """How far ``one`` is ahead of ``other``, each float64 [users], the values of the same users in the same order.

    Paired, because both models find the same users easy: the error of the difference is smaller than that of either.

    Args:
        one: of one model.
        other: of the other.
        weights: float64 [users], what each user counts in the mean; None: all alike.
    """
    differences = one - other
    weights = np.ones(len(differences)) if weights is None else weights
    mean = float(np.average(differences, weights=weights))
    # Of a ratio of sums; with equal weights it is the deviation of the sample / sqrt(users).
    count = len(differences)
    squares = float(np.sum((weights * (differences - mean)) ** 2)) * count / max(count - 1, 1)
    error = float(np.sqrt(squares) / weights.sum())
    return Difference(mean, error, bootstrap({"": differences}, weights)[""])


def over_seeds(summaries: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """Mean and deviation of each figure, from the figures of one seed each."""
    return {name: _spread([summary[name] for summary in summaries]) for name in summaries[0]}


def _spread(figures: Sequence[float]) -> Spread:
    return Spread(float(np.mean(figures)), float(np.std(figures, ddof=1)) if len(figures) > 1 else 0.0)
