"""One data set, read and split: the catalogue, the users, and who is asked what to evaluate a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_training.config import DataConfig, FeatureConfig, RankerConfig
from bascule_training.data.features import FeaturesByUser
from bascule_training.data.histories import Histories, of_users
from bascule_training.data.splits import Splits, split, without_rare_items
from bascule_training.data.tables import (
    DataError,
    read_interactions,
    read_items,
    read_users,
    split_multi_valued,
    without_repetitions,
)
from bascule_training.evaluation.cases import DEFAULT_RULES, Cases, cases_of
from bascule_training.evaluation.protocol import EvaluationConfig

NO_RANKER = RankerConfig()
"""Reads nothing more than the towers."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """The data of one training run.

    Attributes:
        splits: the interactions, in parts.
        items: the catalogue: ``item_id`` and the item features, a row an item.
        users: ``user_id`` and the user features of everyone who interacted, a row a user.
        item_rows: the row of each item.
        duplicates_dropped: how many interactions were left out, since the user had had the item before.
    """

    splits: Splits
    items: pl.DataFrame
    users: pl.DataFrame
    item_rows: dict[str, int]
    duplicates_dropped: int = 0

    @property
    def interactions(self) -> pl.DataFrame:
        """All interactions, in time order; put together each time."""
        return _in_time_order(self.splits.train, self.splits.validation, self.splits.test)

    def histories(self, interactions: pl.DataFrame) -> Histories:
        """The histories of all users, in the order of ``users``, in a part of the interactions."""
        return of_users(interactions, self.users["user_id"].to_list(), self.item_rows)

    def before_test(self) -> pl.DataFrame:
        """The interactions of the training and the validation part."""
        return _in_time_order(self.splits.train, self.splits.validation)

    def has_items(self, interactions: pl.DataFrame) -> NDArray[np.bool_]:
        """bool [items], whether a part of the interactions has the item."""
        return self.popularity(interactions) > 0

    def popularity(self, interactions: pl.DataFrame) -> NDArray[np.int64]:
        """int64 [items], how often a part of the interactions has the item."""
        counts = interactions.group_by("item_id").len().with_columns(pl.col("item_id").cast(pl.String))
        joined = self.items.select("item_id").join(counts, on="item_id", how="left", maintain_order="left")
        return joined["len"].fill_null(0).cast(pl.Int64).to_numpy()


def read_dataset(
    config: DataConfig,
    query_features: Sequence[FeatureConfig],
    item_features: Sequence[FeatureConfig],
    ranker: RankerConfig = NO_RANKER,
) -> Dataset:
    """Reads and splits the data of a configuration.

    The catalogue holds the items of the training and the validation part, and where there are item features, which can
    place them, also those that nobody had yet.

    Raises:
        DataError: a file cannot be read, or is not what it should be.
    """
    dropped = 0

    def read(path: Path) -> pl.DataFrame:
        nonlocal dropped
        interactions = read_interactions(
            path,
            config.columns,
            min_value=config.min_value,
            context=ranker.context_kinds,
            needs_context=config.outcomes is None,
        )
        if not config.deduplicate:
            return interactions
        distinct = without_repetitions(interactions)
        dropped += len(interactions) - len(distinct)
        return distinct

    splits = split(read(config.interactions), config.split, read)
    if config.min_item_interactions > 1:
        splits = without_rare_items(splits, config.min_item_interactions)
    item_ids = _distinct("item_id", splits.train, splits.validation)
    user_ids = _distinct("user_id", splits.train, splits.validation, splits.test)
    items = _table(config.items, "item_id", item_ids, keep_others=bool(item_features))
    items = _with_lists(items, [*item_features, *ranker.features])
    users = _with_lists(_table(config.users, "user_id", user_ids, keep_others=False), query_features)
    rows = {item_id: row for row, item_id in enumerate(items["item_id"].to_list())}
    return Dataset(splits, items, users, rows, dropped)


def _in_time_order(*parts: pl.DataFrame) -> pl.DataFrame:
    """Parts joined, as histories need them: a random split has later interactions in front of earlier ones."""
    return pl.concat(parts).sort("time", maintain_order=True)


def _distinct(column: str, *parts: pl.DataFrame) -> pl.Series:
    """String, the ids of some parts, sorted."""
    return pl.concat([part[column].unique() for part in parts]).cast(pl.String).unique().sort()


def _with_lists(table: pl.DataFrame, features: Sequence[FeatureConfig]) -> pl.DataFrame:
    """The table with lists where features have several values, which text files can only hold side by side."""
    for feature in features:
        if feature.kind == "multi_valued" and feature.name in table.columns:
            table = split_multi_valued(table, feature.name)
    return table


def cases(
    dataset: Dataset,
    known: pl.DataFrame,
    asked: pl.DataFrame,
    query_features: Sequence[str],
    rules: EvaluationConfig = DEFAULT_RULES,
    context: Sequence[str] = (),
) -> Cases:
    """Asks for every user of ``asked`` what they turn to there, by what they had in ``known`` and their features.

    ``context`` names columns of ``asked`` that are features as well; see ``cases_of``.

    Raises:
        DataError: nobody turns to anything new.
    """
    features = FeaturesByUser(dataset.users, query_features) if query_features else None
    try:
        return cases_of(known, asked, dataset.items["item_id"].to_list(), features, rules, context)
    except ValueError as error:
        raise DataError(f"the split leaves nothing to evaluate on: {error}") from error


def _table(path: Path | None, id_column: str, ids: pl.Series, *, keep_others: bool) -> pl.DataFrame:
    """A row for each of the ids, with what the file says of them, and if asked for what else it has."""
    wanted = pl.DataFrame({id_column: ids})
    if path is None:
        return wanted
    table = read_items(path) if id_column == "item_id" else read_users(path)
    return wanted.join(table, on=id_column, how="full" if keep_others else "left", coalesce=True).sort(id_column)
