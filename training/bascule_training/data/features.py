"""Declares features from a table: what the manifest says of each, and the vocabularies that they need."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from bascule.v1.artifact_pb2 import (
    BucketedFeature,
    CategoricalFeature,
    Feature,
    HistoryFeature,
    MultiValuedFeature,
    StandardisedFeature,
    TextFeature,
)
from bascule_server.scoring.encoder import HISTORY
from bascule_server.scoring.known_users import feature_value
from bascule_server.scoring.query import FeatureValue
from bascule_training.config import FeatureConfig
from bascule_training.data.tables import DataError

BUCKETS = 10
"""Of a ``bucketed`` feature, unless the configuration says otherwise."""

TEXT_BUCKETS = 2**14
"""Of a ``text`` feature."""

MAX_CATEGORIES = 8
"""How many categories of a ``multi_valued`` feature are read."""

MAX_N_GRAMS = 32
"""How many n-grams of a ``text`` feature are read."""


class Declared(NamedTuple):
    """Features and what they need."""

    features: list[Feature]
    vocabularies: dict[str, list[str]]
    """By path in the artifact."""


def declare(configs: Sequence[FeatureConfig], table: pl.DataFrame, tower: str) -> Declared:
    """Declares the features of one tower from the table of its users or items.

    Args:
        configs: which columns, and how each becomes a tensor.
        table: a row a user or item. Means, boundaries and vocabularies are those of these rows.
        tower: ``query`` or ``item``; the folder of its vocabularies.

    Raises:
        DataError: a column is missing, or holds what its kind cannot read.
    """
    vocabularies: dict[str, list[str]] = {}
    features = []
    for config in configs:
        if config.name not in table.columns:
            raise DataError(
                f"the {tower} feature {config.name!r} is no column; there are {', '.join(map(repr, table.columns))}"
            )
        path = f"vocabularies/{tower}/{config.name}.json"
        feature, vocabulary = _declare(config, table[config.name], path)
        features.append(feature)
        if vocabulary is not None:
            vocabularies[path] = vocabulary
    return Declared(features, vocabularies)


def history_feature(max_length: int, *, distinct: bool = False) -> Feature:
    """The feature that reads the newest ``max_length`` items of a user's history; ``distinct``: each item once."""
    return Feature(name=HISTORY, history=HistoryFeature(max_length=max_length, distinct=distinct))


def feature_names(declared: Declared) -> list[str]:
    """The names of the columns that are read: of every feature but the history."""
    return [feature.name for feature in declared.features if feature.WhichOneof("kind") != "history"]


def feature_rows(table: pl.DataFrame, names: Sequence[str]) -> list[dict[str, FeatureValue]]:
    """The values of the named columns, a row a user or item; a value that is absent is left out."""
    columns = {name: [feature_value(cell) for cell in table[name].to_list()] for name in names}
    return [
        {name: value for name, values in columns.items() if (value := values[row]) is not None}
        for row in range(len(table))
    ]


class FeaturesByUser(Mapping[str, Mapping[str, FeatureValue]]):
    """The values of features by user, made when they are asked for: a table is smaller than what a query holds."""

    def __init__(self, users: pl.DataFrame, names: Sequence[str]) -> None:
        """``users`` has a column ``user_id``, distinct, and the named ones."""
        self._rows = {user_id: row for row, user_id in enumerate(users["user_id"].to_list())}
        self._columns = {name: users[name] for name in names}

    def __getitem__(self, user_id: str) -> Mapping[str, FeatureValue]:
        row = self._rows[user_id]
        values = {name: feature_value(column[row]) for name, column in self._columns.items()}
        return {name: value for name, value in values.items() if value is not None}

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _declare(config: FeatureConfig, column: pl.Series, path: str) -> tuple[Feature, list[str] | None]:
    values = [value for cell in column.to_list() if (value := feature_value(cell)) is not None]
    if config.kind == "categorical":
        vocabulary = sorted({_text(config, value) for value in values})
        kind = CategoricalFeature(vocabulary=path, size=len(vocabulary))
        return Feature(name=config.name, categorical=kind), vocabulary
    if config.kind == "multi_valued":
        vocabulary = sorted({name for value in values for name in _categories(config, value)})
        max_count = config.max_count or MAX_CATEGORIES
        several = MultiValuedFeature(vocabulary=path, size=len(vocabulary), max_count=max_count)
        return Feature(name=config.name, multi_valued=several), vocabulary
    if config.kind == "text":
        for value in values:
            _text(config, value)
        text = TextFeature(buckets=config.buckets or TEXT_BUCKETS, max_count=config.max_count or MAX_N_GRAMS)
        return Feature(name=config.name, text=text), None
    numbers = np.array([_number(config, value) for value in values], np.float64)
    if config.kind == "standardised":
        return Feature(name=config.name, standardised=_standardised(numbers)), None
    return Feature(name=config.name, bucketed=_bucketed(numbers, config.buckets or BUCKETS)), None


def _standardised(numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> StandardisedFeature:
    if not len(numbers):
        return StandardisedFeature(mean=0.0, deviation=1.0)
    return StandardisedFeature(mean=float(numbers.mean()), deviation=float(numbers.std()) or 1.0)


def _bucketed(numbers: np.ndarray[tuple[int], np.dtype[np.float64]], buckets: int) -> BucketedFeature:
    if not len(numbers):
        return BucketedFeature()
    boundaries = np.quantile(numbers, np.linspace(0, 1, buckets + 1)[1:-1])
    return BucketedFeature(boundaries=np.unique(boundaries).tolist())


def _text(config: FeatureConfig, value: FeatureValue) -> str:
    if not isinstance(value, str):
        raise DataError(f"the feature {config.name!r} is {config.kind}, but its column holds {value!r}; expected text")
    return value


def _categories(config: FeatureConfig, value: FeatureValue) -> tuple[str, ...]:
    if not isinstance(value, tuple):
        raise DataError(f"the feature {config.name!r} is multi_valued, but its column holds {value!r}; expected a list")
    return value


def _number(config: FeatureConfig, value: FeatureValue) -> float:
    if not isinstance(value, float):
        raise DataError(
            f"the feature {config.name!r} is {config.kind}, but its column holds {value!r}; expected a number"
        )
    return value
