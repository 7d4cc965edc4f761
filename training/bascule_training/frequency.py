"""How often each item is sampled: what the logQ correction of sampled negatives divides by."""

import numpy as np
from numpy.typing import NDArray


def target_frequencies(item_rows: NDArray[np.int32], item_count: int) -> NDArray[np.float64]:
    """float64 [items], the probability of each item to be the target of an interaction that is drawn evenly.

    Every item is counted half an interaction more, so that none has the probability 0.

    Args:
        item_rows: int32 [interactions], the items of the training part.
        item_count: of the catalogue.
    """
    counts = np.bincount(item_rows, minlength=item_count) + 0.5
    frequencies: NDArray[np.float64] = counts / counts.sum()
    return frequencies


class StreamingFrequencies:
    """The same from a log that is read once and does not fit in memory, in memory that does not grow with it.

    Of each item it keeps when it was last seen and the mean gap between two occurrences; the frequency is 1 by the gap.
    The mean forgets, so that it follows what becomes popular. An item shares its cell with others that have the same
    hash, which makes it look more frequent, never less; so it has a cell under each of several hashes, and the least
    frequent counts. Yi et al. 2019, "Sampling-bias-corrected neural modeling for large corpus item recommendations",
    algorithms 2 and 3, with two changes: a step is one interaction instead of one batch, so that frequencies are those
    of single targets, and the mean is corrected for its start as the moments of Adam are.
    """

    def __init__(self, *, hashes: int = 4, bits: int = 20, rate: float = 0.01, seed: int = 0) -> None:
        """Starts with nothing seen. It takes ``hashes * 2**bits * 24`` bytes.

        Args:
            hashes: how many cells an item has, at least 1.
            bits: there are ``2**bits`` cells for each hash, from 1 to 30 bits; have several times as many as items.
            rate: how much a gap counts beside those before it, above 0 and below 1. Lower is more exact, by
                sqrt(rate / 2), and slower to follow: a mean is over about 1 / rate occurrences of the item.
            seed: chooses the hashes.
        """
        self._bits = bits
        self._rate = rate
        # Multiply-shift, Dietzfelbinger et al. 1997: the highest bits of the product with an odd number.
        factors = np.random.default_rng(seed).integers(0, 2**64, hashes, np.uint64)
        self._factors = factors | np.uint64(1)
        self._seen = 0
        self._last = np.zeros((hashes, 2**bits), np.int64)
        self._gaps = np.zeros((hashes, 2**bits))
        self._weights = np.zeros((hashes, 2**bits))
        """What the weights of all gaps in a mean sum to: 0 for none, and in the end 1."""

    def update(self, items: NDArray[np.integer]) -> None:
        """Sees the next part of the log. How the log is parted changes nothing.

        Args:
            items: integers [interactions] of at least 0, the oldest first.
        """
        steps = np.arange(self._seen + 1, self._seen + 1 + len(items))
        self._seen += len(items)
        for place, cells in enumerate(self._cells(items)):
            self._update_hash(place, cells, steps)

    def of(self, items: NDArray[np.integer]) -> NDArray[np.float64]:
        """float64 [items], the estimated frequencies; of an item never seen, half an interaction of all.

        Args:
            items: integers [items] of at least 0.
        """
        places, cells = np.arange(len(self._factors))[:, None], self._cells(items)
        weights = self._weights[places, cells]
        unseen = np.full(weights.shape, 2.0 * max(self._seen, 1))
        gaps = np.divide(self._gaps[places, cells], weights, out=unseen, where=weights > 0)
        frequencies: NDArray[np.float64] = 1.0 / gaps.max(axis=0)
        return frequencies

    def _cells(self, items: NDArray[np.integer]) -> NDArray[np.intp]:
        """intp [hashes, items]."""
        products = items.astype(np.uint64) * self._factors[:, None]
        return (products >> np.uint64(64 - self._bits)).astype(np.intp)

    def _update_hash(self, place: int, cells: NDArray[np.intp], steps: NDArray[np.int64]) -> None:
        """As if each occurrence came alone: mean += rate (gap - mean)."""
        order = np.argsort(cells, kind="stable")
        seen, starts, counts = np.unique(cells[order], return_index=True, return_counts=True)
        ordered = steps[order]
        previous = np.concatenate([[0], ordered[:-1]])
        previous[starts] = self._last[place, seen]
        later = np.repeat(starts + counts - 1, counts) - np.arange(len(order))
        gap_weights = self._rate * (1.0 - self._rate) ** later
        gaps = np.bincount(np.repeat(np.arange(len(seen)), counts), gap_weights * (ordered - previous), len(seen))
        kept = (1.0 - self._rate) ** counts
        self._last[place, seen] = ordered[starts + counts - 1]
        self._gaps[place, seen] = kept * self._gaps[place, seen] + gaps
        self._weights[place, seen] = kept * self._weights[place, seen] + 1.0 - kept
