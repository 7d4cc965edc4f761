"""The scorer answers what a plain walk over all items answers, to the last bit, whatever is asked beside it.

First by hand, with four items in two dimensions; then with the small trained model against ``Reference``, which reads
the artifact by itself and scores, filters and caps one item at a time.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.artifact_pb2 import Feature, HistoryFeature, StandardisedFeature
from bascule.v1.recommendation_service_pb2 import RankingPath, Shortfall
from bascule_server import artifact
from bascule_server.artifact import read_manifest
from bascule_server.catalogue import Catalogue, Categories, Numbers
from bascule_server.encoder import QueryEncoder, read_vocabularies
from bascule_server.item_ids import ItemIds
from bascule_server.known_users import KnownUsers
from bascule_server.query import (
    Answer,
    AnyOf,
    Cap,
    Embed,
    FeatureValue,
    Filter,
    InRange,
    ItemNotFoundError,
    ItemScores,
    NoneOf,
    NothingKnownError,
    Query,
    QueryVector,
    Question,
    Rank,
    Ranking,
    Score,
)
from bascule_server.ranking_stage import RankingStage, open_ranking_stage
from bascule_server.retrieval import Found
from bascule_server.retrievers import exact_retrievers
from bascule_server.scorer import Scorer
from bascule_server.servable import load_servable
from bascule_server.subject import TOWER_PATHS, Subject, Subjects
from bascule_server.tower import LiteRtTower

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


class Reference:
    """Answers questions from the files of an artifact, one item at a time; those to rank, one query at a time."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        encoder = QueryEncoder(manifest.query_features, read_vocabularies(folder, manifest.query_features))
        self.stage = open_ranking_stage(folder, manifest, encoder.features)
        items, users = pl.read_parquet(folder / artifact.ITEMS), pl.read_parquet(folder / artifact.USERS)
        self.items = items.to_dicts()
        self.rows = {item["item_id"]: row for row, item in enumerate(self.items)}
        self.item_ids = ItemIds([item["item_id"] for item in self.items])
        self.vectors: NDArray[np.float32] = np.load(folder / artifact.ITEM_VECTORS)
        self.shares = (items["popularity"] / items["popularity"].sum()).to_numpy().astype(np.float32)
        self.users = {user["user_id"]: user for user in users.to_dicts()}
        self.countries = json.loads((folder / "vocabularies/query/country.json").read_text())
        self.tower = LiteRtTower(folder / artifact.QUERY_TOWER_LITERT)
        features = {feature.name: feature for feature in read_manifest(folder).query_features}
        self.age = features["age"].standardised

    def answer(self, question: Question) -> Answer:
        query, ask = question.query, question.ask
        if query.item_id is not None and query.item_id not in self.rows:
            return ItemNotFoundError()
        user = self.users.get(query.user_id)
        history = [self.rows[item_id] for item_id in query.history if item_id in self.rows]
        if user and not query.history:
            history = list(user["history"])
        features = {**({name: user[name] for name in ("country", "age")} if user else {}), **query.features}
        path = self._path(query, history, features)
        vector = self._vector(query, path, history, features)
        match ask:
            case Embed():
                return NothingKnownError() if vector is None else QueryVector(vector, path)
            case Score():
                scores = [self._score(vector, item_id) for item_id in ask.item_ids]
                return ItemScores(np.array(scores, np.float32), path, self._unknown(query.history, ask.item_ids))
            case Rank(forbid_fallback=True) if vector is None:
                return NothingKnownError()
            case Rank():
                return self._ranking(query, ask, path, vector, Subject(path, np.array(history, np.int64), features))

    def _path(self, query: Query, history: list[int], features: Mapping[str, FeatureValue]) -> RankingPath.ValueType:
        if query.vector is not None:
            return RankingPath.RANKING_PATH_VECTOR
        if query.item_id is not None:
            return RankingPath.RANKING_PATH_SIMILAR
        if query.user_id in self.users:
            return RankingPath.RANKING_PATH_PERSONALISED
        if history:
            return RankingPath.RANKING_PATH_HISTORY
        if "age" in features or features.get("country") in self.countries:
            return RankingPath.RANKING_PATH_COLD
        return RankingPath.RANKING_PATH_POPULAR

    def _vector(
        self, query: Query, path: RankingPath.ValueType, history: list[int], features: Mapping[str, Any]
    ) -> NDArray[np.float32] | None:
        if path == RankingPath.RANKING_PATH_POPULAR:
            return None
        if query.item_id is not None:
            similar: NDArray[np.float32] = self.vectors[self.rows[query.item_id]]
            return similar
        if query.vector is not None:
            return query.vector
        newest = [1 + row for row in history][-12:]
        country, age = features.get("country"), features.get("age", self.age.mean)
        inputs = {
            "history": np.array([[0] * (12 - len(newest)) + newest], np.int32),
            "country": np.array([1 + self.countries.index(country) if country in self.countries else 0], np.int32),
            "age": np.array([(age - self.age.mean) / self.age.deviation], np.float32),
        }
        (vector,) = self.tower.vectors(inputs)
        return np.asarray(vector, np.float32)

    def _score(self, vector: NDArray[np.float32] | None, item_id: str) -> float:
        row = self.rows.get(item_id)
        if row is None:
            return np.nan
        return float(self.shares[row] if vector is None else np.vecdot(self.vectors[row], vector))

    def _ranking(
        self,
        query: Query,
        rank: Rank,
        path: RankingPath.ValueType,
        vector: NDArray[np.float32] | None,
        subject: Subject,
    ) -> Ranking:
        read = subject.history.tolist()
        history = read if rank.exclude_history else []
        scores: Sequence[float] | Mapping[int, float] = [self._score(vector, item["item_id"]) for item in self.items]
        found = [
            row
            for row in sorted(range(len(self.items)), key=lambda row: (-scores[row], row))
            if self._may_be_found(query, rank, row, history)
        ]
        allowed, stage = len(found), self.stage
        if stage is None or rank.skip_ranking or path not in TOWER_PATHS:
            found = [row for row in found if rank.min_score is None or scores[row] >= rank.min_score]
            size = min(5 * rank.item_count, 1_000) if rank.diversity else len(found)
            kept = self._taken(found[:size], scores, rank)
            while len(kept) < rank.item_count and size < len(found):
                size *= 4
                kept = self._taken(found[:size], scores, rank)
            good, is_ranked = len(found), False
        else:
            kept, good, scores = self._ranked(stage, found, scores, rank, subject)
            is_ranked = True
        attributes = [{name: shown(self.items[row][name]) for name in rank.attributes} for row in kept]
        return Ranking(
            self.item_ids.listed([np.array(kept, np.int64)])[0],
            np.array([scores[row] for row in kept], np.float32),
            path,
            self._unknown(query.history, query.excluded_item_ids, query.candidate_item_ids),
            attributes if rank.attributes else None,
            self._shortfall(rank, allowed, good, len(kept)),
            self._because(rank, path, kept, read[-12:]),
            is_ranked,
        )

    def _ranked(
        self,
        stage: RankingStage,
        found: list[int],
        scores: Sequence[float] | Mapping[int, float],
        rank: Rank,
        subject: Subject,
    ) -> tuple[list[int], int, dict[int, float]]:
        """What is kept of the best by the ranking tower, how many of those score well enough, and their scores.

        A pool of so many of the best by retrieval is ranked, and of these the best are chosen from; where too few of
        them are kept, from four times as many.
        """
        directions_of = exact_retrievers(self.vectors).similar.vectors_of
        size = min(5 * rank.item_count, 1_000) if rank.diversity else rank.item_count
        while True:
            pool = found[: max(size, stage.candidate_count)]
            given = Found(np.array(pool, np.int64), np.array([scores[row] for row in pool], np.float32))
            ranked = stage.ranked(given, subject, directions_of)
            by_tower = dict(zip(ranked.rows.tolist(), ranked.scores.tolist(), strict=True))
            best = list(by_tower)[:size]
            good = [row for row in best if rank.min_score is None or by_tower[row] >= rank.min_score]
            kept = self._taken(good, by_tower, rank)
            if len(kept) == rank.item_count or size >= len(found) or len(good) < len(best):
                return kept, len(good) if len(good) < len(best) else len(found), by_tower
            size *= 4

    def _because(
        self, rank: Rank, path: RankingPath.ValueType, kept: list[int], history: Sequence[int]
    ) -> list[list[str]] | None:
        of_users = (RankingPath.RANKING_PATH_PERSONALISED, RankingPath.RANKING_PATH_HISTORY)
        if not rank.because_count or not history or path not in of_users:
            return None
        newest_first = list(dict.fromkeys(reversed(history)))
        return [
            [
                self.items[other]["item_id"]
                for other in sorted(newest_first, key=lambda each: -np.vecdot(self.vectors[each], self.vectors[row]))
            ][: rank.because_count]
            for row in kept
        ]

    def _shortfall(self, rank: Rank, allowed: int, good: int, kept: int) -> Shortfall.ValueType:
        if kept == rank.item_count:
            return Shortfall.SHORTFALL_UNSPECIFIED
        if good < allowed:
            return Shortfall.SHORTFALL_MIN_SCORE
        return Shortfall.SHORTFALL_CAP if kept < good else Shortfall.SHORTFALL_RESTRICTED

    def _may_be_found(self, query: Query, rank: Rank, row: int, history: Sequence[int]) -> bool:
        item = self.items[row]
        return (
            (not query.candidate_item_ids or item["item_id"] in query.candidate_item_ids)
            and item["item_id"] not in (*query.excluded_item_ids, query.item_id)
            and row not in history
            and all(satisfies(item, condition) for condition in rank.filters)
        )

    def _taken(self, pool: list[int], scores: Sequence[float] | Mapping[int, float], rank: Rank) -> list[int]:
        """Those of the largest marginal relevance, one by one, within the cap."""
        wide = self.vectors.astype(np.float64)
        directions = wide / np.linalg.norm(wide, axis=1)[:, None]
        low, high = (limit((scores[row] for row in pool), default=0.0) for limit in (min, max))
        relevance = {row: (scores[row] - low) / (high - low) if high > low else 1.0 for row in pool}
        kept: list[int] = []
        left = list(pool)
        while left and len(kept) < rank.item_count:
            best = left[0]
            if rank.diversity:
                marginal = [
                    (1 - rank.diversity) * relevance[row]
                    - rank.diversity
                    * max((np.vecdot(directions[row], directions[other]) for other in kept), default=0.0)
                    for row in left
                ]
                best = left[int(np.argmax(marginal))]
            left.remove(best)
            if rank.cap is None or self._has_room(self.items[best], [self.items[other] for other in kept], rank.cap):
                kept.append(best)
        return kept

    def _has_room(self, item: Mapping[str, Any], kept: Sequence[Mapping[str, Any]], cap: Cap) -> bool:
        having = [values_of(other, cap.attribute) for other in kept]
        return all(sum(value in each for each in having) < cap.max_count for value in values_of(item, cap.attribute))

    def _unknown(self, *id_lists: Sequence[str]) -> list[str]:
        return list(dict.fromkeys(each for ids in id_lists for each in ids if each not in self.rows))[:100]


def values_of(item: Mapping[str, Any], attribute: str) -> list[Any]:
    value = item[attribute]
    return value if isinstance(value, list) else [value]


def shown(value: Any) -> FeatureValue:
    return tuple(value) if isinstance(value, list) else value


def satisfies(item: Mapping[str, Any], condition: Filter) -> bool:
    values = values_of(item, condition.attribute)
    match condition:
        case AnyOf():
            return any(value in condition.values for value in values)
        case NoneOf():
            return not any(value in condition.values for value in values)
        case InRange():
            return bool(condition.low <= values[0] <= condition.high)


def assert_same(got: Answer, expected: Answer) -> None:
    """Fails unless two answers are the same to the last bit."""
    assert type(got) is type(expected)
    match got, expected:
        case (Ranking(), Ranking()):
            assert got.item_ids == expected.item_ids
            assert got.unknown_item_ids == expected.unknown_item_ids
            assert got.attributes == expected.attributes
            assert (got.shortfall, got.because) == (expected.shortfall, expected.because)
            assert got.is_ranked == expected.is_ranked
            assert (got.path, got.scores.tobytes()) == (expected.path, expected.scores.tobytes())
        case (ItemScores(), ItemScores()):
            assert got.unknown_item_ids == expected.unknown_item_ids
            assert (got.path, got.scores.tobytes()) == (expected.path, expected.scores.tobytes())
        case (QueryVector(), QueryVector()):
            assert (got.path, got.vector.tobytes()) == (expected.path, expected.vector.tobytes())


GENRES = ["Action", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Horror", "Romance", "Unheard"]

item_ids = st.lists(st.integers(0, 129).map("i{}".format), max_size=25)
"""Of 130 ids, of which the catalogue has 120."""

values = st.frozensets(st.sampled_from(GENRES), min_size=1, max_size=4)

years = st.integers(1_950, 2_023).map(float)

filters = st.one_of(
    st.builds(AnyOf, st.just("genres"), values),
    st.builds(NoneOf, st.just("genres"), values),
    st.builds(NoneOf, st.just("title"), st.just(frozenset({"Horror No. 10"}))),
    st.builds(InRange, st.just("year"), years, years | st.just(np.inf)),
)

ranks = st.builds(
    Rank,
    item_count=st.integers(1, 150),
    exclude_history=st.booleans(),
    filters=st.lists(filters, max_size=2).map(tuple),
    cap=st.none() | st.builds(Cap, st.sampled_from(["genres", "title"]), st.integers(1, 3)),
    min_score=st.none() | st.sampled_from([-0.5, 0.0, 0.0078125, 0.25]),
    diversity=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    forbid_fallback=st.booleans(),
    because_count=st.sampled_from([0, 0, 1, 3]),
    attributes=st.lists(st.sampled_from(["title", "genres", "year"]), unique=True).map(tuple),
    skip_ranking=st.booleans(),
)


def query(**fields: Any) -> Query:
    """Hypothesis would make up every field of a named tuple itself that it is not given."""
    return Query(**fields)


features = st.fixed_dictionaries(
    {}, optional={"country": st.sampled_from(["DE", "JP", "XX"]), "age": st.floats(0, 100)}
)

restrictions: dict[str, st.SearchStrategy[list[str]]] = {
    "excluded_item_ids": item_ids,
    "candidate_item_ids": st.just([]) | item_ids,
}

queries = st.one_of(
    st.builds(
        query,
        user_id=st.just("") | st.integers(0, 160).map("u{}".format),
        history=st.just([]) | item_ids,
        features=features,
        **restrictions,
    ),
    st.builds(query, **restrictions),
    st.builds(query, item_id=st.integers(0, 125).map("i{}".format), **restrictions),
    st.builds(
        query,
        vector=st.integers(0, 99).map(lambda seed: np.random.default_rng(seed).normal(size=16).astype(np.float32)),
        **restrictions,
    ),
)

questions = st.builds(Question, queries, ranks | ranks | st.builds(Score, item_ids) | st.builds(Embed))


@pytest.fixture(scope="module")
def scorer(artifact_folder: Path) -> Scorer:
    return load_servable(artifact_folder).scorer


@pytest.fixture(scope="module")
def reference(artifact_folder: Path) -> Reference:
    return Reference(artifact_folder)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(question=questions)
def test_an_answer_is_that_of_a_walk_over_all_items(scorer: Scorer, reference: Reference, question: Question) -> None:
    assert_same(scorer.answer([question])[0], reference.answer(question))


@pytest.fixture(scope="module")
def ranking_scorer(ranked_folder: Path) -> Scorer:
    return load_servable(ranked_folder).scorer


@pytest.fixture(scope="module")
def ranking_reference(ranked_folder: Path) -> Reference:
    return Reference(ranked_folder)


@settings(max_examples=300, derandomize=True, deadline=None)
@given(question=questions)
def test_a_ranked_answer_is_that_of_a_walk_over_all_items(
    ranking_scorer: Scorer, ranking_reference: Reference, question: Question
) -> None:
    assert_same(ranking_scorer.answer([question])[0], ranking_reference.answer(question))


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
