"""The users whom the model was published with: the history and the features that training last saw of each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.stored_tables import reading_table
from bascule_server.scoring.columns import as_type
from bascule_server.scoring.query import FeatureValue


class KnownUser(NamedTuple):
    """What training last saw of a user."""

    history: NDArray[np.int64]
    """int64 [items], rows of the catalogue, oldest first."""
    features: dict[str, FeatureValue]


class KnownUsers:
    """Users by id."""

    def __init__(self, user_ids: Sequence[str], histories: pl.Series, features: Mapping[str, pl.Series]) -> None:
        self._rows = {user_id: row for row, user_id in enumerate(user_ids)}
        self._histories = histories
        self._features = features

    def find(self, user_id: str) -> KnownUser | None:
        """What is known of a user, or None."""
        row = self._rows.get(user_id)
        if row is None:
            return None
        values = {name: feature_value(column[row]) for name, column in self._features.items()}
        history = self._histories[row].to_numpy()
        return KnownUser(history, {name: value for name, value in values.items() if value is not None})


def feature_value(cell: object) -> FeatureValue | None:
    """The value of a feature in a cell of a table: a string, a number, a list of strings, or nothing."""
    match cell:
        case None:
            return None
        case str():
            return cell
        case bool():
            return str(cell).lower()
        case int() | float():
            return None if cell != cell else float(cell)
        case pl.Series() | list():
            return tuple(str(value) for value in cell if value is not None)
        case _:
            return str(cell)


def read_known_users(folder: Path, item_count: int) -> KnownUsers:
    """Reads ``users.parquet`` of an artifact; where there is none, no user is known.

    Raises:
        ArtifactError: it cannot be read, or names items that there are not.
    """
    path = folder / file_names.USERS
    if not path.is_file():
        return KnownUsers([], pl.Series(), {})
    with reading_table(path):
        users = pl.read_parquet(path)
        histories = as_type(users["history"], pl.List(pl.Int64())).fill_null([]).list.drop_nulls()
        rows = histories.explode().drop_nulls()
        user_ids = as_type(users["user_id"], pl.String()).to_list()
    if ((rows < 0) | (rows >= item_count)).any():
        raise ArtifactError(f"{path}: a history names a row that none of the {item_count:,} items has")
    features = {name: users[name] for name in users.columns if name not in ("user_id", "history")}
    return KnownUsers(user_ids, histories, features)
