import math
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode

from bascule.v1 import recommendation_service_pb2 as pb
from bascule.v1.recommendation_service_pb2 import Categories, FeatureValue, ModelVersion, RankingPath
from bascule_server.errors import Reason, ServiceError, invalid_field
from bascule_server.messages.encoding import (
    RowAnswer,
    encode_batch,
    encode_embeddings,
    encode_message,
    encode_ranking,
    encode_recommendation,
    encode_scores,
)
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.query import ItemNotFoundError, ItemScores, NothingKnownError, QueryVector, Ranking

VERSION = ModelVersion(model="m", version=3)


def ranking(**fields: Any) -> Ranking:
    scores = np.array([0.5, 0.25], np.float32)
    (items,) = ItemIds(["a", "b"]).listed([np.array([1, 0])])
    return Ranking(items, scores, RankingPath.RANKING_PATH_COLD, ["x"], **fields)


def encoded(answer: RowAnswer) -> pb.Ranking:
    return pb.Ranking.FromString(encode_ranking(answer))


def test_a_ranking_is_two_parallel_fields_best_first() -> None:
    message = encoded(ranking())
    assert (list(message.item_ids), list(message.scores)) == (["b", "a"], [0.5, 0.25])
    assert message.path == RankingPath.RANKING_PATH_COLD
    assert list(message.unknown_item_ids) == ["x"]
    assert not message.attributes


def test_scores_travel_without_loss() -> None:
    score = np.float32(0.1)
    message = encoded(ranking()._replace(scores=np.array([score, score])))
    assert np.float32(message.scores[0]) == score


def test_an_empty_ranking_has_its_path() -> None:
    (nothing,) = ItemIds(["a"]).listed([np.empty(0, np.int64)])
    message = encoded(Ranking(nothing, np.empty(0, np.float32), RankingPath.RANKING_PATH_POPULAR, []))
    assert message == pb.Ranking(path=RankingPath.RANKING_PATH_POPULAR)


def test_a_short_ranking_says_why_with_and_without_other_peculiarities() -> None:
    why = pb.SHORTFALL_CAP
    assert encoded(ranking()._replace(shortfall=why)).shortfall == why
    assert encoded(ranking()._replace(shortfall=why, unknown_item_ids=[])).shortfall == why


def test_a_ranking_says_whether_the_ranking_tower_ordered_it() -> None:
    assert encoded(ranking()._replace(is_ranked=True)).is_ranked
    assert encoded(ranking()._replace(is_ranked=True, unknown_item_ids=[])).is_ranked
    assert not encoded(ranking()).is_ranked


def test_reasons_stand_parallel_to_the_items() -> None:
    message = encoded(ranking()._replace(because=[["x", "y"], []], unknown_item_ids=[]))
    assert [list(like.item_ids) for like in message.because] == [["x", "y"], []]


def test_a_recommendation_names_the_version() -> None:
    message = pb.RecommendItemsResponse.FromString(encode_recommendation(ranking(), VERSION))
    assert (message.served_by, message.ranking) == (VERSION, encoded(ranking()))


def test_an_answer_to_a_streams_message_has_its_number_and_the_version_where_there_is_one() -> None:
    message = pb.StreamRecommendItemsResponse.FromString(encode_message([ranking()] * 2, 7, VERSION))
    assert (message.sequence_id, message.served_by, len(message.results)) == (7, VERSION, 2)
    assert not pb.StreamRecommendItemsResponse.FromString(encode_message([], 7, None)).HasField("served_by")


def test_attributes_keep_their_kinds_and_what_an_item_lacks_is_absent() -> None:
    message = encoded(ranking(attributes=[{"title": "T", "year": 1990.0, "genres": ("x", "y")}, {}]))
    full, empty = message.attributes
    assert full.values["title"] == FeatureValue(category="T")
    assert full.values["year"] == FeatureValue(number=1990)
    assert full.values["genres"] == FeatureValue(categories=Categories(values=["x", "y"]))
    assert not empty.values


def test_each_row_has_its_own_ranking_or_its_own_error() -> None:
    wrong = invalid_field("queries[1]", "got none")
    message = encode_batch([ranking(), wrong, ItemNotFoundError()], VERSION)
    results = pb.BatchRecommendItemsResponse.FromString(message).results
    assert [result.WhichOneof("result") for result in results] == ["ranking", "error", "error"]
    assert results[1].error.message == "queries[1]: got none"
    assert results[2].error.code == StatusCode.NOT_FOUND.value[0]


def test_the_error_of_the_only_row_is_raised() -> None:
    with pytest.raises(ServiceError) as caught:
        encode_ranking(ItemNotFoundError())
    assert caught.value.reason is Reason.ITEM_NOT_FOUND
    with pytest.raises(ServiceError) as caught:
        encode_scores(ServiceError(Reason.INTERNAL), VERSION)
    assert caught.value.reason is Reason.INTERNAL


def test_an_item_that_has_no_score_has_nan() -> None:
    scores = ItemScores(np.array([1, np.nan], np.float32), RankingPath.RANKING_PATH_SIMILAR, ["x"])
    message = encode_scores(scores, VERSION)
    assert message.served_by == VERSION
    assert message.scores[0] == 1
    assert math.isnan(message.scores[1])
    assert list(message.unknown_item_ids) == ["x"]


def test_each_vector_stands_in_its_row() -> None:
    vector = QueryVector(np.array([1, 2], np.float32), RankingPath.RANKING_PATH_HISTORY)
    known, unknown = encode_embeddings([vector, NothingKnownError()])
    assert list(known.embedding.vector.values) == [1, 2]
    assert known.embedding.path == RankingPath.RANKING_PATH_HISTORY
    assert unknown.error.code == StatusCode.FAILED_PRECONDITION.value[0]


def test_an_answer_to_another_question_is_a_fault() -> None:
    with pytest.raises(TypeError, match="expected Ranking"):
        encode_ranking(QueryVector(np.zeros(2, np.float32), RankingPath.RANKING_PATH_COLD))
