"""The scorer answers what a plain walk over all items answers, to the last bit, whatever is asked beside it.

First by hand, with four items in two dimensions; then with the small trained model against ``Walk``, which reads
the artifact by itself and scores, filters and caps one item at a time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from plain_walk import Walk, assert_same, queries, questions

from bascule.v1.artifact_pb2 import Feature, HistoryFeature, StandardisedFeature
from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.columns import Categories, Numbers
from bascule_server.scoring.encoder import QueryEncoder
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.known_users import KnownUsers
from bascule_server.scoring.query import (
    Cap,
    Embed,
    ItemNotFoundError,
    ItemScores,
    NothingKnownError,
    Query,
    QueryVector,
    Question,
    Rank,
    Ranking,
    Score,
)
from bascule_server.scoring.scorer import Scorer
from bascule_server.scoring.subject import Subjects
from bascule_server.servable import load_servable

VECTORS = np.array([[1, 0], [0, 2], [3, 4], [0, 0]], np.float32)
"""Those of the items a, b, c and d."""

QUERY_FEATURES = [
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
    Feature(name="history", history=HistoryFeature(max_length=2)),
]


class AgeAndHistoryTower:
    """The vector of a query is (age, number of items in the history)."""

    def vectors(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        read = np.count_nonzero(inputs["history"], axis=1)
        return np.stack([inputs["age"], read.astype(np.float32)], axis=1)


def by_hand() -> Scorer:
    popularity = np.array([0.1, 0.5, 0.1, 0.3], np.float32)
    genres = Categories([("sad",), ("sad", "new"), (), ("new",)], multi_valued=True)
    catalogue = Catalogue(
        ItemIds(list("abcd")), popularity, {"genres": genres, "year": Numbers(np.array([1, 2, 3, np.nan]))}
    )
    encoder = QueryEncoder(QUERY_FEATURES, {})
    users = KnownUsers(["ann"], pl.Series([[0]], dtype=pl.List(pl.Int64)), {"age": pl.Series([2])})
    return Scorer(
        catalogue,
        Subjects(catalogue, users, encoder.features),
        encoder,
        AgeAndHistoryTower(),
        exact_retrievers(VECTORS),
    )


def ranked(query: Query, rank: Rank | None = None) -> Ranking:
    (answer,) = by_hand().answer([Question(query, rank or Rank())])
    assert isinstance(answer, Ranking)
    return answer


def scored(query: Query, *item_ids: str) -> ItemScores:
    (answer,) = by_hand().answer([Question(query, Score(item_ids))])
    assert isinstance(answer, ItemScores)
    return answer


def vector_of(*components: float) -> Query:
    return Query(vector=np.array(components, np.float32))


def test_a_vector_is_ranked_by_its_product_with_each_item() -> None:
    ranking = ranked(vector_of(1, 1))
    assert ranking.item_ids == ["c", "b", "a", "d"]
    assert ranking.scores.tolist() == [7, 2, 1, 0]
    assert ranking.path == RankingPath.RANKING_PATH_VECTOR


def test_a_known_user_is_ranked_from_what_training_saw() -> None:
    ranking = ranked(Query("ann"))
    assert ranking.item_ids == ["c", "b", "d"]
    assert ranking.scores.tolist() == [10, 2, 0]
    assert ranking.path == RankingPath.RANKING_PATH_PERSONALISED


def test_a_history_stays_out_of_its_ranking_unless_it_is_let_in() -> None:
    query = Query(history=["c", "x", "b"])
    assert ranked(query).item_ids == ["a", "d"]
    assert ranked(query, Rank(exclude_history=False)).item_ids == ["c", "b", "a", "d"]
    assert ranked(query).path == RankingPath.RANKING_PATH_HISTORY


def test_items_of_the_history_that_the_tower_no_longer_reads_stay_out_too() -> None:
    assert ranked(Query(history=["a", "b", "c"])).item_ids == ["d"]


def test_features_alone_are_enough_for_the_tower() -> None:
    ranking = ranked(Query(features={"age": -1.0}))
    assert ranking.item_ids == ["b", "d", "a", "c"]
    assert ranking.path == RankingPath.RANKING_PATH_COLD


def test_for_one_of_whom_nothing_is_known_the_popular_come_first_and_of_equals_the_first() -> None:
    ranking = ranked(Query("stranger"))
    assert ranking.item_ids == ["b", "d", "a", "c"]
    assert ranking.scores.tolist() == np.array([0.5, 0.3, 0.1, 0.1], np.float32).tolist()
    assert ranking.path == RankingPath.RANKING_PATH_POPULAR


def test_similar_items_are_ranked_by_the_cosine_and_never_with_the_item_itself() -> None:
    ranking = ranked(Query(item_id="a"))
    assert ranking.item_ids == ["c", "b", "d"]
    assert ranking.scores.tolist() == np.array([0.6, 0, 0], np.float32).tolist()
    assert ranking.path == RankingPath.RANKING_PATH_SIMILAR
    assert ranked(Query(item_id="a", candidate_item_ids=["a", "b"])).item_ids == ["b"]
    assert ranked(Query(item_id="a"), Rank(exclude_history=False)).item_ids == ["c", "b", "d"]


def test_where_there_are_candidates_no_other_item_is_ranked() -> None:
    query = Query(vector=np.ones(2, np.float32), candidate_item_ids=["d", "b", "d", "x"])
    assert ranked(query).item_ids == ["b", "d"]


def test_where_no_candidate_is_known_the_ranking_is_empty() -> None:
    ranking = ranked(Query(vector=np.ones(2, np.float32), candidate_item_ids=["x"]))
    assert (ranking.item_ids, ranking.scores.tolist(), ranking.unknown_item_ids) == ([], [], ["x"])


def test_unknown_ids_are_listed_once_in_the_order_history_excluded_candidates() -> None:
    query = Query("", ["h", "a", "e"], {}, excluded_item_ids=["e", "b", "f"], candidate_item_ids=["c", "h", "g"])
    assert ranked(query).unknown_item_ids == ["h", "e", "f", "g"]


def test_the_first_100_unknown_ids_are_listed() -> None:
    query = Query(history=[f"h{n}" for n in range(60)], excluded_item_ids=[f"e{n}" for n in range(60)])
    assert ranked(query).unknown_item_ids == [f"h{n}" for n in range(60)] + [f"e{n}" for n in range(40)]


def test_a_cap_passes_over_items_and_others_fill_their_places() -> None:
    assert ranked(vector_of(1, 1), Rank(item_count=3, cap=Cap("genres", 1))).item_ids == ["c", "b"]
    assert ranked(vector_of(1, 0), Rank(item_count=2, cap=Cap("genres", 1))).item_ids == ["c", "a"]


def test_attributes_are_returned_where_they_are_asked_for() -> None:
    assert ranked(vector_of(1, 1)).attributes is None
    assert ranked(vector_of(1, 1), Rank(item_count=2, attributes=("genres", "year"))).attributes == [
        {"year": 3.0},
        {"genres": ("sad", "new"), "year": 2.0},
    ]


def test_scores_stand_in_the_order_asked_and_nan_where_an_item_is_unknown() -> None:
    answer = scored(vector_of(1, 1), "d", "x", "c", "c")
    assert np.array_equal(answer.scores, np.array([0, np.nan, 7, 7], np.float32), equal_nan=True)
    assert answer.scores.dtype == np.float32
    assert answer.unknown_item_ids == ["x"]


def test_the_score_of_an_item_with_itself_is_its_cosine() -> None:
    assert scored(Query(item_id="c"), "c", "a").scores.tolist() == np.array([1, 0.6], np.float32).tolist()


def test_scores_for_one_of_whom_nothing_is_known_are_popularities() -> None:
    answer = scored(Query(), "b", "x")
    assert np.array_equal(answer.scores, [0.5, np.nan], equal_nan=True)
    assert answer.path == RankingPath.RANKING_PATH_POPULAR


def test_no_questions_have_no_answers() -> None:
    assert by_hand().answer([]) == []


def test_one_question_without_an_answer_harms_no_other() -> None:
    queries = [Query(item_id="x"), Query("ann"), Query(), Query(item_id="a")]
    lost, ann, nobody, similar = by_hand().answer([Question(query, Embed()) for query in queries])
    assert isinstance(lost, ItemNotFoundError)
    assert isinstance(nobody, NothingKnownError)
    assert isinstance(ann, QueryVector)
    assert isinstance(similar, QueryVector)
    assert (ann.vector.tolist(), similar.vector.tolist()) == ([2, 1], [1, 0])


@pytest.fixture(scope="module")
def scorer(artifact_folder: Path) -> Scorer:
    return load_servable(artifact_folder).scorer


@pytest.fixture(scope="module")
def walk(artifact_folder: Path) -> Walk:
    return Walk(artifact_folder)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(question=questions)
def test_an_answer_is_that_of_a_walk_over_all_items(scorer: Scorer, walk: Walk, question: Question) -> None:
    assert_same(scorer.answer([question])[0], walk.answer(question))


@pytest.fixture(scope="module")
def ranking_scorer(ranked_folder: Path) -> Scorer:
    return load_servable(ranked_folder).scorer


@pytest.fixture(scope="module")
def ranking_walk(ranked_folder: Path) -> Walk:
    return Walk(ranked_folder)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(question=questions)
def test_a_ranked_answer_is_that_of_a_walk_over_all_items(
    ranking_scorer: Scorer, ranking_walk: Walk, question: Question
) -> None:
    assert_same(ranking_scorer.answer([question])[0], ranking_walk.answer(question))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(batch=st.lists(questions, max_size=12))
def test_a_ranked_answer_is_the_same_alone_and_in_any_batch(ranking_scorer: Scorer, batch: list[Question]) -> None:
    for question, answer in zip(batch, ranking_scorer.answer(batch), strict=True):
        assert_same(answer, ranking_scorer.answer([question])[0])


@settings(max_examples=50, derandomize=True, deadline=None)
@given(query=queries)
def test_without_ranking_the_scores_are_those_of_retrieval(ranking_scorer: Scorer, query: Query) -> None:
    (ranking,) = ranking_scorer.answer([Question(query, Rank(skip_ranking=True))])
    if isinstance(ranking, Ranking):
        (scores,) = ranking_scorer.answer([Question(query, Score(ranking.item_ids))])
        assert isinstance(scores, ItemScores)
        assert not ranking.is_ranked
        assert scores.scores.tobytes() == ranking.scores.tobytes()


@settings(max_examples=100, derandomize=True, deadline=None)
@given(batch=st.lists(questions, max_size=12))
def test_an_answer_is_the_same_alone_and_in_any_batch(scorer: Scorer, batch: list[Question]) -> None:
    together = scorer.answer(batch)
    assert len(together) == len(batch)
    for question, answer in zip(batch, together, strict=True):
        assert_same(answer, scorer.answer([question])[0])
    for answer, backwards in zip(together, reversed(scorer.answer(batch[::-1])), strict=True):
        assert_same(answer, backwards)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(query=queries)
def test_an_item_has_the_score_with_which_it_was_ranked(scorer: Scorer, query: Query) -> None:
    (ranking,) = scorer.answer([Question(query, Rank(item_count=50))])
    if isinstance(ranking, Ranking):
        (scores,) = scorer.answer([Question(query, Score(ranking.item_ids))])
        assert isinstance(scores, ItemScores)
        assert scores.scores.tobytes() == ranking.scores.tobytes()


def test_every_path_is_taken_by_a_stored_or_a_described_user_an_item_or_a_vector(scorer: Scorer) -> None:
    subjects = {
        RankingPath.RANKING_PATH_PERSONALISED: Query("u0"),
        RankingPath.RANKING_PATH_HISTORY: Query(history=["i1"]),
        RankingPath.RANKING_PATH_COLD: Query(features={"country": "DE"}),
        RankingPath.RANKING_PATH_POPULAR: Query("stranger"),
        RankingPath.RANKING_PATH_SIMILAR: Query(item_id="i1"),
        RankingPath.RANKING_PATH_VECTOR: Query(vector=np.ones(16, np.float32)),
    }
    for path, answer in zip(
        subjects, scorer.answer([Question(query, Rank()) for query in subjects.values()]), strict=True
    ):
        assert isinstance(answer, Ranking)
        assert (answer.path, len(answer.item_ids)) == (path, 10)


def test_a_vector_that_was_embedded_ranks_as_its_query_does(scorer: Scorer) -> None:
    query = Query(history=["i1", "i2", "i3"])
    (embedded,) = scorer.answer([Question(query, Embed())])
    assert isinstance(embedded, QueryVector)
    rank = Rank(exclude_history=False)
    by_query, by_vector = scorer.answer([Question(query, rank), Question(Query(vector=embedded.vector), rank)])
    assert isinstance(by_query, Ranking)
    assert isinstance(by_vector, Ranking)
    assert by_query.item_ids == by_vector.item_ids
    assert by_query.scores.tobytes() == by_vector.scores.tobytes()
