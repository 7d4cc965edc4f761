"""What every answer must be, whatever was asked: of the methods of all services, free of any one model."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from bascule.answers import RANKING_PATHS, SHORTFALLS
from bascule.standard_protos import status_pb2
from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.errors import Reason, ServiceError, to_status

CAUSED_BY_CALLERS = frozenset(
    {"INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "ABORTED", "OUT_OF_RANGE"}
)
"""The codes of what a caller alone can do wrong at a server that is well and has time."""

NUMBERS_OF_THEIRS = frozenset(reason.code.value[0] for reason in Reason if reason.code.name in CAUSED_BY_CALLERS)

MAX_TEXT = 2_500
"""Characters: what is echoed is short, and at most 32 names of a model are listed."""


def check_error(error: ServiceError) -> None:
    """An error is one that the caller has caused, and says so in a fixed text or with the path of a field."""
    assert error.reason.code.name in CAUSED_BY_CALLERS, error.reason
    assert error.path or str(error) == error.reason.text
    _check_status(to_status(error))


def check_answer(request: Any, response: Any) -> None:
    """An answer is what the definitions say of it."""
    _CHECKS.get(type(response), lambda *_: None)(request, response)


def _check_status(status: status_pb2.Status) -> None:
    assert status.code in NUMBERS_OF_THEIRS, status
    assert 0 < len(status.message) <= MAX_TEXT
    assert status.message.isprintable()


def _check_ranking(query: pb.Query, options: pb.RankingOptions, ranking: pb.Ranking) -> None:
    item_ids, scores = list(ranking.item_ids), list(ranking.scores)
    assert len(item_ids) == len(scores) <= (min(options.item_count, 1_000) or 10)
    assert len(set(item_ids)) == len(item_ids)
    assert all(map(math.isfinite, scores))
    assert options.diversity or all(before >= after for before, after in pairwise(scores))
    assert ranking.path in RANKING_PATHS
    assert not ranking.shortfall or ranking.shortfall in SHORTFALLS
    assert len(ranking.attributes) in (0, len(item_ids))
    assert len(ranking.because) in (0, len(item_ids))
    assert set(item_ids).isdisjoint(query.excluded_item_ids)
    assert not query.candidate_item_ids or set(item_ids) <= set(query.candidate_item_ids)
    if query.HasField("user") and (options.exclude_history or not options.HasField("exclude_history")):
        assert set(item_ids).isdisjoint(query.user.history)


def _check_results(queries: Sequence[pb.Query], results: Sequence[Any], check: Callable[[pb.Query, Any], None]) -> None:
    assert len(results) == len(queries)
    for query, result in zip(queries, results, strict=True):
        kind = result.WhichOneof("result")
        if kind == "error":
            _check_status(result.error)
        else:
            check(query, getattr(result, kind))


def _check_recommendation(request: pb.RecommendItemsRequest, response: pb.RecommendItemsResponse) -> None:
    assert response.served_by.version
    _check_ranking(request.query, request.options, response.ranking)


def _check_rankings(
    request: pb.BatchRecommendItemsRequest | pb.StreamRecommendItemsRequest,
    response: pb.BatchRecommendItemsResponse | pb.StreamRecommendItemsResponse,
) -> None:
    _check_results(
        request.queries, response.results, lambda query, ranking: _check_ranking(query, request.options, ranking)
    )


def _check_message(request: pb.StreamRecommendItemsRequest, response: pb.StreamRecommendItemsResponse) -> None:
    assert response.sequence_id == request.sequence_id
    _check_rankings(request, response)


def _check_scores(request: pb.ScoreItemsRequest, response: pb.ScoreItemsResponse) -> None:
    assert len(response.scores) == len(request.item_ids)
    # NaN stands for an item that there is not.
    assert not any(map(math.isinf, response.scores))
    assert response.path in RANKING_PATHS


def _check_embeddings(request: pb.EmbedQueriesRequest, response: pb.EmbedQueriesResponse) -> None:
    def check(_: pb.Query, embedding: pb.Embedding) -> None:
        assert embedding.vector.values
        assert all(map(math.isfinite, embedding.vector.values))

    _check_results(request.queries, response.results, check)


_CHECKS: dict[type, Callable[[Any, Any], None]] = {
    pb.RecommendItemsResponse: _check_recommendation,
    pb.BatchRecommendItemsResponse: _check_rankings,
    pb.StreamRecommendItemsResponse: _check_message,
    pb.ScoreItemsResponse: _check_scores,
    pb.EmbedQueriesResponse: _check_embeddings,
}
