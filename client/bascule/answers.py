"""From messages to answers. Free of connections: both clients read every response here."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from bascule.arrays import Float32Array, float32_array
from bascule.errors import BasculeError, Failure, InternalError, error_from_status
from bascule.query import FeatureValue
from bascule.ranking import ItemAttributes, Ranking, RankingPath, Shortfall
from bascule.v1 import recommendation_service_pb2 as pb

RankingResult: TypeAlias = Ranking | BasculeError
"""What became of one query among several."""

EmbeddingResult: TypeAlias = "Float32Array | BasculeError"
"""The vector of one query among several, float32 [dimension], or why there is none."""

Answer = TypeVar("Answer")

RANKING_PATHS: dict[pb.RankingPath.ValueType, RankingPath] = {
    pb.RANKING_PATH_PERSONALISED: RankingPath.PERSONALISED,
    pb.RANKING_PATH_HISTORY: RankingPath.HISTORY,
    pb.RANKING_PATH_COLD: RankingPath.COLD,
    pb.RANKING_PATH_POPULAR: RankingPath.POPULAR,
    pb.RANKING_PATH_SIMILAR: RankingPath.SIMILAR,
    pb.RANKING_PATH_VECTOR: RankingPath.VECTOR,
}

SHORTFALLS: dict[pb.Shortfall.ValueType, Shortfall] = {
    pb.SHORTFALL_RESTRICTED: Shortfall.RESTRICTED,
    pb.SHORTFALL_CAP: Shortfall.CAP,
    pb.SHORTFALL_MIN_SCORE: Shortfall.MIN_SCORE,
}


def read_ranking(ranking: pb.Ranking, served_by: pb.ModelVersion) -> Ranking:
    """One ranking, made by ``served_by``.

    Raises:
        InternalError: Its fields are not parallel, or hold what there is not.
    """
    count = len(ranking.item_ids)
    if len(ranking.scores) != count or {len(ranking.attributes), len(ranking.because)} - {0, count}:
        raise broken_contract(f"the server gave a ranking of {count} items with other numbers of what belongs to them")
    return Ranking(
        item_ids=ranking.item_ids[:],
        scores=float32_array(ranking.scores),
        path=RANKING_PATHS.get(ranking.path, RankingPath.UNKNOWN),
        # Most rankings have neither, and to look is quicker than to copy nothing.
        unknown_item_ids=tuple(ranking.unknown_item_ids) if ranking.unknown_item_ids else (),
        attributes=[_read_attributes(item) for item in ranking.attributes] if ranking.attributes else None,
        because=[like.item_ids[:] for like in ranking.because] if ranking.because else None,
        shortfall=SHORTFALLS.get(ranking.shortfall, Shortfall.UNKNOWN) if ranking.shortfall else None,
        is_ranked=ranking.is_ranked,
        model=served_by.model,
        version=served_by.version,
        catalogue_revision=served_by.catalogue_revision,
    )


def read_rankings(
    response: pb.BatchRecommendItemsResponse | pb.StreamRecommendItemsResponse, expected: int
) -> list[RankingResult]:
    """A result for each of the ``expected`` queries.

    Raises:
        InternalError: There are more or fewer, or one of them is none.
    """
    served_by = response.served_by
    return _read_results(response.results, lambda result: read_ranking(result.ranking, served_by), expected)


def read_scores(response: pb.ScoreItemsResponse, expected: int) -> Float32Array:
    """The scores of the ``expected`` items: float32 [items], NaN where the catalogue does not have the item.

    Raises:
        InternalError: There are more or fewer.
    """
    _check_count(len(response.scores), expected)
    return float32_array(response.scores)


def read_embeddings(response: pb.EmbedQueriesResponse, expected: int) -> list[EmbeddingResult]:
    """A result for each of the ``expected`` queries.

    Raises:
        InternalError: There are more or fewer.
    """
    return _read_results(response.results, lambda result: float32_array(result.embedding.vector.values), expected)


def read_feature_value(value: pb.FeatureValue) -> FeatureValue | None:
    """The value that a message holds; None where it holds none, or one of a kind that this version does not know."""
    match value.WhichOneof("kind"):
        case "category":
            return value.category
        case "number":
            return value.number
        case "categories":
            return list(value.categories.values)
        case "time":
            return read_moment(value.time)
        case _:
            return None


def read_moment(time: Timestamp) -> datetime:
    """A moment in UTC.

    Raises:
        InternalError: It is not from the year 1 to 9999.
    """
    try:
        return time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise broken_contract("the server gave a moment that is not from the year 1 to 9999") from None


def broken_contract(message: str) -> InternalError:
    """The error for an answer that no server of ours gives."""
    return InternalError(Failure(grpc.StatusCode.INTERNAL, message))


def no_message() -> InternalError:
    """The error for an answer whose bytes cannot be read."""
    return broken_contract("the server's answer is no message of the method")


Result = TypeVar("Result", pb.RankingResult, pb.EmbeddingResult)


def _read_results(
    results: Iterable[Result], read: Callable[[Result], Answer], expected: int
) -> list[Answer | BasculeError]:
    answers = [
        error_from_status(result.error) if result.WhichOneof("result") == "error" else read(result)
        for result in results
    ]
    _check_count(len(answers), expected)
    return answers


def _check_count(count: int, expected: int) -> None:
    if count != expected:
        raise broken_contract(f"the server gave {count} answers; expected {expected}")


def _read_attributes(item: pb.ItemAttributes) -> ItemAttributes:
    values = {name: read_feature_value(value) for name, value in item.values.items()}
    return {name: value for name, value in values.items() if value is not None}
