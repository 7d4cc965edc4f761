"""Users' histories as two flat arrays: what training, baselines and evaluation read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array


@dataclass(frozen=True, slots=True)
class Histories:
    """The item rows of many users, one user behind the other.

    Attributes:
        item_rows: int32 [interactions], rows of the catalogue, each user's oldest first.
        offsets: int64 [users + 1], where each user's items begin; the last one is the number of interactions.
        times: int64 [interactions], unix seconds; None where the data has no time.
    """

    item_rows: NDArray[np.int32]
    offsets: NDArray[np.int64]
    times: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """The number of users."""
        return len(self.offsets) - 1

    def __getitem__(self, user: int) -> NDArray[np.int32]:
        """int32 [items], the history of one user, oldest first."""
        if not 0 <= user < len(self):
            raise IndexError(user)
        return self.item_rows[self.offsets[user] : self.offsets[user + 1]]

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[user] for user in range(len(self)))

    def part(self, start: int, stop: int) -> "Histories":
        """The histories of the users from ``start`` to before ``stop``."""
        offsets = self.offsets[start : stop + 1]
        within = slice(offsets[0], offsets[-1])
        times = None if self.times is None else self.times[within]
        return Histories(self.item_rows[within], offsets - offsets[0], times)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """int64 [users], the number of items of each."""
        return np.diff(self.offsets)

    def distinct(self) -> "Histories":
        """The same without repetitions: of an item that a user had several times, the newest occurrence."""
        users = np.repeat(np.arange(len(self)), self.lengths)
        pairs = users * (int(self.item_rows.max(initial=0)) + 1) + self.item_rows
        _, places_from_end = np.unique(pairs[::-1], return_index=True)
        places = np.sort(len(pairs) - 1 - places_from_end)
        offsets = np.concatenate([[0], np.cumsum(np.bincount(users[places], minlength=len(self)))]).astype(np.int64)
        return Histories(self.item_rows[places], offsets, None if self.times is None else self.times[places])

    def matrix(self, item_count: int) -> csr_array:
        """float32 [users, item_count], 1 where the user had the item."""
        ones = np.ones(len(self.item_rows), np.float32)
        # A copy, since joining the duplicates of a user changes the arrays that the matrix was made of.
        counts = csr_array((ones, self.item_rows, self.offsets), shape=(len(self), item_count), copy=True)
        counts.sum_duplicates()
        counts.data[:] = 1.0
        return counts


def of_users(interactions: pl.DataFrame, user_ids: Sequence[str], item_rows: Mapping[str, int]) -> Histories:
    """Gathers the histories of ``user_ids``, in their order; a user without interactions has an empty one.

    Args:
        interactions: columns ``user_id`` and ``item_id``, and ``time`` where there is one, in time order for each user.
        user_ids: distinct ids.
        item_rows: the row of each item id; interactions with other items are left out.
    """
    rows = (
        interactions.select(
            pl.col("user_id").replace_strict(
                dict(zip(user_ids, range(len(user_ids)), strict=True)), default=None, return_dtype=pl.Int64
            ).alias("user"),
            pl.col("item_id").replace_strict(item_rows, default=None, return_dtype=pl.Int32).alias("item"),
            pl.col("time") if "time" in interactions.columns else pl.lit(None, pl.Int64).alias("time"),
        )
        .drop_nulls(["user", "item"])
        .sort("user", maintain_order=True)
    )  # fmt: skip
    counts = np.bincount(rows["user"].to_numpy(), minlength=len(user_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    times = None if rows["time"].null_count() else rows["time"].to_numpy().astype(np.int64)
    return Histories(rows["item"].to_numpy().astype(np.int32), offsets, times)
