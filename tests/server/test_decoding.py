"""Whatever is wrong with a request is found before it is computed, and harms its own row alone."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.decoding import (
    decode_embeddings,
    decode_message,
    decode_query,
    decode_ranking,
    decode_rankings,
    decode_scores,
)
from bascule_server.errors import Reason, ServiceError
from bascule_server.query import Embed, Question, Rank, Score
from bascule_server.schema import Schema


def user(**fields: Any) -> pb.Query:
    return pb.Query(user=pb.User(**fields))


def feature(name: str, **kind: Any) -> pb.Query:
    return user(features={name: pb.FeatureValue(**kind)})


def violation(decode: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(ServiceError) as caught:
        decode()
    assert caught.value.reason is Reason.INVALID_FIELD
    return caught.value.path, caught.value.violation


def test_a_user_is_decoded_with_all_that_is_known(schema: Schema) -> None:
    message = user(
        user_id="u",
        history=["a", "b"],
        features={
            "country": pb.FeatureValue(category="at"),
            "age": pb.FeatureValue(number=30),
            "tags": pb.FeatureValue(categories=pb.Categories(values=["x", "y"])),
        },
    )
    query = decode_query(message, "query", schema)
    assert (query.user_id, query.history) == ("u", ["a", "b"])
    assert query.features == {"country": "at", "age": 30.0, "tags": ("x", "y")}


def test_a_feature_without_a_value_is_absent(schema: Schema) -> None:
    assert decode_query(feature("age"), "query", schema).features == {}


def test_an_item_and_a_vector_are_decoded(schema: Schema) -> None:
    assert decode_query(pb.Query(item_id="a"), "query", schema).item_id == "a"
    vector = decode_query(pb.Query(vector=pb.Vector(values=[1, 2])), "query", schema).vector
    assert vector is not None
    assert (vector.dtype, vector.tolist()) == (np.float32, [1.0, 2.0])


@pytest.mark.parametrize(
    ("message", "path", "text"),
    [
        (pb.Query(), "query", "got no subject; expected one of user, item_id, vector"),
        (feature("shoe", number=1), 'query.user.features["shoe"]', "a declared feature: age, country, tags"),
        (feature("age", category="old"), 'query.user.features["age"]', "got category; expected number"),
        (feature("age", number=math.nan), 'query.user.features["age"]', "got nan; expected a finite number"),
        (feature("age", number=-math.inf), 'query.user.features["age"]', "got -inf; expected a finite number"),
        (feature("history", number=1), 'query.user.features["history"]', "expected a declared feature"),
        (user(user_id="x" * 257), "query.user.user_id", "got 257 bytes; expected at most 256"),
        (user(user_id="€" * 86), "query.user.user_id", "got 258 bytes; expected at most 256"),
        (user(history=["a", "x" * 257]), "query.user.history[1]", "got 257 bytes; expected at most 256"),
        (user(history=["a"] * 10_001), "query.user.history", "got 10,001; expected at most 10,000"),
        (pb.Query(item_id="x" * 300), "query.item_id", "got 300 bytes; expected at most 256"),
        (pb.Query(vector=pb.Vector(values=[1])), "query.vector.values", "got 1 components; expected 2"),
        (
            pb.Query(vector=pb.Vector(values=[1, math.inf])),
            "query.vector.values[1]",
            "got inf; expected a finite number",
        ),
        (
            pb.Query(item_id="a", excluded_item_ids=["a"] * 10_001),
            "query.excluded_item_ids",
            "got 10,001; expected at most 10,000",
        ),
        (
            feature("tags", categories=pb.Categories(values=["t"] * 257)),
            'query.user.features["tags"].categories.values',
            "got 257; expected at most 256",
        ),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(message: pb.Query, path: str, text: str, schema: Schema) -> None:
    found_path, found_text = violation(lambda: decode_query(message, "query", schema))
    assert found_path == path
    assert text in found_text


def test_ids_up_to_the_limit_are_taken(schema: Schema) -> None:
    assert decode_query(user(history=["x" * 256] * 10_000), "query", schema).history[0] == "x" * 256


def test_what_the_caller_sent_is_echoed_short_and_on_one_line(schema: Schema) -> None:
    _, text = violation(lambda: decode_query(feature("a\n" * 100, number=1), "query", schema))
    assert "\n" not in text
    assert len(text) < 250


def test_a_ranking_needs_a_query(schema: Schema) -> None:
    assert violation(lambda: decode_ranking(pb.RecommendItemsRequest(), schema))[0] == "query"


def test_one_bad_row_harms_no_other(schema: Schema) -> None:
    request = pb.BatchRecommendItemsRequest(queries=[user(user_id="a"), pb.Query(), user(user_id="c")])
    first, second, third = decode_rankings(request, schema)
    assert isinstance(first, Question)
    assert isinstance(second, ServiceError)
    assert second.path == "queries[1]"
    assert isinstance(third, Question)
    assert third.query.user_id == "c"


@pytest.mark.parametrize(("count", "text"), [(0, "got 0"), (1_025, "got 1,025")])
def test_a_batch_holds_1_to_1024_queries(count: int, text: str, schema: Schema) -> None:
    request = pb.BatchRecommendItemsRequest(queries=[user()] * count)
    path, found = violation(lambda: decode_rankings(request, schema))
    assert (path, found) == ("queries", f"{text}; expected 1 to 1,024")
    embed = pb.EmbedQueriesRequest(queries=[user()] * count)
    assert violation(lambda: decode_embeddings(embed, schema))[0] == "queries"


def test_wrong_options_fail_a_batch_but_only_the_rows_of_a_message(schema: Schema) -> None:
    options = pb.RankingOptions(item_count=-1)
    batch = pb.BatchRecommendItemsRequest(queries=[user()] * 2, options=options)
    assert violation(lambda: decode_rankings(batch, schema))[0] == "options.item_count"
    rows = decode_message(pb.StreamRecommendItemsRequest(queries=[user()] * 2, options=options), schema)
    assert [isinstance(row, ServiceError) for row in rows] == [True, True]


def test_scores_need_items_and_take_no_restrictions(schema: Schema) -> None:
    question = decode_scores(pb.ScoreItemsRequest(query=user(), item_ids=["a", "a"]), schema)
    assert question.ask == Score(["a", "a"])
    none = pb.ScoreItemsRequest(query=user())
    assert violation(lambda: decode_scores(none, schema)) == ("item_ids", "got none; expected 1 to 10,000")
    restricted = pb.ScoreItemsRequest(query=pb.Query(item_id="a", candidate_item_ids=["b"]), item_ids=["a"])
    assert violation(lambda: decode_scores(restricted, schema))[0] == "query.candidate_item_ids"


def test_vectors_are_asked_of_unrestricted_queries(schema: Schema) -> None:
    request = pb.EmbedQueriesRequest(queries=[user(), pb.Query(item_id="a", excluded_item_ids=["b"])])
    good, bad = decode_embeddings(request, schema)
    assert isinstance(good, Question)
    assert good.ask == Embed()
    assert isinstance(bad, ServiceError)
    assert bad.path == "queries[1].excluded_item_ids"


queries = st.builds(
    pb.Query,
    user=st.none()
    | st.builds(
        pb.User,
        user_id=st.text(max_size=80),
        history=st.lists(st.text(max_size=70), max_size=3),
        features=st.dictionaries(
            st.sampled_from(["age", "country", "tags", "shoe"]),
            st.builds(pb.FeatureValue, number=st.floats()) | st.builds(pb.FeatureValue, category=st.text(max_size=9)),
            max_size=2,
        ),
    ),
    excluded_item_ids=st.lists(st.text(max_size=3), max_size=2),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(messages=st.lists(queries, min_size=1, max_size=5))
def test_a_row_decodes_as_it_would_alone(messages: list[pb.Query], schema: Schema) -> None:
    rows = decode_rankings(pb.BatchRecommendItemsRequest(queries=messages), schema)
    for index, (row, message) in enumerate(zip(rows, messages, strict=True)):
        try:
            alone: object = Question(decode_query(message, f"queries[{index}]", schema), Rank())
        except ServiceError as error:
            assert isinstance(row, ServiceError)
            assert str(row) == str(error)
        else:
            assert row == alone
