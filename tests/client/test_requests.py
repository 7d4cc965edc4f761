"""From queries and options to messages, and back by the server that tests use."""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import AnyOf, Cap, InRange, NoneOf, Query
from bascule.answers import read_feature_value
from bascule.requests import (
    batch_request,
    embed_request,
    feature_message,
    query_message,
    ranking_request,
    score_request,
    stream_request,
    stream_template,
)
from bascule.testing.answering import read_query
from bascule.v1 import recommendation_service_pb2 as pb

texts = st.text(max_size=5)
ids = st.lists(texts, max_size=3).map(tuple)
candidates = st.none() | st.lists(texts, min_size=1, max_size=3).map(tuple)
values = texts | st.floats(allow_nan=False) | st.lists(texts, max_size=3)
user_queries = st.builds(
    Query,
    user_id=texts,
    history=ids,
    features=st.dictionaries(texts, values, max_size=3),
    excluded_item_ids=ids,
    candidate_item_ids=candidates,
)
item_queries = st.builds(Query, item_id=texts, excluded_item_ids=ids, candidate_item_ids=candidates)


@given(user_queries | item_queries)
def test_a_query_is_read_as_it_was_written(query: Query) -> None:
    assert read_query(query_message(query)) == query


@given(st.lists(st.floats(width=32, allow_nan=False), max_size=4))
def test_a_vector_is_read_as_it_was_written(vector: list[float]) -> None:
    message = query_message(Query(vector=vector))
    assert message.WhichOneof("subject") == "vector"
    read = read_query(message).vector
    assert isinstance(read, np.ndarray)
    np.testing.assert_array_equal(read, np.array(vector, np.float32))


@pytest.mark.parametrize(
    ("label", "on_the_wire"), [(None, 0), ("stable", pb.VERSION_LABEL_STABLE), ("canary", pb.VERSION_LABEL_CANARY)]
)
def test_every_request_names_the_version_by_its_label(label: Any, on_the_wire: int) -> None:
    requests = (
        ranking_request("42", label=label),
        batch_request(["42"], label=label),
        stream_template(label=label),
        score_request("42", ["a"], "movies", 0, label),
        embed_request(["42"], "movies", 0, label),
    )
    assert [request.model.label for request in requests] == [on_the_wire] * len(requests)


def test_a_label_that_there_is_not_and_one_beside_a_version_are_refused() -> None:
    wrong: Any = "newest"
    with pytest.raises(ValueError, match="label is 'stable', 'canary' or None; got str 'newest'"):
        ranking_request("42", label=wrong)
    with pytest.raises(ValueError, match="either a version or a label says which version; got 3 and 'canary'"):
        ranking_request("42", version=3, label="canary")
    with pytest.raises(ValueError, match="either a version or a label"):
        embed_request(["42"], "", 3, "stable")


def test_a_str_is_the_id_of_a_user() -> None:
    assert query_message("42") == query_message(Query("42"))


def test_a_query_about_nothing_is_a_user_of_whom_nothing_is_known() -> None:
    assert query_message(Query()).WhichOneof("subject") == "user"


@pytest.mark.parametrize(
    "subjects",
    [{"user_id": "1", "item_id": "a"}, {"history": ["a"], "vector": [1.0]}, {"item_id": "a", "vector": [1.0]}],
)
def test_a_query_is_about_one_thing(subjects: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"a query is about a user, an item or a vector; got .* and "):
        Query(**subjects)


@pytest.mark.parametrize(
    ("value", "kind"),
    [("a", "category"), (3, "number"), (2.5, "number"), (np.float32(1), "number"), (["a"], "categories")],
)
def test_the_kind_of_a_feature_follows_from_its_type(value: Any, kind: str) -> None:
    assert feature_message(value).WhichOneof("kind") == kind


@pytest.mark.parametrize("value", [None, b"a", object()])
def test_a_feature_of_another_type_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a str, a number, a sequence of str or a datetime; got"):
        feature_message(value)


def test_no_candidates_left_is_refused_since_the_server_would_take_it_for_any_item() -> None:
    with pytest.raises(ValueError, match="candidate_item_ids is empty"):
        query_message(Query("42", candidate_item_ids=[]))


@pytest.mark.parametrize("field", ["history", "excluded_item_ids", "candidate_item_ids"])
def test_one_str_does_not_pass_for_a_sequence_of_them(field: str) -> None:
    arguments: dict[str, Any] = {field: "abc"}
    with pytest.raises(TypeError, match=f"{field} is a sequence of str; got str 'abc'"):
        query_message(Query(**arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"user_id": 42}, "user_id is a str; got int 42"),
        ({"item_id": 7}, "item_id is a str; got int 7"),
        ({"history": ["a", 7]}, r"history\[1\] is a str; got int 7"),
        ({"excluded_item_ids": 7}, "excluded_item_ids is a sequence of str; got int 7"),
        ({"features": {"genres": ["a", None]}}, r"the value of a feature\[1\] is a str; got NoneType None"),
        ({"features": {3: "a"}}, "features is a str; got int 3"),
        ({"vector": [[1.0], [2.0]]}, "vector is one row of numbers; got an array of 2 dimensions"),
        ({"vector": ["a"]}, r"vector is one row of numbers; got \['a'\]"),
    ],
)
def test_what_cannot_be_sent_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        query_message(Query(**arguments))


@pytest.mark.parametrize("arguments", [{"user_id": "\ud800"}, {"history": ["a", "\ud800"]}])
def test_half_a_surrogate_pair_is_named(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"is Unicode; got .* which has half of a surrogate pair"):
        query_message(Query(**arguments))


def test_what_is_no_query_is_refused() -> None:
    with pytest.raises(TypeError, match="a Query, or a str that is the id of a user; got int 3"):
        query_message(3)  # type: ignore[arg-type]


def test_arrays_of_str_pass_for_ids() -> None:
    message = query_message(Query(history=np.array(["a", "b"]), excluded_item_ids=np.array([], str)))  # type: ignore[arg-type]
    assert list(message.user.history) == ["a", "b"]
    assert not message.excluded_item_ids


def test_one_str_does_not_pass_for_a_sequence_of_queries() -> None:
    with pytest.raises(TypeError, match="queries is a sequence of queries; got str '42'"):
        batch_request("42")


def test_options_that_are_not_given_are_the_documented_ones() -> None:
    options = ranking_request("42").options
    assert (options.item_count, options.exclude_history) == (10, True)
    assert not options.HasField("min_score")
    assert not options.HasField("cap")


def test_every_option_reaches_the_message() -> None:
    request = ranking_request(
        "42",
        count=3,
        exclude_history=False,
        filters=[AnyOf("genre", ["a", "b"]), NoneOf("genre", ["c"]), InRange("year", min=1990)],
        cap=Cap("genre", 2),
        min_score=-0.5,
        diversity=0.25,
        forbid_fallback=True,
        because_count=2,
        skip_ranking=True,
        attributes=["title"],
        model="movies",
        version=4,
    )
    options = request.options
    assert (request.model.model, request.model.version) == ("movies", 4)
    assert (options.item_count, options.exclude_history) == (3, False)
    assert (options.min_score, options.diversity) == (-0.5, 0.25)
    assert (options.forbid_fallback, options.because_count, options.skip_ranking) == (True, 2, True)
    assert [each.WhichOneof("condition") for each in options.filters] == ["any_of", "none_of", "range"]
    assert list(options.filters[0].any_of.values) == ["a", "b"]
    assert options.filters[2].range.min == 1990
    assert not options.filters[2].range.HasField("max")
    assert (options.cap.attribute, options.cap.max_count) == ("genre", 2)
    assert list(options.attributes) == ["title"]


def test_a_filter_without_values_is_still_a_filter() -> None:
    (restriction,) = ranking_request("42", filters=[AnyOf("genre", [])]).options.filters
    assert restriction.WhichOneof("condition") == "any_of"


def test_a_range_needs_an_end() -> None:
    with pytest.raises(ValueError, match="a range of 'year' needs min, max or both"):
        InRange("year")


def test_a_range_of_moments_is_one() -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    request = ranking_request("u1", filters=[InRange("released", min=moment), InRange("released", max=moment)])
    first, second = request.options.filters
    assert (first.time_range.min.seconds, first.time_range.HasField("max")) == (1_767_261_600, False)
    assert (second.time_range.max.seconds, second.time_range.HasField("min")) == (1_767_261_600, False)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one with a time zone"):
        InRange("released", min=datetime(2026, 1, 1))
    with pytest.raises(TypeError, match=r"numbers or of moments; got one of each"):
        InRange("released", min=1, max=datetime(2026, 1, 1, tzinfo=UTC))
    with pytest.raises(ValueError, match=r"expected one with a time zone"):
        feature_message(datetime(2026, 1, 1))


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_moment_comes_back_as_it_was_sent(moment: datetime) -> None:
    assert read_feature_value(feature_message(moment)) == moment


def test_an_option_that_there_is_not_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="no such option: kount; there are attributes, because_count, cap, count"):
        ranking_request("42", kount=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("count", [0, -1])
def test_a_count_below_one_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"count is at least 1; got {count}"):
        ranking_request("42", count=count)


def test_a_count_above_what_the_wire_holds_is_as_many_as_it_holds() -> None:
    assert ranking_request("42", count=10**12).options.item_count == 2**31 - 1


def test_a_batch_that_is_too_large_names_the_stream() -> None:
    assert len(batch_request(["42"] * 1024).queries) == 1024
    with pytest.raises(ValueError, match=r"up to 1,024 queries; got 1,025: use stream"):
        batch_request(["42"] * 1025)


@given(st.integers(0, 2**62), st.lists(texts, max_size=4))
def test_a_message_of_a_stream_asks_what_a_batch_asks(sequence_id: int, users: list[str]) -> None:
    template = stream_template(count=3, attributes=["title"], model="movies")
    message = stream_request(sequence_id, [query_message(user) for user in users], template)
    batch = batch_request(users, count=3, attributes=["title"], model="movies")
    assert message.sequence_id == sequence_id
    assert (message.model, message.options) == (batch.model, batch.options)
    assert list(message.queries) == list(batch.queries)


def test_items_to_score_may_stand_more_than_once() -> None:
    assert list(score_request("42", ["a", "b", "a"], "", 0).item_ids) == ["a", "b", "a"]


def test_what_is_not_finite_is_left_to_the_server_to_refuse() -> None:
    assert math.isnan(feature_message(math.nan).number)
