"""Options are taken as documented, or refused with their path."""

import math
from typing import Any

import pytest

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.errors import ServiceError
from bascule_server.query import AnyOf, Cap, InRange, NoneOf, Rank
from bascule_server.ranking_options import decode_options
from bascule_server.schema import Schema


def filtered(attribute: str, **condition: Any) -> pb.RankingOptions:
    return pb.RankingOptions(filters=[pb.AttributeFilter(attribute=attribute, **condition)])


@pytest.mark.parametrize(("asked", "taken"), [(0, 10), (1, 1), (1_000, 1_000), (1_001, 1_000), (2**31 - 1, 1_000)])
def test_counts_are_defaulted_and_coerced_down(asked: int, taken: int, schema: Schema) -> None:
    assert decode_options(pb.RankingOptions(item_count=asked), "options", schema).item_count == taken


def test_absent_options_are_the_default_ones(schema: Schema) -> None:
    assert decode_options(pb.RankingOptions(), "options", schema) == Rank()


def test_the_history_is_excluded_unless_told_otherwise(schema: Schema) -> None:
    assert decode_options(pb.RankingOptions(exclude_history=True), "options", schema).exclude_history
    assert not decode_options(pb.RankingOptions(exclude_history=False), "options", schema).exclude_history


def test_all_options_are_decoded(schema: Schema) -> None:
    options = pb.RankingOptions(
        filters=[
            pb.AttributeFilter(attribute="genres", any_of=pb.Categories(values=["a", "b"])),
            pb.AttributeFilter(attribute="title", none_of=pb.Categories(values=["c"])),
            pb.AttributeFilter(attribute="year", range=pb.NumberRange(min=1990)),
        ],
        cap=pb.AttributeCap(attribute="genres", max_count=2),
        min_score=0.5,
        attributes=["title"],
    )
    assert decode_options(options, "options", schema) == Rank(
        filters=(
            AnyOf("genres", frozenset({"a", "b"})),
            NoneOf("title", frozenset({"c"})),
            InRange("year", 1990.0, math.inf),
        ),
        cap=Cap("genres", 2),
        min_score=0.5,
        attributes=("title",),
    )


@pytest.mark.parametrize(
    ("options", "path", "text"),
    [
        (pb.RankingOptions(item_count=-1), "options.item_count", "got -1; expected 0 to 1,000"),
        (pb.RankingOptions(min_score=math.nan), "options.min_score", "got nan"),
        (pb.RankingOptions(attributes=["x"]), "options.attributes[0]", "genres, title, year"),
        (pb.RankingOptions(attributes=["title"] * 33), "options.attributes", "got 33; expected at most 32"),
        (pb.RankingOptions(filters=[pb.AttributeFilter()] * 33), "options.filters", "got 33; expected at most 32"),
        (filtered("x"), "options.filters[0].attribute", "expected a declared attribute"),
        (filtered("year"), "options.filters[0]", "got no condition; expected range"),
        (filtered("year", any_of=pb.Categories()), "options.filters[0]", "got any_of; expected range"),
        (filtered("title", range=pb.NumberRange(min=1)), "options.filters[0]", "got range; expected any_of or none_of"),
        (filtered("year", range=pb.NumberRange()), "options.filters[0].range", "got neither end"),
        (filtered("year", range=pb.NumberRange(max=math.inf)), "options.filters[0].range.max", "got inf"),
        (
            filtered("title", any_of=pb.Categories(values=["v"] * 257)),
            "options.filters[0].any_of.values",
            "got 257; expected at most 256",
        ),
        (pb.RankingOptions(cap=pb.AttributeCap(attribute="year", max_count=1)), "options.cap.attribute", "numeric"),
        (pb.RankingOptions(cap=pb.AttributeCap(attribute="title")), "options.cap.max_count", "got 0"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(
    options: pb.RankingOptions, path: str, text: str, schema: Schema
) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_options(options, "options", schema)
    assert caught.value.path == path
    assert text in caught.value.violation
