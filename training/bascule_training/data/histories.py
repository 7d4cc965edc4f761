"""Users' histories as two flat arrays: what training, baselines and evaluation read."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

_NOWHERE = np.iinfo(np.int32).min
"""The row of an id that has none."""


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

    def before(self, user: int, time: int) -> NDArray[np.int32]:
        """int32 [items], what one user had before a moment in unix seconds, oldest first; the data has times."""
        if self.times is None:
            raise ValueError("these histories have no times")
        times = self.times[self.offsets[user] : self.offsets[user + 1]]
        return self[user][: np.searchsorted(times, time, side="left")]

    def part(self, start: int, stop: int) -> "Histories":
        """The histories of the users from ``start`` to before ``stop``."""
        offsets = self.offsets[start : stop + 1]
        within = slice(offsets[0], offsets[-1])
        times = None if self.times is None else self.times[within]
        return Histories(self.item_rows[within], offsets - offsets[0], times)

    def of(self, users: NDArray[np.int64]) -> "Histories":
        """The histories of some users, by place, in the order given."""
        counts = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        places = np.repeat(self.offsets[users] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Histories(self.item_rows[places], offsets, None if self.times is None else self.times[places])

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

    def lists(self) -> pl.Series:
        """List(Int32) [users], the item rows of each."""
        users = np.arange(len(self), dtype=np.int32)
        rows = pl.DataFrame({"user": np.repeat(users, self.lengths), "items": self.item_rows})
        lists = rows.group_by("user", maintain_order=True).agg("items")
        return (
            pl.DataFrame({"user": users})
            .join(lists, on="user", how="left", maintain_order="left")["items"]
            .fill_null([])
        )

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
    users = _looked_up(interactions["user_id"], user_ids, range(len(user_ids)))
    items = _looked_up(interactions["item_id"], list(item_rows), list(item_rows.values()))
    is_known = (users != _NOWHERE) & (items != _NOWHERE)
    # Those who are nowhere come first; sorting is stable, so that time goes on within each user.
    places = np.argsort(np.where(is_known, users, -1), kind="stable")[np.count_nonzero(~is_known) :]
    counts = np.bincount(users[is_known], minlength=len(user_ids))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    has_times = "time" in interactions.columns and not interactions["time"].null_count()
    return Histories(items[places], offsets, interactions["time"].to_numpy()[places] if has_times else None)


def _looked_up(ids: pl.Series, known_ids: Sequence[str], rows: Sequence[int]) -> NDArray[np.int32]:
    """int32 [ids], the row of each id, or ``_NOWHERE``."""
    # Equal categories have equal numbers in every column of this process.
    interned, known = ids.cast(pl.Categorical), pl.Series(known_ids, dtype=pl.String).cast(pl.Categorical)
    numbers, known_numbers = interned.to_physical().to_numpy(), known.to_physical().to_numpy()
    row_of = np.full(1 + max(numbers.max(initial=0), known_numbers.max(initial=0)), _NOWHERE, np.int32)
    row_of[known_numbers] = rows
    found: NDArray[np.int32] = row_of[numbers]
    return found
