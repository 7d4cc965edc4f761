"""What the targets of a step compete with where the softmax does not run over the whole catalogue."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule_training.config import Masks
from bascule_training.data.examples import Examples
from bascule_training.data.frequency import target_frequencies
from bascule_training.data.histories import Histories
from bascule_training.fitting.known_positives import KnownPositives

MAX_IN_BATCH = 2_048
"""How many targets of the batch compete at the most."""


@dataclass(frozen=True, slots=True)
class Competitors:
    """Sampled negatives, shared by all queries of a step."""

    rows: NDArray[np.int32]
    """int32 [competitors], the items."""
    log_q: NDArray[np.float32]
    """float32 [competitors], the logarithm of how often each is expected among them."""
    target_log_q: NDArray[np.float32]
    """float32 [queries, targets], the same of the targets."""
    is_known: NDArray[np.bool_]
    """bool [queries, competitors], whether it is no negative of the query: its target, or an item its user had."""


class CompetitorSampler:
    """Draws competitors: items evenly from the catalogue, targets of the batch, or both."""

    def __init__(
        self, histories: Histories, item_count: int, *, in_batch: bool, uniform_count: int, masks: Masks
    ) -> None:
        """Takes what it draws from.

        Args:
            histories: of the training part.
            item_count: of the catalogue.
            in_batch: whether the targets of a batch compete with each other.
            uniform_count: how many items are drawn evenly.
            masks: which of a query's competitors are no negatives.
        """
        self._known = KnownPositives(histories, item_count) if masks == "known" else None
        self._item_count = item_count
        self._in_batch = in_batch
        self._uniform_count = uniform_count
        self._frequencies = target_frequencies(histories.item_rows, item_count)

    def draw(self, examples: Examples, random: np.random.Generator) -> Competitors:
        """The competitors of one step."""
        in_batch, is_filled = self._of_batch(examples, random)
        drawn = random.integers(0, self._item_count, self._uniform_count)
        rows = np.concatenate([in_batch, drawn]).astype(np.int32)
        expected = self._expected(int(np.count_nonzero(~is_filled)))
        is_known = self._no_negatives(examples, rows)
        is_known[:, : len(in_batch)] |= is_filled
        return Competitors(rows, _log(expected[rows]), _log(expected[examples.targets]), is_known)

    def _no_negatives(self, examples: Examples, rows: NDArray[np.int32]) -> NDArray[np.bool_]:
        if self._known is not None:
            return self._known.mask(examples.users.ravel(), rows)
        if examples.targets.shape[1] == 1:
            is_target: NDArray[np.bool_] = examples.targets == rows
            return is_target
        pairs = zip(examples.targets, examples.weights, strict=True)
        return np.stack([np.isin(rows, targets[weights > 0]) for targets, weights in pairs])

    def _of_batch(self, examples: Examples, random: np.random.Generator) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Targets of the batch, always as many, and which of these only fill."""
        if not self._in_batch:
            return np.empty(0, np.int32), np.empty(0, np.bool_)
        size = min(MAX_IN_BATCH, examples.targets.size)
        places = np.flatnonzero(examples.weights)
        if len(places) > size:
            places = random.choice(places, size, replace=False)
        rows = np.zeros(size, np.int32)
        rows[: len(places)] = examples.targets.ravel()[places]
        return rows, np.arange(size) >= len(places)

    def _expected(self, target_count: int) -> NDArray[np.float64]:
        """float64 [items], how often each is expected among the competitors, so many of them targets of the batch."""
        expected = np.full(self._item_count, self._uniform_count / self._item_count)
        if self._in_batch:
            # At least one, so that a batch without a target has logarithms too.
            expected += self._frequencies * max(target_count, 1)
        return expected


def _log(values: NDArray[np.float64]) -> NDArray[np.float32]:
    logarithms: NDArray[np.float32] = np.log(values).astype(np.float32)
    return logarithms
