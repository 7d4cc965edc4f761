"""A query has one answer: by a unary call, in a batch, in a stream and from the scorer in this process."""

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_walk import Walk, assert_same, queries, ranks

from bascule import (
    AnyOf,
    BasculeError,
    Cap,
    Client,
    FeatureValue,
    Filter,
    InRange,
    InvalidRequestError,
    NoneOf,
    Query,
    Ranking,
    RankingOptions,
    ValueKind,
)
from bascule.answers import RANKING_PATHS, SHORTFALLS
from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.messages.query_failures import QUERY_ERROR_REASONS
from bascule_server.scoring import query as answering
from bascule_server.scoring.columns import moment_of
from bascule_server.scoring.scorer import Scorer
from bascule_server.servable import load_servable

COUNT = 7
ITEMS = [f"i{number}" for number in range(130)]
"""The catalogue's 120 ids and some that it does not have, whichever number it begins with."""


def _random_query(chance: random.Random) -> Query:
    """Users with all, some or nothing known of them, and items."""
    if chance.random() < 0.1:
        return Query(item_id=f"i{chance.randint(1, 119)}")
    history = chance.choices(ITEMS, k=chance.choice([0, 1, 5, 12, 30]))
    country = chance.choice(["NZ", "DE", "nowhere"])
    features: dict[str, str | float] = {"age": chance.uniform(18, 80), "country": country}
    return Query(
        user_id=chance.choice(["", "u1", "u7", "nobody"]),
        history=history,
        features={name: value for name, value in features.items() if chance.random() < 0.5},
        excluded_item_ids=chance.sample(ITEMS, chance.choice([0, 3])),
        candidate_item_ids=chance.choice([None, None, chance.sample(ITEMS, 40)]),
    )


@pytest.fixture(scope="module")
def some_queries() -> list[Query]:
    chance = random.Random(7)
    return [_random_query(chance) for _ in range(200)]


def _assert_equal(one: object, other: Ranking) -> None:
    assert isinstance(one, Ranking | answering.Ranking)
    assert list(one.item_ids) == other.item_ids
    assert np.array_equal(one.scores, other.scores)


def test_unary_batch_stream_and_offline_give_equal_ids_and_scores(
    server_address: str, artifact_folder: Path, some_queries: list[Query]
) -> None:
    with Client(server_address) as client:
        alone = [
            client.recommend(
                query.user_id,
                history=query.history,
                features=query.features,
                item_id=query.item_id,
                excluded=query.excluded_item_ids,
                candidates=query.candidate_item_ids,
                count=COUNT,
            )
            for query in some_queries
        ]
        in_batch = client.recommend_many(some_queries, count=COUNT)
        in_stream = list(client.stream(some_queries, queries_per_message=13, count=COUNT))
    scorer = load_servable(artifact_folder).scorer
    offline = scorer.answer(
        [answering.Question(_offline(query), answering.Rank(item_count=COUNT)) for query in some_queries]
    )
    assert len({ranking.path for ranking in alone}) >= 4
    for expected, *others in zip(alone, in_batch, in_stream, offline, strict=True):
        for other in others:
            _assert_equal(other, expected)


def test_given_items_get_the_scores_that_the_ranking_gives_them(server_address: str, some_queries: list[Query]) -> None:
    with Client(server_address) as client:
        for query in [query for query in some_queries if query.item_id is None][:40]:
            subject = {"user_id": query.user_id, "history": query.history, "features": query.features}
            ranking = client.recommend(**subject, count=50)  # type: ignore[arg-type]
            scores = client.score(ranking.item_ids, **subject)  # type: ignore[arg-type]
            assert np.array_equal(scores, ranking.scores)


def _offline(query: Query) -> answering.Query:
    features: dict[str, answering.FeatureValue] = {}
    for name, value in query.features.items():
        features[name] = value if isinstance(value, str) else float(value)  # type: ignore[arg-type]
    return answering.Query(
        user_id=query.user_id,
        history=query.history,
        features=features,
        item_id=query.item_id,
        excluded_item_ids=query.excluded_item_ids,
        candidate_item_ids=query.candidate_item_ids or (),
    )


# Every option, in every way to ask, against a walk over all items.

ranked_questions = st.builds(answering.Question, queries, ranks)


@pytest.fixture(scope="module")
def walk(artifact_folder: Path) -> Walk:
    return Walk(artifact_folder)


@pytest.fixture(scope="module")
def scorer(artifact_folder: Path) -> Scorer:
    return load_servable(artifact_folder).scorer


@pytest.fixture(scope="module")
def client(server_address: str) -> Iterator[Client]:
    with Client(server_address) as client:
        yield client


@settings(max_examples=300, derandomize=True, deadline=None)
@given(question=ranked_questions, beside=queries)
def test_with_any_options_all_ways_to_ask_give_what_a_walk_over_all_items_gives(
    client: Client, scorer: Scorer, walk: Walk, question: answering.Question, beside: answering.Query
) -> None:
    _check_all_ways(client, scorer, walk, question, beside)


def _check_all_ways(
    client: Client, scorer: Scorer, walk: Walk, question: answering.Question, beside: answering.Query
) -> None:
    assert isinstance(question.ask, answering.Rank)
    # On the wire it is a float of 32 bits.
    rank = replace(question.ask, diversity=float(np.float32(question.ask.diversity)))
    question = answering.Question(question.query, rank)
    expected = walk.answer(question)
    (offline,) = scorer.answer([question])
    assert_same(offline, expected)
    asked, options = _sent(question.query), _options(rank)
    try:
        alone: Ranking | BasculeError = client.recommend(**_keywords(asked), **options)
    except BasculeError as error:
        alone = error
    in_batch = client.recommend_many([_sent(beside), asked, asked], **options)[1]
    in_stream, _ = client.stream([asked, _sent(beside)], queries_per_message=2, **options)
    for answer in (alone, in_batch, in_stream):
        _assert_says(answer, expected)


context = st.fixed_dictionaries(
    {}, optional={"device": st.sampled_from(["phone", "tv", "watch"]), "hour": st.integers(0, 23).map(float)}
)


def test_with_a_context_all_ways_to_ask_give_what_a_walk_over_all_items_gives(
    serve: Callable[..., Any], contextual_folder: Path
) -> None:
    scorer, walk = load_servable(contextual_folder).scorer, Walk(contextual_folder)
    with Client(f"127.0.0.1:{serve(models=contextual_folder.parents[1]).port()}") as client:

        @settings(max_examples=150, derandomize=True, deadline=None)
        @given(question=ranked_questions, beside=queries, context=context)
        def check(question: answering.Question, beside: answering.Query, context: dict[str, str | float]) -> None:
            query = question.query
            if query.item_id is None and query.vector is None:
                query = query._replace(features={**query.features, **context})
            _check_all_ways(client, scorer, walk, question._replace(query=query), beside)

        check()
        (model,) = client.models()
        assert {name: model.features[name] for name in ("device", "hour", "age")} == {
            "device": ValueKind.CATEGORY,
            "hour": ValueKind.NUMBER,
            "age": ValueKind.NUMBER,
        }
        with pytest.raises(InvalidRequestError) as refused:
            client.recommend("u1", features={"hour": "noon"})
        (violation,) = refused.value.violations
        assert violation.field == 'query.user.features["hour"]'


def test_the_context_orders_what_is_retrieved_and_alone_is_nothing_known(contextual_folder: Path) -> None:
    scorer = load_servable(contextual_folder).scorer

    def best(context: dict[str, answering.FeatureValue]) -> list[str]:
        everybody = [answering.Query(user_id=f"u{number}", features=context) for number in range(100)]
        answers = scorer.answer(
            [answering.Question(query, answering.Rank(3, attributes=("genres",))) for query in everybody]
        )
        assert all(isinstance(answer, answering.Ranking) and answer.is_ranked for answer in answers)
        return [item["genres"][0] for answer in answers for item in answer.attributes]  # type: ignore[union-attr,index]

    on_phone, on_tv = (np.mean([genre <= "Crime" for genre in best({"device": each})]) for each in ("phone", "tv"))
    assert on_phone > 1.5 * on_tv
    assert best({"device": "never seen"}) == best({})
    (popular,) = scorer.answer([answering.Question(answering.Query(features={"device": "tv"}), answering.Rank())])
    assert isinstance(popular, answering.Ranking)
    assert (popular.path, popular.is_ranked) == (RankingPath.RANKING_PATH_POPULAR, False)


def _assert_says(got: Ranking | BasculeError, expected: answering.Answer) -> None:
    if isinstance(expected, answering.QueryError):
        assert isinstance(got, BasculeError)
        assert got.reason == QUERY_ERROR_REASONS[type(expected)].name
        return
    assert isinstance(got, Ranking)
    assert isinstance(expected, answering.Ranking)
    assert got.item_ids == expected.item_ids
    assert got.scores.tobytes() == expected.scores.tobytes()
    assert list(got.unknown_item_ids) == expected.unknown_item_ids
    assert (got.path, got.shortfall) == (RANKING_PATHS[expected.path], SHORTFALLS.get(expected.shortfall))
    assert (got.because or None) == (expected.because or None)
    assert (got.is_ranked, got.catalogue_revision) == (expected.is_ranked, 0)
    assert _plain(got.attributes) == _plain(expected.attributes)


def _plain(attributes: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]]:
    return [
        {name: list(value) if isinstance(value, tuple) else value for name, value in each.items()}
        for each in attributes or ()
    ]


def _sent(query: answering.Query) -> Query:
    return Query(
        user_id=query.user_id,
        history=query.history,
        features=cast(Mapping[str, FeatureValue], query.features),
        item_id=query.item_id,
        vector=query.vector,
        excluded_item_ids=query.excluded_item_ids,
        candidate_item_ids=query.candidate_item_ids or None,
    )


def _keywords(query: Query) -> dict[str, Any]:
    return {
        "user_id": query.user_id,
        "history": query.history,
        "features": query.features,
        "item_id": query.item_id,
        "vector": query.vector,
        "excluded": query.excluded_item_ids,
        "candidates": query.candidate_item_ids,
    }


def _options(rank: answering.Rank) -> RankingOptions:
    return RankingOptions(
        count=rank.item_count,
        exclude_history=rank.exclude_history,
        filters=[_filter(condition) for condition in rank.filters],
        cap=None if rank.cap is None else Cap(rank.cap.attribute, rank.cap.max_count),
        min_score=rank.min_score,
        diversity=rank.diversity,
        forbid_fallback=rank.forbid_fallback,
        because_count=rank.because_count,
        skip_ranking=rank.skip_ranking,
        attributes=rank.attributes,
    )


def _filter(condition: answering.Filter) -> Filter:
    match condition:
        case answering.AnyOf(attribute, values):
            return AnyOf(attribute, sorted(values))
        case answering.NoneOf(attribute, values):
            return NoneOf(attribute, sorted(values))
        case answering.InRange(attribute, low, high):
            is_moment = attribute == "released"
            ends = (None if math.isinf(end) else moment_of(int(end)) if is_moment else end for end in (low, high))
            return InRange(attribute, *ends)
