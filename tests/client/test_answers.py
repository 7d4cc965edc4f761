"""From messages to answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule import InternalError, NotFoundError, Ranking, RankingPath, Shortfall
from bascule.answers import (
    RANKING_PATHS,
    SHORTFALLS,
    read_embeddings,
    read_feature_value,
    read_ranking,
    read_rankings,
    read_scores,
)
from bascule.requests import feature_message
from bascule.v1 import recommendation_service_pb2 as pb

SERVED_BY = pb.ModelVersion(model="movies", version=4)


def test_a_ranking_is_ids_and_float32_scores_and_says_who_made_it_and_how() -> None:
    message = pb.Ranking(item_ids=["a", "b"], scores=[2, 0.5], path=pb.RANKING_PATH_COLD, unknown_item_ids=["x"])
    ranking = read_ranking(message, SERVED_BY)
    assert ranking.item_ids == ["a", "b"]
    assert ranking.scores.dtype == np.float32
    assert ranking.scores.tolist() == [2, 0.5]
    assert (ranking.path, ranking.unknown_item_ids) == (RankingPath.COLD, ("x",))
    assert (ranking.model, ranking.version, ranking.attributes) == ("movies", 4, None)


def test_an_attribute_that_an_item_lacks_is_absent() -> None:
    message = pb.Ranking(item_ids=["a", "b"], scores=[2, 1])
    message.attributes.add(values={"title": feature_message("Heat"), "year": feature_message(1995)})
    message.attributes.add(values={"title": pb.FeatureValue()})
    assert read_ranking(message, SERVED_BY).attributes == [{"title": "Heat", "year": 1995.0}, {}]


def test_every_path_that_is_sent_has_a_name() -> None:
    assert set(RANKING_PATHS) == set(pb.RankingPath.values()) - {pb.RANKING_PATH_UNSPECIFIED}
    assert set(RANKING_PATHS.values()) == set(RankingPath) - {RankingPath.UNKNOWN}


def test_a_path_of_the_future_is_unknown() -> None:
    assert read_ranking(pb.Ranking(path=99), SERVED_BY).path is RankingPath.UNKNOWN  # type: ignore[arg-type]


def test_reasons_stand_parallel_to_the_items() -> None:
    because = [pb.LikeItems(item_ids=["x", "y"]), pb.LikeItems()]
    of_two = pb.Ranking(item_ids=["a", "b"], scores=[2, 1])
    assert read_ranking(of_two, SERVED_BY).because is None
    of_two.because.extend(because)
    assert read_ranking(of_two, SERVED_BY).because == [["x", "y"], []]


@pytest.mark.parametrize("others", [{}, {"because": 1}, {"attributes": 3}])
def test_what_is_not_parallel_to_the_items_is_an_error(others: dict[str, int]) -> None:
    message = pb.Ranking(item_ids=["a", "b"], scores=[2, 1] if others else [2])
    for field, count in others.items():
        for _ in range(count):
            getattr(message, field).add()
    with pytest.raises(InternalError, match="a ranking of 2 items"):
        read_ranking(message, SERVED_BY)


def test_a_ranking_says_whether_the_ranking_tower_ordered_it() -> None:
    assert read_ranking(pb.Ranking(is_ranked=True), SERVED_BY).is_ranked
    assert not read_ranking(pb.Ranking(), SERVED_BY).is_ranked


def test_every_shortfall_has_a_name_and_a_full_ranking_has_none() -> None:
    assert set(SHORTFALLS) == set(pb.Shortfall.values()) - {pb.SHORTFALL_UNSPECIFIED}
    assert set(SHORTFALLS.values()) == set(Shortfall) - {Shortfall.UNKNOWN}
    assert read_ranking(pb.Ranking(shortfall=pb.SHORTFALL_CAP), SERVED_BY).shortfall is Shortfall.CAP
    assert read_ranking(pb.Ranking(shortfall=99), SERVED_BY).shortfall is Shortfall.UNKNOWN  # type: ignore[arg-type]
    assert read_ranking(pb.Ranking(), SERVED_BY).shortfall is None


@given(st.text() | st.floats(allow_nan=False) | st.lists(st.text(), max_size=3))
def test_a_value_is_read_as_it_was_written(value: str | float | list[str]) -> None:
    assert read_feature_value(feature_message(value)) == value


def test_a_row_that_failed_stands_in_its_place() -> None:
    response = pb.BatchRecommendItemsResponse(served_by=SERVED_BY)
    response.results.add(ranking=pb.Ranking(item_ids=["a"], scores=[1]))
    response.results.add().error.code = 5
    first, second = read_rankings(response, 2)
    assert isinstance(first, Ranking)
    assert isinstance(second, NotFoundError)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_answers_than_of_queries_is_an_error(count: int) -> None:
    response = pb.BatchRecommendItemsResponse(results=[pb.RankingResult()] * count)
    with pytest.raises(InternalError, match=f"the server gave {count} answers; expected 2"):
        read_rankings(response, 2)
    with pytest.raises(InternalError, match=f"the server gave {count} answers; expected 2"):
        read_scores(pb.ScoreItemsResponse(scores=[1.0] * count), 2)


def test_a_vector_is_float32() -> None:
    response = pb.EmbedQueriesResponse()
    response.results.add().embedding.vector.values.extend([1, 2])
    response.results.add().error.code = 9
    vector, error = read_embeddings(response, 2)
    assert isinstance(vector, np.ndarray)
    assert vector.dtype == np.float32
    assert vector.tolist() == [1, 2]
    assert isinstance(error, Exception)
