"""From a row of a file to a query."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from bascule.models import ValueKind
from bascule.query import FeatureValue, Query

LIST_SEPARATOR = "|"
"""Stands between the values of a list in one cell of a CSV file."""


def query_of(
    row: Mapping[str, Any], features: Mapping[str, ValueKind], columns: Mapping[str, str] = MappingProxyType({})
) -> Query:
    """The query that a row asks.

    Its columns are named ``user_id``, ``history`` and as the features, unless ``columns`` names another for one.
    A value that does not fit the feature's kind goes into the query as it is: the server says what is wrong with it.
    """
    values = {name: row.get(columns.get(name, name)) for name in ("user_id", "history", *features)}
    return Query(
        user_id=_text(values["user_id"]),
        history=_texts(values["history"]),
        features={
            name: _feature(values[name], kind) for name, kind in features.items() if values[name] not in (None, "")
        },
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
        if set(map(type, value)) <= {str}:
            return tuple(value)
        return tuple(_text(part) for part in value if part is not None)
    return () if value is None else (_text(value),)
