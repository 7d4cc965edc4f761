"""What a score is worth: how often recommendations of about that score were right."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from bascule_training.report.contents import ScoredItems

BINS = 10


class Calibration(NamedTuple):
    """Recommendations in bins of about equal numbers, by rising score; float64 [bins] each."""

    score: NDArray[np.float64]
    """The mean score of the bin."""
    hit_rate: NDArray[np.float64]
    """The share of its recommendations that the user turned to next."""
    low: NDArray[np.float64]
    """The lower end of the share's 95 % interval (Wilson, Probable inference, 1927)."""
    high: NDArray[np.float64]


def calibration(scored: ScoredItems) -> Calibration | None:
    """Bins recommendations by score; None where there are fewer than bins.

    A score of retrieval is no probability: it says which of two items suits a user better. This says what it is worth
    across users, which is what a least score in a request relies on.
    """
    if len(scored.scores) < BINS:
        return None
    bins = np.array_split(np.argsort(scored.scores, kind="stable"), BINS)
    hits = [int(scored.is_next[each].sum()) for each in bins]
    ends = [binomtest(count, len(each)).proportion_ci(method="wilson") for count, each in zip(hits, bins, strict=True)]
    return Calibration(
        score=np.array([scored.scores[each].mean(dtype=np.float64) for each in bins]),
        hit_rate=np.array([count / len(each) for count, each in zip(hits, bins, strict=True)]),
        low=np.array([end.low for end in ends]),
        high=np.array([end.high for end in ends]),
    )
