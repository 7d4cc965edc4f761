"""A plain walk over all items, that answers of the scorer are compared with, and questions to compare them by.

It knows the small model that the tests share: its features, its attributes, and the lengths of its history.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st
from numpy.typing import NDArray

from bascule.v1.recommendation_service_pb2 import RankingPath, Shortfall
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import read_manifest
from bascule_server.retrieval.retriever import Found
from bascule_server.retrieval.retrievers import exact_retrievers
from bascule_server.scoring.columns import microseconds_of
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.query import (
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
from bascule_server.scoring.ranking_stage import RankingStage, open_ranking_stage
from bascule_server.scoring.subject import TOWER_PATHS, Subject
from bascule_server.scoring.tower import LiteRtTower


class Walk:
    """Answers questions one item at a time: from the files of an artifact, and from what came since."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        self.stage = open_ranking_stage(folder, manifest)
        items, users = pl.read_parquet(folder / file_names.ITEMS), pl.read_parquet(folder / file_names.USERS)
        self.base_ids: list[str] = items["item_id"].to_list()
        self.base_rows = {item_id: row for row, item_id in enumerate(self.base_ids)}
        self.base_vectors: NDArray[np.float32] = np.load(folder / file_names.ITEM_VECTORS)
        self.base_shares = (items["popularity"] / items["popularity"].sum()).to_numpy().astype(np.float32)
        self.base_items = items.to_dicts()
        self.holds(self.base_items, self.base_vectors, self.base_shares)
        self.users = {user["user_id"]: user for user in users.to_dicts()}
        self.countries = json.loads((folder / "vocabularies/query/country.json").read_text())
        self.tower = LiteRtTower(folder / file_names.QUERY_TOWER_LITERT)
        features = {feature.name: feature for feature in read_manifest(folder).query_features}
        self.age = features["age"].standardised

    def holds(
        self, items: Sequence[Mapping[str, Any]], vectors: NDArray[np.float32], shares: NDArray[np.float32]
    ) -> None:
        """Has the catalogue hold these items, in this order."""
        self.items, self.vectors, self.shares = items, vectors, shares
        self.rows = {item["item_id"]: row for row, item in enumerate(items)}
        self.item_ids = ItemIds([item["item_id"] for item in items])

    def answer(self, question: Question) -> Answer:
        query, ask = question.query, question.ask
        if query.item_id is not None and query.item_id not in self.rows:
            return ItemNotFoundError()
        user = self.users.get(query.user_id)
        had: Sequence[str] = query.history
        if user and not query.history:
            had = [self.base_ids[row] for row in user["history"]]
        history = [self.base_rows[item_id] for item_id in had if item_id in self.base_rows]
        features = {**({name: user[name] for name in ("country", "age")} if user else {}), **query.features}
        path = self._path(query, history, features)
        vector = self._vector(query, path, history, features)
        match ask:
            case Embed():
                return NothingKnownError() if vector is None else QueryVector(vector, path)
            case Score():
                scores = [self._score(vector, item_id) for item_id in ask.item_ids]
                unknown = [*self._never_known(query), *(each for each in ask.item_ids if each not in self.rows)]
                return ItemScores(np.array(scores, np.float32), path, first_distinct(unknown))
            case Rank(forbid_fallback=True) if vector is None:
                return NothingKnownError()
            case Rank():
                subject = Subject(path, np.array(history, np.int64), features, np.empty(0, np.int64))
                return self._ranking(query, ask, vector, had, subject)

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
        vector: NDArray[np.float32] | None,
        had: Sequence[str],
        subject: Subject,
    ) -> Ranking:
        path, read = subject.path, subject.history.tolist()
        history = had if rank.exclude_history else []
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
        attributes = [
            {name: shown(value) for name in rank.attributes if (value := self.items[row].get(name)) not in (None, [])}
            for row in kept
        ]
        unknown = [
            *self._never_known(query),
            *self._missing(query.excluded_item_ids),
            *self._missing(query.candidate_item_ids),
        ]
        return Ranking(
            self.item_ids.listed([np.array(kept, np.int64)])[0],
            np.array([scores[row] for row in kept], np.float32),
            path,
            first_distinct(unknown),
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

        def unlikeness(row: int, other: int) -> float:
            return -float(np.vecdot(self.base_vectors[other], self.vectors[row]))

        return [
            [
                self.base_ids[other]
                for other in sorted(
                    newest_first, key=lambda each: -np.vecdot(self.base_vectors[each], self.vectors[row])
                )
            ][: rank.because_count]
            for row in kept
        ]

    def _shortfall(self, rank: Rank, allowed: int, good: int, kept: int) -> Shortfall.ValueType:
        if kept == rank.item_count:
            return Shortfall.SHORTFALL_UNSPECIFIED
        if good < allowed:
            return Shortfall.SHORTFALL_MIN_SCORE
        return Shortfall.SHORTFALL_CAP if kept < good else Shortfall.SHORTFALL_RESTRICTED

    def _may_be_found(self, query: Query, rank: Rank, row: int, history: Sequence[str]) -> bool:
        item = self.items[row]
        return (
            (not query.candidate_item_ids or item["item_id"] in query.candidate_item_ids)
            and item["item_id"] not in (*query.excluded_item_ids, query.item_id)
            and item["item_id"] not in history
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

    def _never_known(self, query: Query) -> list[str]:
        return [each for each in query.history if each not in self.rows and each not in self.base_rows]

    def _missing(self, item_ids: Sequence[str]) -> list[str]:
        """Those that are not there, the ones that never were first."""
        missing = [each for each in item_ids if each not in self.rows]
        return sorted(missing, key=lambda each: each in self.base_rows)


def first_distinct(unknown: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(unknown))[:100]


def values_of(item: Mapping[str, Any], attribute: str) -> list[Any]:
    value = item.get(attribute)
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


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
            numbers = [microseconds_of(value) if isinstance(value, datetime) else value for value in values]
            return any(condition.low <= number <= condition.high for number in numbers)


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

moments = st.datetimes(datetime(1_975, 1, 1), datetime(2_024, 1, 1), timezones=st.just(UTC)).map(microseconds_of)

filters = st.one_of(
    st.builds(AnyOf, st.just("genres"), values),
    st.builds(NoneOf, st.just("genres"), values),
    st.builds(NoneOf, st.just("title"), st.just(frozenset({"Horror No. 10"}))),
    st.builds(InRange, st.just("year"), years, years | st.just(np.inf)),
    st.builds(InRange, st.just("released"), moments | st.just(-np.inf), moments),
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
    skip_ranking=st.booleans(),
    because_count=st.sampled_from([0, 0, 1, 3]),
    attributes=st.lists(st.sampled_from(["title", "genres", "year", "released"]), unique=True).map(tuple),
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
