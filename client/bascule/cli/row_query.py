"""From a row of a file to a query."""

from collections.abc import Mapping, Sequence
from typing import Any

from bascule.models import ValueKind
from bascule.query import FeatureValue, Query

LIST_SEPARATOR = "|"
"""Stands between the values of a list in one cell of a CSV file."""


def query_of(row: Mapping[str, Any], features: Mapping[str, ValueKind]) -> Query:
    """The query that a row asks.

    A value that does not fit the feature's kind goes into the query as it is: the server says what is wrong with it.
    """
    given = {name: row[name] for name in features if row.get(name) not in (None, "")}
    return Query(
        user_id=_text(row.get("user_id")),
        history=_texts(row.get("history")),
        features={name: _feature(value, features[name]) for name, value in given.items()},
    )


def _feature(value: Any, kind: ValueKind) -> FeatureValue:  # noqa: ANN401 - whatever the file holds
    if kind is ValueKind.CATEGORIES:
        return _texts(value)
    if kind is ValueKind.NUMBER:
        try:
            return float(value)
        except (TypeError, ValueError):
            return _text(value)
    return _text(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _texts(value: object) -> Sequence[str]:
    if isinstance(value, str):
        return tuple(part for part in value.split(LIST_SEPARATOR) if part)
    if isinstance(value, Sequence):
        return tuple(_text(part) for part in value if part is not None)
    return () if value is None else (_text(value),)
