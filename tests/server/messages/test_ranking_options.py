import math
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from bascule.v1.recommendation_service_pb2 import (
    AttributeCap,
    AttributeFilter,
    Categories,
    NumberRange,
    RankingOptions,
    TimeRange,
)
from bascule_server.errors import ServiceError
from bascule_server.messages.ranking_options import decode_options
from bascule_server.messages.schema import Schema
from bascule_server.scoring.query import AnyOf, Cap, InRange, NoneOf, Rank

DRAMA = Categories(values=["drama"])


def moment(seconds: int, nanos: int = 0) -> Timestamp:
    return Timestamp(seconds=seconds, nanos=nanos)


def test_no_options_are_the_documented_defaults(schema: Schema) -> None:
    assert decode_options(RankingOptions(), "options", schema) == Rank(item_count=10, exclude_history=True)


@pytest.mark.parametrize(("asked", "got"), [(0, 10), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)])
def test_the_item_count_is_coerced_down(asked: int, got: int, schema: Schema) -> None:
    assert decode_options(RankingOptions(item_count=asked), "options", schema).item_count == got


@pytest.mark.parametrize("value", [True, False])
def test_the_history_is_excluded_as_asked(value: bool, schema: Schema) -> None:
    assert decode_options(RankingOptions(exclude_history=value), "options", schema).exclude_history is value


def test_a_lowest_score_of_zero_is_a_limit_and_an_absent_one_is_none(schema: Schema) -> None:
    assert decode_options(RankingOptions(min_score=0), "options", schema).min_score == 0
    assert decode_options(RankingOptions(), "options", schema).min_score is None


def test_the_fallback_is_forbidden_as_asked(schema: Schema) -> None:
    assert decode_options(RankingOptions(forbid_fallback=True), "options", schema) == Rank(forbid_fallback=True)


def test_ranking_is_skipped_as_asked(schema: Schema) -> None:
    assert decode_options(RankingOptions(skip_ranking=True), "options", schema) == Rank(skip_ranking=True)


def test_restrictions_keep_their_order_and_meaning(schema: Schema) -> None:
    options = RankingOptions(
        filters=[
            AttributeFilter(attribute="genres", any_of=DRAMA),
            AttributeFilter(attribute="title", none_of=Categories(values=["a", "b", "a"])),
            AttributeFilter(attribute="year", range=NumberRange(min=1990)),
            AttributeFilter(attribute="year", range=NumberRange(max=0)),
            AttributeFilter(attribute="released", time_range=TimeRange(min=moment(1, 1_001), max=moment(2, 1_999))),
            AttributeFilter(attribute="released", time_range=TimeRange(max=moment(-1))),
        ],
        cap=AttributeCap(attribute="genres", max_count=2),
        attributes=["title", "year"],
    )
    rank = decode_options(options, "options", schema)
    assert rank.filters == (
        AnyOf("genres", frozenset(["drama"])),
        NoneOf("title", frozenset(["a", "b"])),
        InRange("year", 1990, math.inf),
        InRange("year", -math.inf, 0),
        # Whole microseconds that lie within nanoseconds.
        InRange("released", 1_000_002, 2_000_001),
        InRange("released", -math.inf, -1_000_000),
    )
    assert rank.cap == Cap("genres", 2)
    assert rank.attributes == ("title", "year")


def test_equal_options_are_equal_and_hashable(schema: Schema) -> None:
    options = RankingOptions(filters=[AttributeFilter(attribute="genres", any_of=Categories(values=["b", "a"]))])
    same = RankingOptions(filters=[AttributeFilter(attribute="genres", any_of=Categories(values=["a", "b"]))])
    assert {decode_options(options, "o", schema)} == {decode_options(same, "o", schema)}


@pytest.mark.parametrize(
    ("options", "path", "violation"),
    [
        ({"item_count": -1}, "options.item_count", "got -1; expected 0 to 1,000"),
        ({"min_score": math.nan}, "options.min_score", "got nan; expected a finite number"),
        ({"because_count": -1}, "options.because_count", "got -1; expected 0 to 10"),
        ({"because_count": 11}, "options.because_count", "got 11; expected 0 to 10"),
        ({"diversity": -0.25}, "options.diversity", "got -0.25; expected a number from 0 to 1"),
        ({"diversity": 1.5}, "options.diversity", "got 1.5; expected a number from 0 to 1"),
        ({"diversity": math.nan}, "options.diversity", "got nan; expected a number from 0 to 1"),
        ({"attributes": ["title"] * 33}, "options.attributes", "got 33; expected at most 32"),
        (
            {"attributes": ["title", "colour"]},
            "options.attributes[1]",
            'got "colour"; expected a declared attribute: genres, released, title, year',
        ),
        (
            {"filters": [AttributeFilter(attribute="genres", any_of=DRAMA)] * 33},
            "options.filters",
            "got 33; expected at most 32",
        ),
        (
            {"filters": [AttributeFilter(attribute="colour", any_of=DRAMA)]},
            "options.filters[0].attribute",
            'got "colour"; expected a declared attribute: genres, released, title, year',
        ),
        (
            {"filters": [AttributeFilter(attribute="genres")]},
            "options.filters[0]",
            "got no condition; expected any_of or none_of for this attribute",
        ),
        (
            {"filters": [AttributeFilter(attribute="year", any_of=DRAMA)]},
            "options.filters[0]",
            "got any_of; expected range for this attribute",
        ),
        (
            {"filters": [AttributeFilter(attribute="genres", range=NumberRange(min=1))]},
            "options.filters[0]",
            "got range; expected any_of or none_of for this attribute",
        ),
        (
            {"filters": [AttributeFilter(attribute="year", range=NumberRange())]},
            "options.filters[0].range",
            "got neither end; expected min, max or both",
        ),
        (
            {"filters": [AttributeFilter(attribute="year", range=NumberRange(min=math.inf))]},
            "options.filters[0].range.min",
            "got inf; expected a finite number",
        ),
        (
            {"filters": [AttributeFilter(attribute="released", range=NumberRange(min=1))]},
            "options.filters[0]",
            "got range; expected time_range for this attribute",
        ),
        (
            {"filters": [AttributeFilter(attribute="year", time_range=TimeRange(min=moment(1)))]},
            "options.filters[0]",
            "got time_range; expected range for this attribute",
        ),
        (
            {"filters": [AttributeFilter(attribute="released", time_range=TimeRange())]},
            "options.filters[0].time_range",
            "got neither end; expected min, max or both",
        ),
        (
            {"filters": [AttributeFilter(attribute="released", time_range=TimeRange(min=moment(2**40)))]},
            "options.filters[0].time_range.min",
            "got 1099511627776 s since 1970; expected a moment from the year 1 to 9999",
        ),
        (
            {"filters": [AttributeFilter(attribute="released", time_range=TimeRange(max=moment(0, -1)))]},
            "options.filters[0].time_range.max.nanos",
            "got -1; expected 0 to 999,999,999",
        ),
        (
            {"cap": AttributeCap(attribute="released", max_count=1)},
            "options.cap.attribute",
            "got an attribute of moments; expected a categorical or multi-valued one",
        ),
        (
            {"filters": [AttributeFilter(attribute="genres", none_of=Categories(values=["a"] * 257))]},
            "options.filters[0].none_of.values",
            "got 257; expected at most 256",
        ),
        (
            {"cap": AttributeCap(attribute="colour", max_count=1)},
            "options.cap.attribute",
            'got "colour"; expected a declared attribute: genres, released, title, year',
        ),
        (
            {"cap": AttributeCap(attribute="year", max_count=1)},
            "options.cap.attribute",
            "got a numeric attribute; expected a categorical or multi-valued one",
        ),
        ({"cap": AttributeCap(attribute="genres")}, "options.cap.max_count", "got 0; expected at least 1"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], path: str, violation: str, schema: Schema) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_options(RankingOptions(**options), "options", schema)
    assert (caught.value.path, caught.value.violation) == (path, violation)
