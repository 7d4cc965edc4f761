"""The logged outcomes that a ranking tower may learn from: those between what towers learn from and what is tested."""

from pathlib import Path

import polars as pl

from bascule_training.config import RankerConfig
from bascule_training.data.splits import Splits
from bascule_training.data.tables import DataError, read_outcomes

MAX_LISTS = 20_000
"""The newest of them are learned from."""


def shown_lists(path: Path, splits: Splits, ranker: RankerConfig) -> pl.DataFrame:
    """Reads the lists that users were shown after the training part and before the test, with what they turned to.

    Towers that saw the training part do not know of what came after it, so that they score these lists as they score
    what they serve; and nothing of the test's time is learned. Where a moment parts the training part from the test,
    the list is from between them. Else it is, of each user, from after their last interaction of the training part and
    before their first of the test.

    Returns:
        Rows as ``read_outcomes`` makes them, each item once in a list, a list behind the other, the oldest first.

    Raises:
        DataError: the file is not what it should be, the interactions have no times, or no list is of that time.
    """
    if splits.train["time"].null_count():
        raise DataError(f"{path}: outcomes are of a time, and the interactions have none; name their column")
    outcomes = read_outcomes(path, ranker.context_kinds)
    after, before = _last(splits.train), _first(splits.test)
    if _is_parted(splits):
        low, high = after["time"].max(), before["time"].min()
        is_between = outcomes.select((pl.col("time") > low) & (pl.col("time") < high)).to_series()
    else:
        of_users = outcomes.select("user_id", "time")
        last = of_users.join(after, on="user_id", how="left", maintain_order="left", suffix="_after")["time_after"]
        first = of_users.join(before, on="user_id", how="left", maintain_order="left", suffix="_before")["time_before"]
        times = outcomes["time"]
        is_between = (times > last).fill_null(value=True) & (times < first).fill_null(value=True)
    lists = outcomes.filter(is_between)
    if not (lists["label"] > 0).any():
        raise DataError(
            f"{path}: of {outcomes['list'].n_unique():,} lists none in which a user turned to an item is later than the"
            " training part and earlier than the test; expected outcomes of the validation part's time"
        )
    newest = lists.select("list", "time").unique().sort("time", "list")["list"].tail(MAX_LISTS)
    kept = lists.filter(pl.col("list").is_in(newest.implode())).sort("time", "list", maintain_order=True)
    of_item = kept.group_by("list", "item_id", maintain_order=True)
    return of_item.agg(pl.all().exclude("label").first(), pl.col("label").max())


def _is_parted(splits: Splits) -> bool:
    latest, earliest = splits.train["time"].max(), splits.test["time"].min()
    return bool(latest < earliest)  # type: ignore[operator]


def _last(interactions: pl.DataFrame) -> pl.DataFrame:
    return _of_users(interactions, pl.col("time").max())


def _first(interactions: pl.DataFrame) -> pl.DataFrame:
    return _of_users(interactions, pl.col("time").min())


def _of_users(interactions: pl.DataFrame, time: pl.Expr) -> pl.DataFrame:
    return interactions.group_by(pl.col("user_id").cast(pl.String)).agg(time)
