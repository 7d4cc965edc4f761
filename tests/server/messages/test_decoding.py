import math
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.recommendation_service_pb2 import (
    BatchRecommendItemsRequest,
    Categories,
    EmbedQueriesRequest,
    FeatureValue,
    Query,
    RankingOptions,
    RecommendItemsRequest,
    ScoreItemsRequest,
    StreamRecommendItemsRequest,
    User,
    Vector,
)
from bascule_server.errors import ServiceError
from bascule_server.messages.decoding import (
    decode_embeddings,
    decode_message,
    decode_query,
    decode_ranking,
    decode_rankings,
    decode_scores,
)
from bascule_server.messages.schema import Schema
from bascule_server.scoring.query import Embed, Question, Rank, Score

GOOD = Query(item_id="i1")
BAD = Query()


def user(**features: FeatureValue) -> Query:
    return Query(user=User(features=features))


def test_a_user_is_decoded_with_all_that_is_known_of_them(schema: Schema) -> None:
    message = Query(
        user=User(
            user_id="u1",
            history=["a", "b"],
            features={
                "country": FeatureValue(category="fr"),
                "age": FeatureValue(number=30),
                "tags": FeatureValue(categories=Categories(values=["x", "y"])),
            },
        ),
        excluded_item_ids=["c"],
        candidate_item_ids=["d"],
    )
    query = decode_query(message, "query", schema)
    assert (query.user_id, list(query.history)) == ("u1", ["a", "b"])
    assert query.features == {"country": "fr", "age": 30.0, "tags": ("x", "y")}
    assert (list(query.excluded_item_ids), list(query.candidate_item_ids)) == (["c"], ["d"])


def test_a_user_of_whom_nothing_is_known_is_a_query(schema: Schema) -> None:
    assert decode_query(Query(user=User()), "query", schema).user_id == ""


def test_a_feature_without_a_value_is_unknown(schema: Schema) -> None:
    assert decode_query(user(age=FeatureValue()), "query", schema).features == {}


def test_an_item_and_a_vector_are_queries(schema: Schema) -> None:
    assert decode_query(Query(item_id="i1"), "query", schema).item_id == "i1"
    vector = decode_query(Query(vector=Vector(values=[0.5, -1])), "query", schema).vector
    assert vector is not None
    assert vector.dtype == np.float32
    assert vector.tolist() == [0.5, -1.0]


@pytest.mark.parametrize(
    ("query", "path", "violation"),
    [
        (Query(), "query", "got no subject; expected one of user, item_id, vector"),
        (Query(item_id="i" * 257), "query.item_id", "got 257 bytes; expected at most 256"),
        (Query(user=User(user_id="u" * 257)), "query.user.user_id", "got 257 bytes; expected at most 256"),
        (Query(user=User(history=["a"] * 10_001)), "query.user.history", "got 10,001; expected at most 10,000"),
        (
            Query(item_id="i", excluded_item_ids=["a"] * 10_001),
            "query.excluded_item_ids",
            "got 10,001; expected at most 10,000",
        ),
        (
            Query(item_id="i", candidate_item_ids=["a", "b" * 300]),
            "query.candidate_item_ids[1]",
            "got 300 bytes; expected at most 256",
        ),
        (
            user(height=FeatureValue(number=1)),
            'query.user.features["height"]',
            'got "height"; expected a declared feature: age, country, tags',
        ),
        (
            user(history=FeatureValue(number=1)),
            'query.user.features["history"]',
            'got "history"; expected a declared feature: age, country, tags',
        ),
        (
            user(age=FeatureValue(category="old")),
            'query.user.features["age"]',
            "got category; expected number",
        ),
        (
            user(tags=FeatureValue(category="x")),
            'query.user.features["tags"]',
            "got category; expected categories",
        ),
        (
            user(age=FeatureValue(number=math.nan)),
            'query.user.features["age"]',
            "got nan; expected a finite number",
        ),
        (
            user(tags=FeatureValue(categories=Categories(values=["x"] * 257))),
            'query.user.features["tags"].categories.values',
            "got 257; expected at most 256",
        ),
        (Query(vector=Vector(values=[1])), "query.vector.values", "got 1 components; expected 2"),
        (Query(vector=Vector()), "query.vector.values", "got 0 components; expected 2"),
        (
            Query(vector=Vector(values=[0, math.inf])),
            "query.vector.values[1]",
            "got inf; expected a number from -1e+18 to 1e+18",
        ),
    ],
)
def test_a_wrong_field_of_a_query_is_named(query: Query, path: str, violation: str, schema: Schema) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_query(query, "query", schema)
    assert (caught.value.path, caught.value.violation) == (path, violation)


def test_a_call_needs_a_query(schema: Schema) -> None:
    with pytest.raises(ServiceError, match="query: got none"):
        decode_ranking(RecommendItemsRequest(), schema)


def test_one_bad_row_harms_no_other(schema: Schema) -> None:
    request = BatchRecommendItemsRequest(queries=[GOOD, BAD, GOOD], options=RankingOptions(item_count=3))
    first, second, third = decode_rankings(request, schema)
    assert isinstance(first, Question)
    assert first.ask == Rank(item_count=3)
    assert isinstance(second, ServiceError)
    assert second.path == "queries[1]"
    assert isinstance(third, Question)


@pytest.mark.parametrize("count", [0, 1_025])
@pytest.mark.parametrize(
    ("request_type", "decode"),
    [
        (BatchRecommendItemsRequest, decode_rankings),
        (StreamRecommendItemsRequest, decode_message),
        (EmbedQueriesRequest, decode_embeddings),
    ],
)
def test_a_message_holds_from_1_to_1024_queries(count: int, request_type: Any, decode: Any, schema: Schema) -> None:
    assert len(decode(request_type(queries=[GOOD] * 1_024), schema)) == 1_024
    with pytest.raises(ServiceError, match=f"queries: got {count:,}; expected 1 to 1,024"):
        decode(request_type(queries=[GOOD] * count), schema)


def test_wrong_options_fail_a_call_but_only_the_rows_of_a_streams_message(schema: Schema) -> None:
    wrong = RankingOptions(item_count=-1)
    with pytest.raises(ServiceError, match=r"options\.item_count"):
        decode_rankings(BatchRecommendItemsRequest(queries=[GOOD], options=wrong), schema)
    rows = decode_message(StreamRecommendItemsRequest(queries=[GOOD, BAD], options=wrong), schema)
    assert [row.path for row in rows if isinstance(row, ServiceError)] == ["options.item_count"] * 2


def test_given_items_are_scored_in_their_order_and_may_repeat(schema: Schema) -> None:
    question = decode_scores(ScoreItemsRequest(query=GOOD, item_ids=["b", "a", "b"]), schema)
    assert question.ask == Score(["b", "a", "b"])


@pytest.mark.parametrize(
    ("request_fields", "path"),
    [
        ({"query": GOOD}, "item_ids"),
        ({"query": GOOD, "item_ids": ["a"] * 10_001}, "item_ids"),
        ({"item_ids": ["a"]}, "query"),
        ({"query": Query(item_id="i", excluded_item_ids=["a"]), "item_ids": ["a"]}, "query.excluded_item_ids"),
        ({"query": Query(item_id="i", candidate_item_ids=["a"]), "item_ids": ["a"]}, "query.candidate_item_ids"),
    ],
)
def test_what_cannot_be_scored_is_named(request_fields: dict[str, Any], path: str, schema: Schema) -> None:
    with pytest.raises(ServiceError) as caught:
        decode_scores(ScoreItemsRequest(**request_fields), schema)
    assert caught.value.path == path


def test_what_cannot_be_embedded_harms_its_own_row(schema: Schema) -> None:
    restricted = Query(item_id="i", excluded_item_ids=["a"])
    first, second = decode_embeddings(EmbedQueriesRequest(queries=[restricted, GOOD]), schema)
    assert isinstance(first, ServiceError)
    assert first.path == "queries[0].excluded_item_ids"
    assert isinstance(second, Question)
    assert second.ask == Embed()


numbers = st.floats() | st.integers(-2, 2).map(float)
names = st.sampled_from(["age", "country", "tags", "history", "none", ""])
values = st.one_of(
    st.builds(FeatureValue),
    st.builds(FeatureValue, category=st.text(max_size=3)),
    st.builds(FeatureValue, number=numbers),
    st.builds(FeatureValue, categories=st.builds(Categories, values=st.lists(st.text(max_size=3), max_size=3))),
)
users = st.builds(User, user_id=st.text(max_size=300), features=st.dictionaries(names, values, max_size=3))
queries = st.one_of(
    st.builds(Query),
    st.builds(Query, user=users, excluded_item_ids=st.lists(st.text(max_size=300), max_size=3)),
    st.builds(Query, item_id=st.text(max_size=300)),
    st.builds(Query, vector=st.builds(Vector, values=st.lists(st.floats(width=32), max_size=3))),
)


@given(st.lists(queries, min_size=1, max_size=5))
def test_every_row_becomes_a_question_or_an_error_with_a_path_in_that_row(messages: list[Query]) -> None:
    schema = Schema({"age": "number", "country": "category", "tags": "categories"}, {}, dimension=2)
    rows = decode_rankings(BatchRecommendItemsRequest(queries=messages), schema)
    assert len(rows) == len(messages)
    for index, row in enumerate(rows):
        if isinstance(row, ServiceError):
            assert row.path.startswith(f"queries[{index}]")
            assert "expected" in row.violation
        else:
            assert all(math.isfinite(value) for value in row.query.features.values() if isinstance(value, float))
            assert row.query.vector is None or np.isfinite(row.query.vector).all()


@given(st.binary(max_size=200))
def test_whatever_bytes_make_a_message_are_decoded_or_refused(serialised: bytes) -> None:
    with suppress(DecodeError, ServiceError):
        decode_rankings(BatchRecommendItemsRequest.FromString(serialised), Schema({}, {}, dimension=2))
