"""From ``RankingOptions`` to what is asked of the scorer: counts, filters, the cap, the attributes to return."""

import math
from functools import lru_cache

from bascule.v1.artifact_pb2 import ATTRIBUTE_KIND_NUMERIC, ATTRIBUTE_KIND_TIME
from bascule.v1.recommendation_service_pb2 import (
    AttributeCap,
    AttributeFilter,
    NumberRange,
    RankingOptions,
    TimeRange,
)
from bascule_server.errors import invalid_field
from bascule_server.messages.field_checks import check_count, checked_categories, declared_kind, finite, nanoseconds
from bascule_server.messages.schema import Schema
from bascule_server.scoring.query import AnyOf, Cap, Filter, InRange, NoneOf, Rank

DEFAULT_ITEM_COUNT = 10
MAX_ITEM_COUNT = 1_000
MAX_FILTERS = 32
MAX_RETURNED_ATTRIBUTES = 32
MAX_BECAUSE = 10

_CONDITIONS = {ATTRIBUTE_KIND_NUMERIC: ("range",), ATTRIBUTE_KIND_TIME: ("time_range",)}
"""On attributes that are no categories."""

MAX_KEPT = 256
"""How many different options are kept decoded."""

MAX_KEPT_BYTES = 1_024
"""Longer options, with many filters say, are decoded each time."""


def decode_options(options: RankingOptions, path: str, schema: Schema) -> Rank:
    """How to rank. Equal options are decoded once: a client's are mostly the same."""
    serialised = options.SerializeToString(deterministic=True)
    if len(serialised) > MAX_KEPT_BYTES:
        return _decoded(options, path, schema)
    return _kept(serialised, path, schema)


@lru_cache(MAX_KEPT)
def _kept(serialised: bytes, path: str, schema: Schema) -> Rank:
    return _decoded(RankingOptions.FromString(serialised), path, schema)


def _decoded(options: RankingOptions, path: str, schema: Schema) -> Rank:
    return Rank(
        item_count=_item_count(options.item_count, f"{path}.item_count"),
        exclude_history=not options.HasField("exclude_history") or options.exclude_history,
        filters=_filters(options, f"{path}.filters", schema),
        cap=_cap(options.cap, f"{path}.cap", schema) if options.HasField("cap") else None,
        min_score=finite(options.min_score, f"{path}.min_score") if options.HasField("min_score") else None,
        diversity=_diversity(options.diversity, f"{path}.diversity"),
        forbid_fallback=options.forbid_fallback,
        because_count=_because_count(options.because_count, f"{path}.because_count"),
        attributes=_returned_attributes(options, f"{path}.attributes", schema),
        skip_ranking=options.skip_ranking,
    )


def _item_count(item_count: int, path: str) -> int:
    if item_count < 0:
        raise invalid_field(path, f"got {item_count}; expected 0 to {MAX_ITEM_COUNT:,}")
    return min(item_count or DEFAULT_ITEM_COUNT, MAX_ITEM_COUNT)


def _diversity(weight: float, path: str) -> float:
    if not 0 <= weight <= 1:
        raise invalid_field(path, f"got {weight:g}; expected a number from 0 to 1")
    return weight


def _because_count(count: int, path: str) -> int:
    if not 0 <= count <= MAX_BECAUSE:
        raise invalid_field(path, f"got {count}; expected 0 to {MAX_BECAUSE}")
    return count


def _returned_attributes(options: RankingOptions, path: str, schema: Schema) -> tuple[str, ...]:
    check_count(options.attributes, MAX_RETURNED_ATTRIBUTES, path)
    for index, name in enumerate(options.attributes):
        declared_kind("attribute", name, schema.attribute_kinds, f"{path}[{index}]")
    return tuple(options.attributes)


def _filters(options: RankingOptions, path: str, schema: Schema) -> tuple[Filter, ...]:
    check_count(options.filters, MAX_FILTERS, path)
    return tuple(_filter(message, f"{path}[{index}]", schema) for index, message in enumerate(options.filters))


def _filter(message: AttributeFilter, path: str, schema: Schema) -> Filter:
    kind = declared_kind("attribute", message.attribute, schema.attribute_kinds, f"{path}.attribute")
    allowed = _CONDITIONS.get(kind, ("any_of", "none_of"))
    condition = message.WhichOneof("condition")
    if condition is None or condition not in allowed:
        got = condition or "no condition"
        raise invalid_field(path, f"got {got}; expected {' or '.join(allowed)} for this attribute")
    match condition:
        case "any_of":
            return AnyOf(message.attribute, frozenset(checked_categories(message.any_of, f"{path}.any_of")))
        case "none_of":
            return NoneOf(message.attribute, frozenset(checked_categories(message.none_of, f"{path}.none_of")))
        case "range":
            return _range(message.attribute, message.range, f"{path}.range")
        case "time_range":
            return _time_range(message.attribute, message.time_range, f"{path}.time_range")


def _range(attribute: str, message: NumberRange, path: str) -> InRange:
    if not (message.HasField("min") or message.HasField("max")):
        raise invalid_field(path, "got neither end; expected min, max or both")
    low = finite(message.min, f"{path}.min") if message.HasField("min") else -math.inf
    high = finite(message.max, f"{path}.max") if message.HasField("max") else math.inf
    return InRange(attribute, low, high)


def _time_range(attribute: str, message: TimeRange, path: str) -> InRange:
    if not (message.HasField("min") or message.HasField("max")):
        raise invalid_field(path, "got neither end; expected min, max or both")
    # Items have whole microseconds: of those of an end that has fewer, the next one within the range.
    low = -(-nanoseconds(message.min, f"{path}.min") // 1_000) if message.HasField("min") else -math.inf
    high = nanoseconds(message.max, f"{path}.max") // 1_000 if message.HasField("max") else math.inf
    return InRange(attribute, low, high)


def _cap(message: AttributeCap, path: str, schema: Schema) -> Cap:
    kind = declared_kind("attribute", message.attribute, schema.attribute_kinds, f"{path}.attribute")
    if kind in _CONDITIONS:
        got = "a numeric attribute" if kind == ATTRIBUTE_KIND_NUMERIC else "an attribute of moments"
        raise invalid_field(f"{path}.attribute", f"got {got}; expected a categorical or multi-valued one")
    if message.max_count < 1:
        raise invalid_field(f"{path}.max_count", f"got {message.max_count}; expected at least 1")
    return Cap(message.attribute, message.max_count)
