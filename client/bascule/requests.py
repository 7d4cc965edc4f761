"""From queries and options to messages. Free of connections: both clients build every request here."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from numbers import Real
from typing import TypeAlias, Unpack

from google.protobuf.timestamp_pb2 import Timestamp

from bascule.arrays import components
from bascule.query import (
    AnyOf,
    Cap,
    FeatureValue,
    Filter,
    InRange,
    NoneOf,
    Query,
    RankingOptions,
    VersionLabel,
    checked_moment,
)
from bascule.v1 import recommendation_service_pb2 as pb

MAX_QUERIES = 1_024
"""Queries that one message may hold."""

_LABELS: Mapping[str | None, pb.VersionLabel.ValueType] = {
    None: pb.VERSION_LABEL_UNSPECIFIED,
    "stable": pb.VERSION_LABEL_STABLE,
    "canary": pb.VERSION_LABEL_CANARY,
}

QueryLike: TypeAlias = Query | str
"""A query; a str is the id of a user."""


def ranking_request(query: QueryLike, **options: Unpack[RankingOptions]) -> pb.RecommendItemsRequest:
    """The request for one ranking."""
    return pb.RecommendItemsRequest(
        model=_selector_of(options), query=query_message(query), options=_ranking_options(options)
    )


def batch_request(queries: Iterable[QueryLike], **options: Unpack[RankingOptions]) -> pb.BatchRecommendItemsRequest:
    """The request for several rankings.

    Raises:
        ValueError: There are more than 1,024 queries.
    """
    return pb.BatchRecommendItemsRequest(
        model=_selector_of(options), queries=_query_messages(queries), options=_ranking_options(options)
    )


def stream_request(
    sequence_id: int, queries: Sequence[pb.Query], template: pb.StreamRecommendItemsRequest
) -> pb.StreamRecommendItemsRequest:
    """One message of a stream: the queries, and what ``stream_template`` made of the options."""
    request = pb.StreamRecommendItemsRequest(sequence_id=sequence_id, queries=queries)
    request.MergeFrom(template)
    return request


def stream_template(**options: Unpack[RankingOptions]) -> pb.StreamRecommendItemsRequest:
    """What all messages of a stream have in common."""
    return pb.StreamRecommendItemsRequest(model=_selector_of(options), options=_ranking_options(options))


def score_request(
    query: QueryLike, item_ids: Sequence[str], model: str, version: int, label: VersionLabel | None = None
) -> pb.ScoreItemsRequest:
    """The request for the scores of given items."""
    return pb.ScoreItemsRequest(
        model=_selector(model, version, label),
        query=query_message(query),
        item_ids=_strings(item_ids, "item_ids"),
    )


def embed_request(
    queries: Iterable[QueryLike], model: str, version: int, label: VersionLabel | None = None
) -> pb.EmbedQueriesRequest:
    """The request for query vectors.

    Raises:
        ValueError: There are more than 1,024 queries.
    """
    return pb.EmbedQueriesRequest(model=_selector(model, version, label), queries=_query_messages(queries))


def query_message(query: QueryLike) -> pb.Query:
    """The message of a query.

    Raises:
        TypeError: It is no query, or holds something of a type that a message cannot hold.
        ValueError: It holds a str that is no valid Unicode, or an empty list of candidates.
    """
    if isinstance(query, str):
        return pb.Query(user=pb.User(user_id=text_message(query, "user_id")))
    if not isinstance(query, Query):
        raise TypeError(f"a query is a Query, or a str that is the id of a user; got {_described(query)}")
    # Filled in place: a message that is given to another one is copied.
    message = pb.Query()
    message.excluded_item_ids.extend(_strings(query.excluded_item_ids, "excluded_item_ids"))
    if query.candidate_item_ids is not None:
        message.candidate_item_ids.extend(_candidates(query.candidate_item_ids))
    if query.item_id is not None:
        message.item_id = text_message(query.item_id, "item_id")
    elif query.vector is not None:
        message.vector.values.extend(components(query.vector))
        message.vector.SetInParent()
    else:
        _fill_user(message.user, query)
    return message


def feature_message(value: FeatureValue) -> pb.FeatureValue:
    """The message of a feature's or an attribute's value."""
    if isinstance(value, str):
        return pb.FeatureValue(category=text_message(value, "the value of a feature"))
    if isinstance(value, Real):
        return pb.FeatureValue(number=float(value))
    if isinstance(value, datetime):
        return pb.FeatureValue(time=_timestamp(checked_moment(value, "the value of a feature")))
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return pb.FeatureValue(categories=pb.Categories(values=_strings(value, "the value of a feature")))
    raise TypeError(
        f"the value of a feature is a str, a number, a sequence of str or a datetime; got {_described(value)}"
    )


def _candidates(item_ids: Sequence[str]) -> list[str]:
    candidates = _strings(item_ids, "candidate_item_ids")
    if not candidates:
        # On the wire it would mean the opposite: no restriction.
        raise ValueError("candidate_item_ids is empty, so nothing could be recommended; None stands for any item")
    return candidates


def _fill_user(message: pb.User, query: Query) -> None:
    message.SetInParent()
    message.user_id = text_message(query.user_id, "user_id")
    message.history.extend(_strings(query.history, "history"))
    for name, value in query.features.items():
        message.features[text_message(name, "features")].CopyFrom(feature_message(value))


def _query_messages(queries: Iterable[QueryLike]) -> list[pb.Query]:
    if isinstance(queries, str | bytes | Mapping) or not isinstance(queries, Iterable):
        raise TypeError(f"queries is a sequence of queries; got {_described(queries)}")
    messages = [query_message(query) for query in queries]
    if len(messages) > MAX_QUERIES:
        raise ValueError(f"one call takes up to {MAX_QUERIES:,} queries; got {len(messages):,}: use stream instead")
    return messages


def _selector_of(options: RankingOptions) -> pb.ModelSelector:
    return _selector(options.get("model", ""), options.get("version", 0), options.get("label"))


def _selector(model: str, version: int, label: VersionLabel | None) -> pb.ModelSelector:
    if label not in _LABELS:
        raise ValueError(f"label is 'stable', 'canary' or None; got {_described(label)}")
    if label is not None and version:
        # The server would not look at it.
        raise ValueError(f"either a version or a label says which version; got {version} and {label!r}")
    return pb.ModelSelector(model=model, version=version, label=_LABELS[label])


def _ranking_options(options: RankingOptions) -> pb.RankingOptions:
    unknown = options.keys() - RankingOptions.__optional_keys__
    if unknown:
        known = ", ".join(sorted(RankingOptions.__optional_keys__))
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}; there are {known}")
    count = options.get("count", 10)
    if count < 1:
        raise ValueError(f"count is at least 1; got {count}")
    cap = options.get("cap")
    return pb.RankingOptions(
        # The wire has 32 bits, and the server takes anything above 1,000 as 1,000.
        item_count=min(count, 2**31 - 1),
        exclude_history=options.get("exclude_history", True),
        filters=[_filter_message(each) for each in options.get("filters", ())],
        cap=None if cap is None else _cap_message(cap),
        min_score=options.get("min_score"),
        diversity=options.get("diversity"),
        forbid_fallback=options.get("forbid_fallback", False),
        because_count=options.get("because_count", 0),
        attributes=_strings(options.get("attributes", ()), "attributes"),
        skip_ranking=options.get("skip_ranking", False),
    )


def _filter_message(restriction: Filter) -> pb.AttributeFilter:
    message = pb.AttributeFilter(attribute=restriction.attribute)
    match restriction:
        case AnyOf(values=values):
            message.any_of.CopyFrom(pb.Categories(values=_strings(values, "values")))
        case NoneOf(values=values):
            message.none_of.CopyFrom(pb.Categories(values=_strings(values, "values")))
        case InRange(is_of_moments=True, min=low, max=high):
            message.time_range.CopyFrom(pb.TimeRange(min=_end(low), max=_end(high)))
        case InRange(min=low, max=high):
            message.range.CopyFrom(pb.NumberRange(min=low, max=high))  # type: ignore[arg-type]  # numbers both
    return message


def _end(end: float | datetime | None) -> Timestamp | None:
    return _timestamp(end) if isinstance(end, datetime) else None


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp


def _cap_message(cap: Cap) -> pb.AttributeCap:
    return pb.AttributeCap(attribute=cap.attribute, max_count=cap.max_count)


def _strings(values: Iterable[str], name: str) -> list[str]:
    """The values, unless they are one str, whose letters would pass for ids, or one of them is no str."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is a sequence of str; got {_described(values)}")
    strings = list(values)
    try:
        "".join(strings).encode()  # One look at all of them: which of them is wrong is asked where one is.
    except (TypeError, UnicodeEncodeError):
        for place, value in enumerate(strings):
            text_message(value, f"{name}[{place}]")
    return strings


def text_message(value: str, name: str) -> str:
    """The str, which a message can hold.

    Raises:
        TypeError: It is none.
        ValueError: It is no valid Unicode.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is a str; got {_described(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name} is Unicode; got {value!r:.60}, which has half of a surrogate pair") from None
    return value


def _described(value: object) -> str:
    return f"{type(value).__name__} {value!r:.60}"
