"""From answers to messages.

Rankings are written by hand, since building and serialising messages would take half the time of a small answer: what
``encode_ranking`` and those above it return are serialised messages.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import TypeAlias, TypeVar

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.errors import ServiceError, to_status
from bascule_server.messages.query_failures import query_failure
from bascule_server.scoring.query import Answer, FeatureValue, ItemScores, QueryError, QueryVector, Ranking
from bascule_server.wire import tag, with_length

RowAnswer: TypeAlias = Answer | ServiceError
"""What became of a row: the scorer's answer, or why it never came to that."""

Kind = TypeVar("Kind", Ranking, ItemScores, QueryVector)

_FLOAT32 = np.dtype("<f4")
"""As the wire has it."""
_SCORES = tag(pb.Ranking, "scores")
_RANKING = tag(pb.RecommendItemsResponse, "ranking")
_RANKING_RESULT = tag(pb.RankingResult, "ranking")
_BATCH_RESULT = tag(pb.BatchRecommendItemsResponse, "results")
_STREAM_RESULT = tag(pb.StreamRecommendItemsResponse, "results")


def encode_recommendation(answer: RowAnswer, served_by: pb.ModelVersion) -> bytes:
    """A ``RecommendItemsResponse``; raises what stands in the place of its ranking."""
    return (
        _served_by(served_by.model, served_by.version, served_by.catalogue_revision)
        + _RANKING
        + with_length(encode_ranking(answer))
    )


def encode_batch(answers: Iterable[RowAnswer], served_by: pb.ModelVersion) -> bytes:
    """A ``BatchRecommendItemsResponse``: rankings, each with its own status where there is none."""
    results = b"".join([_BATCH_RESULT + with_length(_result(answer)) for answer in answers])
    return pb.BatchRecommendItemsResponse(served_by=served_by).SerializeToString() + results


def encode_message(answers: Iterable[RowAnswer], sequence_id: int, served_by: pb.ModelVersion | None) -> bytes:
    """A ``StreamRecommendItemsResponse``: the same for a message of a stream."""
    results = b"".join([_STREAM_RESULT + with_length(_result(answer)) for answer in answers])
    return pb.StreamRecommendItemsResponse(sequence_id=sequence_id, served_by=served_by).SerializeToString() + results


def encode_ranking(answer: RowAnswer) -> bytes:
    """A ``Ranking``; raises what stands in its place."""
    ranking = _expect(answer, Ranking)
    numbers = ranking.scores.astype(_FLOAT32, copy=False).tobytes()
    scores = _SCORES + with_length(numbers) if numbers else b""
    return ranking.items.encoded_ids + scores + _rest(ranking)


def _rest(ranking: Ranking) -> bytes:
    """The fields that are peculiar to few rankings."""
    if not ranking.unknown_item_ids and not ranking.attributes and not ranking.because:
        return _path(ranking.path, ranking.shortfall, ranking.is_ranked)
    return pb.Ranking(
        path=ranking.path,
        unknown_item_ids=ranking.unknown_item_ids,
        attributes=[_item_attributes(values) for values in ranking.attributes or ()],
        shortfall=ranking.shortfall,
        because=[pb.LikeItems(item_ids=item_ids) for item_ids in ranking.because or ()],
        is_ranked=ranking.is_ranked,
    ).SerializeToString()


@lru_cache
def _path(path: pb.RankingPath.ValueType, shortfall: pb.Shortfall.ValueType, is_ranked: bool) -> bytes:
    return pb.Ranking(path=path, shortfall=shortfall, is_ranked=is_ranked).SerializeToString()


@lru_cache
def _served_by(model: str, version: int, catalogue_revision: int) -> bytes:
    served_by = pb.ModelVersion(model=model, version=version, catalogue_revision=catalogue_revision)
    return pb.RecommendItemsResponse(served_by=served_by).SerializeToString()


def _result(answer: RowAnswer) -> bytes:
    if failure := _failure(answer):
        return pb.RankingResult(error=to_status(failure)).SerializeToString()
    return _RANKING_RESULT + with_length(encode_ranking(answer))


def encode_scores(answer: RowAnswer, served_by: pb.ModelVersion) -> pb.ScoreItemsResponse:
    """The scores of given items; raises what stands in their place."""
    scores = _expect(answer, ItemScores)
    return pb.ScoreItemsResponse(
        served_by=served_by,
        scores=scores.scores.tolist(),
        path=scores.path,
        unknown_item_ids=scores.unknown_item_ids,
    )


def encode_embeddings(answers: Iterable[RowAnswer]) -> list[pb.EmbeddingResult]:
    """Vectors, each with its own status where there is none."""
    return [
        pb.EmbeddingResult(error=to_status(failure))
        if (failure := _failure(answer))
        else pb.EmbeddingResult(embedding=_embedding(answer))
        for answer in answers
    ]


def _embedding(answer: RowAnswer) -> pb.Embedding:
    vector = _expect(answer, QueryVector)
    return pb.Embedding(vector=pb.Vector(values=vector.vector.tolist()), path=vector.path)


def _failure(answer: RowAnswer) -> ServiceError | None:
    if isinstance(answer, QueryError):
        return query_failure(answer)
    return answer if isinstance(answer, ServiceError) else None


def _expect(answer: RowAnswer, kind: type[Kind]) -> Kind:
    if failure := _failure(answer):
        raise failure
    if not isinstance(answer, kind):
        raise TypeError(f"the scorer answered {type(answer).__name__}; expected {kind.__name__}")
    return answer


def _item_attributes(values: dict[str, FeatureValue]) -> pb.ItemAttributes:
    return pb.ItemAttributes(values={name: encode_feature_value(value) for name, value in values.items()})


def encode_feature_value(value: FeatureValue) -> pb.FeatureValue:
    """The message of a feature's or an attribute's value."""
    if isinstance(value, str):
        return pb.FeatureValue(category=value)
    if isinstance(value, tuple):
        return pb.FeatureValue(categories=pb.Categories(values=value))
    if isinstance(value, datetime):
        time = Timestamp()
        time.FromDatetime(value)
        return pb.FeatureValue(time=time)
    return pb.FeatureValue(number=value)
