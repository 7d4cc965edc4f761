"""From answers to messages. Rankings are two parallel fields, filled in one go each: half of a small answer's cost."""

from collections.abc import Iterable
from typing import TypeAlias, TypeVar

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.errors import ServiceError, query_failure, to_status
from bascule_server.query import Answer, FeatureValue, ItemScores, QueryError, QueryVector, Ranking

RowAnswer: TypeAlias = Answer | ServiceError
"""What became of a row: the scorer's answer, or why it never came to that."""

Kind = TypeVar("Kind", Ranking, ItemScores, QueryVector)


def encode_ranking(answer: RowAnswer) -> pb.Ranking:
    """One ranking; raises what stands in its place."""
    ranking = _expect(answer, Ranking)
    return pb.Ranking(
        item_ids=ranking.item_ids,
        scores=ranking.scores.tolist(),
        path=ranking.path,
        unknown_item_ids=ranking.unknown_item_ids,
        attributes=[_item_attributes(values) for values in ranking.attributes or ()],
    )


def encode_rankings(answers: Iterable[RowAnswer]) -> list[pb.RankingResult]:
    """Rankings, each with its own status where there is none."""
    return [
        pb.RankingResult(error=to_status(failure))
        if (failure := _failure(answer))
        else pb.RankingResult(ranking=encode_ranking(answer))
        for answer in answers
    ]


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
    return pb.FeatureValue(number=value)
