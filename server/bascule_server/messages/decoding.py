"""From messages to questions: whatever is wrong with a request is found here, before it meets others in a batch.

A function that decodes one query raises ``ServiceError`` with the path of the wrong field, what was got and what
is allowed. A function that decodes many puts the error in the place of the bad query, and every other one is answered.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import (
    BatchRecommendItemsRequest,
    EmbedQueriesRequest,
    RecommendItemsRequest,
    ScoreItemsRequest,
    StreamRecommendItemsRequest,
)
from bascule.v1.recommendation_service_pb2 import FeatureValue as FeatureValueMessage
from bascule.v1.recommendation_service_pb2 import Query as QueryMessage
from bascule_server.errors import ServiceError, invalid_field
from bascule_server.messages.field_checks import (
    MAX_ITEM_IDS,
    checked_categories,
    checked_id,
    checked_item_ids,
    declared_kind,
    finite,
    nanoseconds,
    quoted,
)
from bascule_server.messages.ranking_options import decode_options
from bascule_server.messages.schema import Schema
from bascule_server.scoring.columns import moment_of
from bascule_server.scoring.query import NO_FEATURES, Embed, FeatureValue, Query, Question, Score

MAX_QUERIES = 1_024

MAX_COMPONENT = 1e18
"""How large a component of a vector may be, so that products with it stay finite in float32."""

Row: TypeAlias = Question | ServiceError
"""What a query of a message became: a question, or what is wrong with it."""


def decode_ranking(request: RecommendItemsRequest, schema: Schema) -> Question:
    """The question of a call for one ranking."""
    return Question(_required_query(request, schema), decode_options(request.options, "options", schema))


def decode_rankings(request: BatchRecommendItemsRequest | StreamRecommendItemsRequest, schema: Schema) -> list[Row]:
    """The rows of a message that asks for rankings."""
    check_query_count(request.queries)
    rank = decode_options(request.options, "options", schema)
    return _rows(request.queries, lambda query, path: Question(decode_query(query, path, schema), rank))


def decode_message(request: StreamRecommendItemsRequest, schema: Schema) -> list[Row]:
    """The rows of a stream's message. Wrong options fail each of them; only a wrong number of them ends the stream."""
    check_query_count(request.queries)
    try:
        return decode_rankings(request, schema)
    except ServiceError as error:
        return [error] * len(request.queries)


def decode_scores(request: ScoreItemsRequest, schema: Schema) -> Question:
    """The question of a call for the scores of given items."""
    item_ids = checked_item_ids(request.item_ids, "", "item_ids")
    if not item_ids:
        raise invalid_field("item_ids", f"got none; expected 1 to {MAX_ITEM_IDS:,}")
    _check_unrestricted(request.query, "query")
    return Question(_required_query(request, schema), Score(item_ids))


def decode_embeddings(request: EmbedQueriesRequest, schema: Schema) -> list[Row]:
    """The rows of a call for query vectors."""
    check_query_count(request.queries)

    def question(query: QueryMessage, path: str) -> Question:
        _check_unrestricted(query, path)
        return Question(decode_query(query, path, schema), Embed())

    return _rows(request.queries, question)


def check_query_count(queries: Collection[QueryMessage]) -> None:
    """Raises unless there are from 1 to 1,024 queries."""
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise invalid_field("queries", f"got {len(queries):,}; expected 1 to {MAX_QUERIES:,}")


def decode_query(message: QueryMessage, path: str, schema: Schema) -> Query:
    """What to answer for."""
    excluded = checked_item_ids(message.excluded_item_ids, path, "excluded_item_ids")
    candidates = checked_item_ids(message.candidate_item_ids, path, "candidate_item_ids")
    match message.WhichOneof("subject"):
        case "user":
            user = message.user
            user_id = checked_id(user.user_id, path, "user.user_id")
            history = checked_item_ids(user.history, path, "user.history")
            features = _features(user.features, f"{path}.user.features", schema) if user.features else NO_FEATURES
            return Query(user_id, history, features, excluded_item_ids=excluded, candidate_item_ids=candidates)
        case "item_id":
            item_id = checked_id(message.item_id, path, "item_id")
            return Query(item_id=item_id, excluded_item_ids=excluded, candidate_item_ids=candidates)
        case "vector":
            vector = _vector(message.vector.values, f"{path}.vector.values", schema)
            return Query(vector=vector, excluded_item_ids=excluded, candidate_item_ids=candidates)
        case None:
            raise invalid_field(path, "got no subject; expected one of user, item_id, vector")


def _rows(queries: Sequence[QueryMessage], question: Callable[[QueryMessage, str], Question]) -> list[Row]:
    def row(query: QueryMessage, path: str) -> Row:
        try:
            return question(query, path)
        except ServiceError as error:
            return error

    return [row(query, f"queries[{index}]") for index, query in enumerate(queries)]


def _required_query(request: RecommendItemsRequest | ScoreItemsRequest, schema: Schema) -> Query:
    if not request.HasField("query"):
        raise invalid_field("query", "got none; expected a query")
    return decode_query(request.query, "query", schema)


def _check_unrestricted(query: QueryMessage, path: str) -> None:
    if query.excluded_item_ids:
        raise invalid_field(f"{path}.excluded_item_ids", "got some; expected none in this method")
    if query.candidate_item_ids:
        raise invalid_field(f"{path}.candidate_item_ids", "got some; expected none in this method")


def _features(messages: Mapping[str, FeatureValueMessage], path: str, schema: Schema) -> dict[str, FeatureValue]:
    kinds = schema.feature_kinds
    values = {
        name: decode_value("feature", name, message, kinds, f"{path}[{quoted(name)}]")
        for name, message in messages.items()
    }
    return {name: value for name, value in values.items() if value is not None}


def decode_value(
    what: str, name: str, message: FeatureValueMessage, kinds: Mapping[str, str], path: str
) -> FeatureValue | None:
    """The value of a feature or an attribute; None where the message has none.

    Args:
        what: how an error calls what is declared.
        name: of the feature or attribute.
        message: its value.
        kinds: the kind of each that is declared, as in ``FeatureValue``.
        path: of the message.

    Raises:
        ServiceError: it is not declared, or not of the kind that is declared.
    """
    declared = declared_kind(what, name, kinds, path)
    kind = message.WhichOneof("kind")
    if kind is not None and kind != declared:
        raise invalid_field(path, f"got {kind}; expected {declared}")
    match kind:
        case "category":
            return message.category
        case "number":
            return finite(message.number, path)
        case "categories":
            return checked_categories(message.categories, f"{path}.categories")
        case "time":
            return moment_of(nanoseconds(message.time, f"{path}.time") // 1_000)
        case _:
            return None


def _vector(values: Sequence[float], path: str, schema: Schema) -> NDArray[np.float32]:
    if len(values) != schema.dimension:
        raise invalid_field(path, f"got {len(values):,} components; expected {schema.dimension:,}")
    vector = np.array(values, dtype=np.float32)
    for index in np.flatnonzero(~(np.abs(vector) <= MAX_COMPONENT)):
        raise invalid_field(
            f"{path}[{index}]", f"got {vector[index]}; expected a number from {-MAX_COMPONENT:g} to {MAX_COMPONENT:g}"
        )
    return vector
