"""What is known about the one a query is for decides the path, and nothing else does."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.v1.artifact_pb2 import CategoricalFeature, Feature, StandardisedFeature
from bascule.v1.recommendation_service_pb2 import RankingPath
from bascule_server.scoring.catalogue import Catalogue
from bascule_server.scoring.encoder import FeaturesEncoder
from bascule_server.scoring.item_ids import ItemIds
from bascule_server.scoring.known_users import KnownUsers
from bascule_server.scoring.query import FeatureValue, ItemNotFoundError, Query
from bascule_server.scoring.subject import TOWER_PATHS, Subject, Subjects

FEATURES = [
    Feature(name="country", categorical=CategoricalFeature(vocabulary="c.json", size=2)),
    Feature(name="age", standardised=StandardisedFeature(mean=0, deviation=1)),
]

CATALOGUE = Catalogue(ItemIds(["a", "b", "c", "d"]), np.full(4, 0.25, np.float32), {})
SUBJECTS = Subjects(
    CATALOGUE,
    KnownUsers(
        ["ann", "new"],
        pl.Series([[0, 2], []], dtype=pl.List(pl.Int64)),
        {"country": pl.Series(["DE", None]), "age": pl.Series([30, None])},
    ),
    FeaturesEncoder(FEATURES, {"c.json": ["DE", "FR"]}),
)
"""Ann has had a and c, is of DE and 30; nothing but the id is known of the user ``new``."""


def subject_of(query: Query) -> Subject:
    (history,) = CATALOGUE.known([query.history])
    return SUBJECTS.of(query, history)


def test_of_a_known_user_the_history_and_the_features_of_training_are_taken() -> None:
    subject = subject_of(Query("ann"))
    assert subject.path == RankingPath.RANKING_PATH_PERSONALISED
    assert subject.history.tolist() == [0, 2]
    assert subject.features == {"country": "DE", "age": 30.0}


def test_what_the_caller_says_of_a_known_user_counts_more() -> None:
    subject = subject_of(Query("ann", history=["b"], features={"country": "FR"}))
    assert subject.path == RankingPath.RANKING_PATH_PERSONALISED
    assert subject.history.tolist() == [1]
    assert subject.features == {"country": "FR", "age": 30.0}


def test_a_history_of_unknown_items_is_still_the_callers() -> None:
    subject = subject_of(Query("ann", history=["x"]))
    assert subject.history.tolist() == []
    assert list(subject.unknown_item_ids) == ["x"]


def test_a_user_whom_the_model_knows_by_id_alone_is_known() -> None:
    assert subject_of(Query("new")).path == RankingPath.RANKING_PATH_PERSONALISED


@pytest.mark.parametrize("user_id", ["", "stranger"])
def test_one_known_item_in_the_history_of_an_unknown_user_is_enough(user_id: str) -> None:
    subject = subject_of(Query(user_id, history=["x", "d", "a", "y", "d"]))
    assert subject.path == RankingPath.RANKING_PATH_HISTORY
    assert subject.history.tolist() == [3, 0, 3]
    assert list(subject.unknown_item_ids) == ["x", "y"]


@pytest.mark.parametrize("user_id", ["", "stranger"])
def test_with_features_alone_a_user_is_cold(user_id: str) -> None:
    assert subject_of(Query(user_id, features={"age": 0.0})).path == RankingPath.RANKING_PATH_COLD
    assert subject_of(Query(user_id, ["x"], {"country": "FR"})).path == RankingPath.RANKING_PATH_COLD


@pytest.mark.parametrize("query", [Query(), Query("stranger"), Query(history=["x"]), Query(features={"country": "XX"})])
def test_with_nothing_known_the_popular_are_ranked(query: Query) -> None:
    assert subject_of(query).path == RankingPath.RANKING_PATH_POPULAR


def test_an_item_is_found_by_its_id() -> None:
    subject = subject_of(Query(item_id="c"))
    assert (subject.path, subject.item_row) == (RankingPath.RANKING_PATH_SIMILAR, 2)


@pytest.mark.parametrize("item_id", ["x", "", "ann"])
def test_an_item_that_there_is_not_is_not_found(item_id: str) -> None:
    with pytest.raises(ItemNotFoundError):
        subject_of(Query(item_id=item_id))


def test_a_vector_stands_for_itself() -> None:
    subject = subject_of(Query(vector=np.zeros(2, np.float32)))
    assert (subject.path, subject.history.tolist(), subject.item_row) == (RankingPath.RANKING_PATH_VECTOR, [], None)


@given(
    st.sampled_from(["", "ann", "new", "stranger"]),
    st.lists(st.sampled_from("abcdxy"), max_size=4),
    st.dictionaries(st.sampled_from(["country", "age"]), st.sampled_from(["DE", "XX"]), max_size=2),
)
def test_the_more_is_known_the_more_personal_the_path(
    user_id: str, history: list[str], features: dict[str, FeatureValue]
) -> None:
    subject = subject_of(Query(user_id, history, features))
    if user_id in ("ann", "new"):
        assert subject.path == RankingPath.RANKING_PATH_PERSONALISED
    elif set(history) & set("abcd"):
        assert subject.path == RankingPath.RANKING_PATH_HISTORY
    elif features.get("country") == "DE" or "age" in features:
        assert subject.path == RankingPath.RANKING_PATH_COLD
    else:
        assert subject.path == RankingPath.RANKING_PATH_POPULAR
    assert (subject.path in TOWER_PATHS) == (subject.path != RankingPath.RANKING_PATH_POPULAR)
    assert list(subject.unknown_item_ids) == [item_id for item_id in history if item_id in "xy"]
