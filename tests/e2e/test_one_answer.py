"""A query has one answer: by a unary call, in a batch, in a stream and from the scorer in this process."""

import random
from pathlib import Path

import numpy as np
import pytest

from bascule import Client, Query, Ranking
from bascule_server import query as answering
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
def queries() -> list[Query]:
    chance = random.Random(7)
    return [_random_query(chance) for _ in range(200)]


def _assert_equal(one: object, other: Ranking) -> None:
    assert isinstance(one, Ranking | answering.Ranking)
    assert list(one.item_ids) == other.item_ids
    assert np.array_equal(one.scores, other.scores)


def test_unary_batch_stream_and_offline_give_equal_ids_and_scores(
    server_address: str, artifact_folder: Path, queries: list[Query]
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
            for query in queries
        ]
        in_batch = client.recommend_many(queries, count=COUNT)
        in_stream = list(client.stream(queries, queries_per_message=13, count=COUNT))
    scorer = load_servable(artifact_folder).scorer
    offline = scorer.answer(
        [answering.Question(_offline(query), answering.Rank(item_count=COUNT)) for query in queries]
    )
    assert len({ranking.path for ranking in alone}) >= 4
    for expected, *others in zip(alone, in_batch, in_stream, offline, strict=True):
        for other in others:
            _assert_equal(other, expected)


def test_given_items_get_the_scores_that_the_ranking_gives_them(server_address: str, queries: list[Query]) -> None:
    with Client(server_address) as client:
        for query in [query for query in queries if query.item_id is None][:40]:
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
