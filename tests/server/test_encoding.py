"""Answers become messages with nothing lost, and failures the statuses of their own rows."""

import numpy as np
import pytest

from bascule.v1 import recommendation_service_pb2 as pb
from bascule_server.encoding import encode_embeddings, encode_ranking, encode_rankings, encode_scores
from bascule_server.errors import Reason, ServiceError
from bascule_server.query import ItemNotFoundError, ItemScores, NothingKnownError, QueryVector, Ranking

RANKING = Ranking(["a", "b"], np.array([0.1, -2], np.float32), pb.RANKING_PATH_COLD, ["z"])


def test_scores_cross_the_wire_bit_for_bit() -> None:
    message = pb.Ranking.FromString(encode_ranking(RANKING).SerializeToString())
    assert np.array(message.scores, np.float32).tobytes() == RANKING.scores.tobytes()
    assert (list(message.item_ids), list(message.unknown_item_ids)) == (["a", "b"], ["z"])
    assert message.path == pb.RANKING_PATH_COLD


def test_attributes_stand_parallel_to_the_items() -> None:
    values: list[dict[str, object]] = [{"title": "A", "year": 1990.0}, {"genres": ("x", "y")}]
    ranking = Ranking(["a", "b"], RANKING.scores, pb.RANKING_PATH_COLD, [], values)  # type: ignore[arg-type]
    first, second = encode_ranking(ranking).attributes
    assert (first.values["title"].category, first.values["year"].number) == ("A", 1990.0)
    assert list(second.values["genres"].categories.values) == ["x", "y"]


def test_a_failed_row_carries_its_own_status() -> None:
    good, unknown, invalid = encode_rankings([RANKING, ItemNotFoundError(), ServiceError(Reason.INTERNAL)])
    assert good.ranking.item_ids == ["a", "b"]
    assert unknown.error.code == 5
    assert invalid.error.code == 13


def test_the_answer_of_a_call_is_raised_where_it_is_an_error() -> None:
    with pytest.raises(ServiceError) as caught:
        encode_ranking(ItemNotFoundError())
    assert caught.value.reason is Reason.ITEM_NOT_FOUND


def test_scores_of_unknown_items_stay_not_a_number() -> None:
    scores = ItemScores(np.array([1, np.nan], np.float32), pb.RANKING_PATH_COLD, ["z"])
    message = encode_scores(scores, pb.ModelVersion(model="m", version=1))
    assert message.scores[0] == 1
    assert np.isnan(message.scores[1])
    assert message.served_by.version == 1


def test_vectors_and_their_failures_keep_their_places() -> None:
    vector = QueryVector(np.array([1, 2], np.float32), pb.RANKING_PATH_HISTORY)
    nothing, embedded = encode_embeddings([NothingKnownError(), vector])
    assert nothing.error.code == 9
    assert list(embedded.embedding.vector.values) == [1, 2]


def test_an_answer_of_another_kind_is_a_fault_of_ours() -> None:
    with pytest.raises(TypeError, match="answered QueryVector; expected Ranking"):
        encode_ranking(QueryVector(np.zeros(2, np.float32), pb.RANKING_PATH_COLD))
